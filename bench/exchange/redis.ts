/** Redis Streams by ioredis: 500 XADDs in a pipeline; a group of one that reads 500 entries and acknowledges them together. */

import { Redis } from 'ioredis'
import { redisStreamsTransport } from '../../src/exchange/redis-streams/transport.ts'
import { toJson } from '../../src/event/cloudevents/structured.ts'
import { type Client, looping } from './client.ts'
import { context } from './names.ts'

const batch = 500

export const redis = (url: string): Client => {
  const streamOf = (prefix: string): string => `${prefix}.pabal.${context}`
  return {
    transport: (prefix) =>
      redisStreamsTransport({ client: (settings) => new Redis(url, settings), prefix: `${prefix}.` }),
    publisher: async (prefix, messages) => {
      const client = new Redis(url)
      const all = messages.map(({ event }) => toJson(event))
      return {
        publish: async (from, count) => {
          const pipeline = client.pipeline()
          for (const text of all.slice(from, from + count)) pipeline.xadd(streamOf(prefix), '*', 'event', text)
          for (const [error] of (await pipeline.exec())!) if (error !== null) throw error
        },
        [Symbol.asyncDispose]: async () => client.disconnect(),
      }
    },
    consume: async (prefix, take) => {
      const client = new Redis(url)
      const [stream, group] = [streamOf(prefix), 'raw']
      await client.xgroup('CREATE', stream, group, '0', 'MKSTREAM').catch((error: unknown) => {
        if (!String(error).includes('BUSYGROUP')) throw error
      })
      const read = ['GROUP', group, 'me', 'COUNT', batch, 'BLOCK', 1_000, 'STREAMS', stream, '>'] as const
      return looping(
        async () => {
          const answer = (await client.xreadgroup(...read)) as [string, [string, string[]][]][] | null
          const entries = answer?.[0]?.[1] ?? []
          if (entries.length === 0) return
          await take(entries.map(([, fields]) => fields[1]!))
          await client.xack(stream, group, ...entries.map(([id]) => id))
        },
        () => client.disconnect(),
      )
    },
  }
}
