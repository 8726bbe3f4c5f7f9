/** Kafka by @platformatic/kafka: 500 records in a request, acknowledged by all replicas; a consumer's stream that commits by itself. */

import * as client from '@platformatic/kafka'
import { partitionOf } from '../../src/exchange/kafka/partition.ts'
import { toRecord } from '../../src/exchange/kafka/record.ts'
import { kafka as exchange } from '../../src/exchange/kafka/index.ts'
import { type Client, Inbox } from './client.ts'
import { context } from './names.ts'

const partitions = 6

export const kafka = (url: string): Client => {
  const connection = { bootstrapBrokers: [url] }
  const topicOf = (prefix: string): string => `${prefix}.pabal.${context}`
  return {
    transport: (prefix) =>
      exchange({ client, connection, prefix: `${prefix}.`, partitions })['~pabal'].carried[0]!.transport,
    publisher: async (prefix, messages) => {
      const producer = new client.Producer({ ...connection, clientId: 'raw' })
      const topic = topicOf(prefix)
      const all = messages.map((outgoing) => {
        const { key, value, headers } = toRecord(outgoing)
        return { topic, partition: partitionOf(key, partitions), key, value: value!, headers: new Map(headers) }
      })
      await producer.metadata({ topics: [topic] })
      return {
        publish: async (from, count) => {
          await producer.send({ messages: all.slice(from, from + count), acks: -1 })
        },
        [Symbol.asyncDispose]: () => producer.close(true),
      }
    },
    consume: async (prefix, take) => {
      const consumer = new client.Consumer({ ...connection, clientId: 'raw', groupId: `${prefix}.raw` })
      const stream = await consumer.consume({
        topics: [topicOf(prefix)],
        mode: 'committed',
        fallbackMode: 'earliest',
        autocommit: 100,
        maxWaitTime: 100,
      })
      const inbox = new Inbox<Buffer>((values) => take(values.map((value) => value.toString())))
      stream.on('data', ({ value }) => inbox.add(value))
      return {
        [Symbol.asyncDispose]: async () => {
          await inbox.idle()
          await consumer.close(true)
        },
      }
    },
  }
}
