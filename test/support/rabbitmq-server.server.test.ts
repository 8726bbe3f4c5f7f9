import { type Channel, type ConfirmChannel, connect } from 'amqplib'
import { describe, expect, test } from 'vitest'
import { goesWithItsProcess, keepsWhatWasConfirmed, type Words, withinMs } from './broker-suite.ts'
import { missingRabbit, quorumQueueIsKept, startRabbit } from '../../tools/servers/rabbitmq.ts'
import { titled } from './require-server.ts'

const asked = async <T>(url: string, question: (channel: ConfirmChannel) => Promise<T>): Promise<T> => {
  const connection = await connect(url)
  try {
    return await question(await connection.createConfirmChannel())
  } finally {
    await connection.close()
  }
}
const queue = 'words'
const declare = (channel: Channel) =>
  channel.assertQueue(queue, { durable: true, arguments: { 'x-queue-type': 'quorum' } })
const words: Words = {
  write: (server, word) =>
    asked(server.url, async (channel) => {
      await declare(channel)
      await quorumQueueIsKept(server, queue)
      channel.sendToQueue(queue, Buffer.from(word), { persistent: true })
      await channel.waitForConfirms()
    }),
  // What is taken without an acknowledgement is there again when the connection ends.
  read: ({ url }) =>
    asked(url, async (channel) => {
      const { messageCount } = await declare(channel)
      const found: string[] = []
      while (found.length < messageCount) {
        const message = await channel.get(queue)
        if (message !== false) found.push(message.content.toString())
      }
      return found
    }),
}

const missing = missingRabbit()
describe.skipIf(missing)(titled('a RabbitMQ server', missing), () => {
  test('two at once keep what was confirmed to each, and leave no process', { timeout: withinMs }, () =>
    keepsWhatWasConfirmed(startRabbit, words),
  )
  test('it is gone with the process that started it, even if that is killed', { timeout: withinMs }, () =>
    goesWithItsProcess('rabbitmq.ts', 'startRabbit'),
  )
  test('it says why it does not start', { timeout: withinMs }, async () => {
    await expect(startRabbit({ settings: { heartbeat: 'perhaps' } })).rejects.toThrow(/heartbeat|perhaps/)
  })
})
