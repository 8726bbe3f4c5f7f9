/** The transport over SNS and SQS: a topic of each context that publishes, a queue of each context that receives from it. */

import type { Resource } from '../resource.ts'
import { provide } from '../topology.ts'
import type { Needs, OpenTransport, Traits, Transport, TransportOptions } from '../transport.ts'
import { callsWithin } from './calls.ts'
import type { SnsClient, SqsClient } from './driver.ts'
import { bytesMax, bytesOfEvent } from './message.ts'
import { faultInTopic } from './names.ts'
import { type Ready, toTopics } from './outlet.ts'
import { resourcesOf } from './provision.ts'
import { Publisher } from './publisher.ts'
import { Queues } from './queues.ts'
import { Receivings } from './receivings.ts'
import { judgeRefused } from './refused.ts'
import { type PublishingOptions, type ReceivingOptions, type Settings, settingsOf } from './settings.ts'
import { terraformOf } from './terraform.ts'
import { Topics } from './topics.ts'

export interface SnsSqsTransportOptions extends PublishingOptions, ReceivingOptions {
  /** `new SNS({ region })` of @aws-sdk/client-sns 3. The caller's: it is not destroyed. */
  readonly sns: SnsClient
  /** `new SQS({ region })` of @aws-sdk/client-sqs 3. */
  readonly sqs: SqsClient
  /** `arn:aws:sns:<region>:<account>`: where topics are with `provision: false`. Default: looked for with `sns:ListTopics`. */
  readonly topicsAt?: string | undefined
}

/**
 * Ordered with FIFO topics and queues, as far as SNS and SQS are: messages of a key come in the order of publishing, also to
 * several processes of a subscriber. A request of which the broker has taken a later message and not an earlier one breaks it, and
 * so does a message that SQS has set aside. The receiver sorts both out (P9).
 * @throws PABAL_COMPOSITION_INVALID
 */
export const snsSqsTransport = (options: SnsSqsTransportOptions): Transport => {
  const { sns, sqs } = options
  const settings = settingsOf('SNS and SQS', { sns, sqs }, options)
  const { fifo, names } = settings
  const traits: Traits = { ordered: fifo, delivery: 'at-least-once', messageBytes: bytesMax }
  return {
    name: 'sns-sqs',
    traits,
    bytesOf: bytesOfEvent,
    faultInName: faultInTopic(fifo),
    open: async (opened) => open(options, settings, traits, opened),
    terraform: (needs) => terraformOf(names, fifo, needs),
  }
}

const open = (
  { sns, sqs, topicsAt }: SnsSqsTransportOptions,
  settings: Settings,
  traits: Traits,
  options: TransportOptions,
): OpenTransport => {
  const { fifo, names, provision } = settings
  const call = callsWithin(options.environment, settings.requestTimeoutMs)
  const topics = new Topics({ sns, call, fifo, topicsAt })
  const queues = new Queues({ sqs, call, fifo })
  const resources = (needs: Needs): readonly Resource[] => resourcesOf({ topics, queues, names }, needs)
  const ready: Ready = (needs) =>
    provide('SNS and SQS', resources({ publishes: [], receives: [], ...needs }), provision)
  const publisher = new Publisher({ outlet: toTopics({ sns, topics, names, ready }), call, traits, settings })
  const parts = { sqs, call, queues, settings, options }
  const receivings = new Receivings(parts)
  return {
    publish: (channel, messages, signal) => publisher.publish(channel, messages, signal),
    receive: async (channel, subscriber, take, selection) => {
      const { context } = channel
      await ready({ receives: [{ channel, subscriber, selection }] })
      const from = { queue: names.queue(context, subscriber), refused: names.refused(context, subscriber) }
      return receivings.begin({ ...from, what: `what '${subscriber}' receives from '${context}'` }, take)
    },
    refused: ({ context }, subscriber, limit, judge) =>
      judgeRefused(parts, names.refused(context, subscriber), limit, judge),
    resources,
    [Symbol.asyncDispose]: () => receivings[Symbol.asyncDispose](),
  }
}
