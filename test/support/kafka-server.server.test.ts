import { randomUUID } from 'node:crypto'
import { Admin, Consumer, Producer, stringDeserializers, stringSerializers } from '@platformatic/kafka'
import { describe, expect, test } from 'vitest'
import { goesWithItsProcess, keepsWhatWasConfirmed, type Words, withinMs } from './broker-suite.ts'
import { missingKafka, startKafka } from '../../tools/servers/kafka.ts'
import { titled } from './require-server.ts'

const topic = 'words'
const clientOf = (url: string) => ({ clientId: 'test', bootstrapBrokers: [url] })

const words: Words = {
  write: async ({ url }, word) => {
    await using clients = new AsyncDisposableStack()
    const admin = clients.adopt(new Admin(clientOf(url)), (client) => client.close())
    const topics = await admin.listTopics()
    if (!topics.includes(topic)) await admin.createTopics({ topics: [topic], partitions: 1, replicas: 1 })
    const made = new Producer({ ...clientOf(url), serializers: stringSerializers })
    const producer = clients.adopt(made, (client) => client.close())
    await producer.send({ messages: [{ topic, value: word }], acks: -1 })
  },
  read: async ({ url }) => {
    await using clients = new AsyncDisposableStack()
    const made = new Consumer({ ...clientOf(url), groupId: randomUUID(), deserializers: stringDeserializers })
    // By force, as its stream is left open.
    const consumer = clients.adopt(made, (client) => client.close(true))
    const end = (await consumer.listOffsets({ topics: [topic] })).get(topic)?.[0]
    const found: string[] = []
    for await (const { value, offset } of await consumer.consume({ topics: [topic], mode: 'earliest' })) {
      found.push(value)
      if (offset + 1n === end) break
    }
    return found
  },
}

const missing = missingKafka()
describe.skipIf(missing)(titled('a Kafka server', missing), () => {
  test('two at once keep what was confirmed to each, and leave no process', { timeout: withinMs }, () =>
    keepsWhatWasConfirmed(startKafka, words),
  )
  test('it is gone with the process that started it, even if that is killed', { timeout: withinMs }, () =>
    goesWithItsProcess('kafka.ts', 'startKafka'),
  )
  test('it says why it does not start', { timeout: withinMs }, async () => {
    await expect(startKafka({ settings: { 'num.partitions': 'perhaps' } })).rejects.toThrow(/num\.partitions/)
  })
})
