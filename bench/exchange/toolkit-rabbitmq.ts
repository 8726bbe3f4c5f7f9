/** `@message-queue-toolkit/amqp`: a publisher to a quorum queue, and its consumer. */

import { load } from '../competitors.ts'
import { type Message, publishing, telling, type Toolkit, typing } from './toolkit.ts'

const toolkitPackage = '@message-queue-toolkit/amqp'

interface Amqp {
  readonly AmqpConnectionManager: new (config: object, logger: object) => Manager
  readonly AmqpConsumerErrorResolver: new () => object
  readonly CommonAmqpQueuePublisher: new (dependencies: object, options: object) => QueuePublisher
  // Abstract in its type alone.
  readonly AbstractAmqpQueueConsumer: new (
    dependencies: object,
    options: object,
    context: object,
  ) => QueueConsumer
}
interface Manager {
  init(): Promise<void>
  /** Closes the publishers and consumers on it as well. */
  close(): Promise<void>
}
interface QueuePublisher {
  /** Open to those who extend it. */
  readonly channel: { checkQueue(name: string): Promise<unknown> }
  init(): Promise<void>
  publish(message: Message, options: object): void
}
interface QueueConsumer {
  start(): Promise<void>
}

const durable = { publishOptions: { persistent: true } }

const creating = (queueName: string) => ({
  creationConfig: { queueName, queueOptions: { durable: true, arguments: { 'x-queue-type': 'quorum' } } },
})

export const toolkitOnRabbitmq = async (server: string): Promise<Toolkit> => {
  const amqp = await load<Amqp>(toolkitPackage)
  const { hostname, port, username, password } = new URL(server)
  const config = { hostname, port: Number(port), username, password, vhost: '', useTls: false }

  const connected = async (): Promise<Manager> => {
    const manager = new amqp.AmqpConnectionManager(config, telling.logger)
    await manager.init()
    return manager
  }
  const publisher: Toolkit['publisher'] = async (name) => {
    const manager = await connected()
    const dependencies = { ...telling, amqpConnectionManager: manager }
    const by = new amqp.CommonAmqpQueuePublisher(dependencies, { ...publishing, ...creating(name) })
    await by.init()
    return {
      publish: async (messages) => {
        for (const message of messages) by.publish(message, durable)
        // The broker answers what is asked on a channel in order.
        await by.channel.checkQueue(name)
      },
      [Symbol.asyncDispose]: () => manager.close(),
    }
  }
  return {
    package: toolkitPackage,
    publishes:
      'without confirms, which it does not know: the answer to a question on their channel says that the broker has taken them',
    consumes: 'acknowledged one by one; it sets no prefetch, so the broker brings all that it has',
    publisher,
    provide: async (name) => {
      await using _ = await publisher(name)
    },
    consume: async (name, handlers) => {
      const manager = await connected()
      const consumerErrorResolver = new amqp.AmqpConsumerErrorResolver()
      const consumer = new amqp.AbstractAmqpQueueConsumer(
        { ...telling, amqpConnectionManager: manager, consumerErrorResolver },
        { ...typing, ...creating(name), handlers },
        {},
      )
      await consumer.start()
      return () => manager.close()
    },
  }
}
