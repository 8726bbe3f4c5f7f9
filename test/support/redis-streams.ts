/** What tests of the transport over Redis Streams are made of: messages, subscribers that note what they were brought, a client beside it. */

import { randomUUID } from 'node:crypto'
import { Redis } from 'ioredis'
import { onTestFinished } from 'vitest'
import { systemEnvironment } from '../../src/core/environment.ts'
import { defaultLimits } from '../../src/core/limits.ts'
import { type RedisStreamsOptions, redisStreamsTransport } from '../../src/exchange/redis-streams/transport.ts'
import type { Incoming, OpenTransport, Outgoing, Published, Taken } from '../../src/exchange/transport.ts'
import type { Broker } from '../../tools/servers/broker.ts'
import { startRedis } from '../../tools/servers/redis.ts'

export const channel = { context: 'ordering' }

export const message = (key: string, n: number): Outgoing => {
  const id = randomUUID()
  const attributes = new Map<string, string | number>([
    ['specversion', '1.0'],
    ['id', id],
    ['source', 'urn:pabal:ordering'],
    ['type', 'shop.order-placed.v1'],
    ['subject', key],
    ['partitionkey', key],
    ['streamversion', String(n)],
    ['datacontenttype', 'application/json'],
  ])
  return { key, id, event: { attributes, data: `{"n":${n}}` } }
}

export const messages = (key: string, from: number, to: number): Outgoing[] =>
  Array.from({ length: to - from + 1 }, (_, index) => message(key, from + index))

/** A server of the test's own. */
export const testRedis = async (settings: Readonly<Record<string, string>> = {}): Promise<Broker> => {
  const broker = await startRedis({ settings })
  onTestFinished(() => broker[Symbol.asyncDispose]())
  return broker
}

/** A client beside the transport, for what other programs do. */
export const besides = (url: string): Redis => {
  const redis = new Redis(url)
  redis.on('error', () => {})
  onTestFinished(() => redis.disconnect())
  return redis
}

export type Warning = readonly [what: string, error: unknown]

export interface Opened {
  readonly open: OpenTransport
  readonly warnings: readonly Warning[]
}

/** A process of its own, as far as the server can tell. */
export const opened = async (url: string, options: Partial<RedisStreamsOptions> = {}): Promise<Opened> => {
  const warnings: Warning[] = []
  const transport = redisStreamsTransport({
    client: (settings) => new Redis(url, settings),
    leaseMs: 1_000,
    timeoutMs: 2_000,
    ...options,
  })
  const open = await transport.open({
    environment: systemEnvironment,
    warn: (what, error) => warnings.push([what, error]),
  })
  onTestFinished(() => open[Symbol.asyncDispose]())
  return { open, warnings }
}

export const publishAll = async (open: OpenTransport, sent: readonly Outgoing[]): Promise<readonly Published[]> =>
  open.publish(channel, sent, AbortSignal.timeout(20_000))

/** What a subscriber was brought, in its order; all processes of one subscriber may share a notebook. */
export class Notebook {
  readonly brought: { readonly key: string; readonly n: number }[] = []
  readonly refused: Error[] = []
  /** Waited for before a batch is taken. */
  gate: Promise<unknown> = Promise.resolve()
  batches = 0

  readonly take = async (batch: readonly Incoming[]): Promise<readonly Taken[]> => {
    this.batches++
    await this.gate
    return batch.map((incoming): Taken => {
      try {
        const { attributes } = incoming.decode(defaultLimits)
        this.brought.push({ key: String(attributes.get('subject')), n: Number(attributes.get('streamversion')) })
        return undefined
      } catch (error) {
        this.refused.push(error as Error)
        return { refused: error as Error }
      }
    })
  }

  /** Numbers of a key by their first appearances. */
  firsts(key: string): number[] {
    return [...new Set(this.brought.filter((each) => each.key === key).map(({ n }) => n))]
  }
}

export const upTo = (n: number): number[] => Array.from({ length: n }, (_, index) => index + 1)
