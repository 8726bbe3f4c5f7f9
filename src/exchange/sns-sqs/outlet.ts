/** Where the messages of a channel go: a topic of SNS, or a queue of SQS. */

import type { Channel, Needs } from '../transport.ts'
import type { BatchAnswer, PublishEntry, RequestOptions, SnsClient, SqsClient } from './driver.ts'
import { invalidTransport } from './failures.ts'
import type { Names } from './names.ts'
import type { Queues } from './queues.ts'
import type { Topics } from './topics.ts'

export interface Outlet {
  /** As policies name it. */
  readonly action: 'sns:Publish' | 'sqs:SendMessage'
  /** An ARN or a URL, made or found the first time. */
  readonly targetOf: (channel: Channel) => Promise<string>
  readonly send: (target: string, entries: readonly PublishEntry[], options: RequestOptions) => Promise<BatchAnswer>
  /** What to say where a target is not there any more. */
  readonly gone: (context: string, target: string, cause: unknown) => Error
}

/** Makes what is missing, or says what is. */
export type Ready = (needs: Partial<Needs>) => Promise<void>

interface TopicParts {
  readonly sns: SnsClient
  readonly topics: Topics
  readonly names: Names
  readonly ready: Ready
}

export const toTopics = ({ sns, topics, names, ready }: TopicParts): Outlet => {
  const { get } = oncePerContext(async (channel) => {
    await ready({ publishes: [channel] })
    return (await topics.arnOf(names.topic(channel)))!
  })
  return {
    action: 'sns:Publish',
    targetOf: get,
    send: (TopicArn, entries, options) =>
      sns.publishBatch({ TopicArn, PublishBatchRequestEntries: [...entries] }, options),
    // Made anew it would have no subscriptions, and whatever is published would be lost.
    gone: (_, topic, cause) =>
      invalidTransport(`the topic ${topic} is gone: start the consumers again, which subscribe to it`, cause),
  }
}

interface QueueParts {
  readonly sqs: SqsClient
  readonly queues: Queues
  readonly names: Names
  readonly ready: Ready
}

export const toQueues = ({ sqs, queues, names, ready }: QueueParts): Outlet => {
  const { get, forget } = oncePerContext(async (channel) => {
    await ready({ publishes: [channel] })
    return (await queues.find(names.queue(channel.context)))!
  })
  return {
    action: 'sqs:SendMessage',
    targetOf: get,
    send: (QueueUrl, entries, options) =>
      sqs.sendMessageBatch(
        { QueueUrl, Entries: entries.map(({ Message, ...rest }) => ({ ...rest, MessageBody: Message })) },
        options,
      ),
    // What was in it is lost either way; the next try makes it anew, or says that it may not.
    gone: (context, queue, cause) => {
      forget(context)
      return new Error(`the queue ${queue} is gone`, { cause })
    },
  }
}

/** What has failed is tried again. */
const oncePerContext = (make: (channel: Channel) => Promise<string>) => {
  const known = new Map<string, Promise<string>>()
  const get = (channel: Channel): Promise<string> => {
    const { context } = channel
    const found = known.get(context)
    if (found !== undefined) return found
    const making = make(channel)
    known.set(context, making)
    making.catch(() => known.delete(context))
    return making
  }
  return { get, forget: (context: string) => known.delete(context) }
}
