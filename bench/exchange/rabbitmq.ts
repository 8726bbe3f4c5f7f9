/** RabbitMQ by amqplib: a confirm channel without waiting in between; a consumer with a prefetch, acknowledging many at once. */

import { connect } from 'amqplib'
import { encoded } from '../../src/exchange/rabbitmq/message.ts'
import { rabbitmqTransport } from '../../src/exchange/rabbitmq/transport.ts'
import { type Client, Inbox } from './client.ts'
import { context, subscriber } from './names.ts'

const prefetch = 500

export const rabbitmq = (url: string): Client => {
  const transport: Client['transport'] = (prefix) =>
    rabbitmqTransport({
      connect: () => connect(url),
      prefix: `${prefix}.`,
      subscribers: { [context]: [subscriber] },
    })
  return {
    transport,
    publisher: async (prefix, messages) => {
      const connection = await connect(url)
      const channel = await connection.createConfirmChannel()
      const { traits } = transport(prefix)
      const all = messages.map((outgoing) => encoded(outgoing, traits))
      return {
        publish: async (from, count) => {
          for (const message of all.slice(from, from + count)) {
            if ('error' in message) throw message.error
            channel.publish(`${prefix}.pabal.${context}`, message.routingKey, message.content, message.properties)
          }
          await channel.waitForConfirms()
        },
        [Symbol.asyncDispose]: () => connection.close(),
      }
    },
    consume: async (prefix, take) => {
      const connection = await connect(url)
      const channel = await connection.createChannel()
      await channel.prefetch(prefetch)
      type Delivered = NonNullable<Parameters<Parameters<typeof channel.consume>[1]>[0]>
      const inbox = new Inbox<Delivered>(async (messages) => {
        await take(messages.map(({ content }) => content.toString()))
        channel.ack(messages.at(-1)!, true)
      })
      const { consumerTag } = await channel.consume(`${prefix}.pabal.${context}.${subscriber}`, (message) => {
        if (message !== null) inbox.add(message)
      })
      return {
        [Symbol.asyncDispose]: async () => {
          await channel.cancel(consumerTag)
          await inbox.idle()
          await connection.close()
        },
      }
    },
  }
}
