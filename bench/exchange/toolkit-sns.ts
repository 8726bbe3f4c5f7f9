/** `@message-queue-toolkit/sns`: a publisher to a FIFO topic, and the consumer of the FIFO queue that is subscribed to it. */

import { setTimeout } from 'node:timers/promises'
import { SNSClient } from '@aws-sdk/client-sns'
import { SQSClient } from '@aws-sdk/client-sqs'
import { load } from '../competitors.ts'
import { perRequest, polls, settingsFor } from './sns.ts'
import { type Handlers, type Message, publishing, telling, type Toolkit, typing } from './toolkit.ts'

const toolkitPackage = '@message-queue-toolkit/sns'

interface Sns {
  readonly SnsConsumerErrorResolver: new () => object
  readonly CommonSnsPublisher: new (dependencies: object, options: object) => TopicPublisher
  // Abstract in its type alone.
  readonly AbstractSnsSqsConsumer: new (
    dependencies: object,
    options: object,
    context: object,
  ) => QueueConsumer
}
interface TopicPublisher {
  init(): Promise<void>
  publish(message: Message): Promise<void>
  close(): Promise<void>
}
interface QueueConsumer {
  init(): Promise<void>
  start(): Promise<void>
  close(): Promise<void>
  /** Private in its type. */
  readonly consumers: readonly { readonly status: { readonly isPolling: boolean } }[]
}

const topicOf = (name: string) => ({
  Name: `${name}.fifo`,
  Attributes: { FifoTopic: 'true', ContentBasedDeduplication: 'true' },
})
const queueOf = (name: string) => ({ QueueName: `${name}.fifo`, Attributes: { FifoQueue: 'true' } })

export const toolkitOnSns = async (server: string): Promise<Toolkit> => {
  const sns = await load<Sns>(toolkitPackage)
  const settings = settingsFor(server)
  const clients = { snsClient: new SNSClient(settings), sqsClient: new SQSClient(settings) }

  const consumerOf = (name: string, handlers: Handlers): QueueConsumer =>
    new sns.AbstractSnsSqsConsumer(
      { ...telling, ...clients, consumerErrorResolver: new sns.SnsConsumerErrorResolver() },
      {
        ...typing,
        handlers,
        fifoQueue: true,
        creationConfig: { topic: topicOf(name), queue: queueOf(name) },
        subscriptionConfig: { updateAttributesIfExists: false },
        consumerOverrides: { batchSize: perRequest, waitTimeSeconds: 1 },
        concurrentConsumersAmount: polls,
      },
      {},
    )
  return {
    package: toolkitPackage,
    publishes: 'a request for each, to a FIFO topic',
    consumes: `from a FIFO queue, ${perRequest} a request and ${polls} requests at once; deleted one by one`,
    provide: async (name) => consumerOf(name, []).init(),
    publisher: async (name) => {
      const by = new sns.CommonSnsPublisher(
        { ...telling, ...clients },
        { ...publishing, fifoTopic: true, messageGroupIdField: 'orderId', creationConfig: { topic: topicOf(name) } },
      )
      await by.init()
      return {
        publish: async (messages) => {
          await Promise.all(messages.map((message) => by.publish(message)))
        },
        [Symbol.asyncDispose]: () => by.close(),
      }
    },
    consume: async (name, handlers) => {
      const consumer = consumerOf(name, handlers)
      await consumer.start()
      return async () => {
        await consumer.close()
        // It does not wait for the requests under way, whose messages the next turn would miss.
        while (consumer.consumers.some(({ status }) => status.isPolling)) await setTimeout(10)
      }
    },
  }
}
