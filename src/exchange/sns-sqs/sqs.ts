/** The transport over SQS alone: a queue of each channel, which its one subscriber empties. It carries messages, no public events. */

import type { Resource } from '../resource.ts'
import { provide } from '../topology.ts'
import type { Needs, OpenTransport, Traits, Transport, TransportOptions } from '../transport.ts'
import { callsWithin } from './calls.ts'
import type { SqsClient } from './driver.ts'
import { bytesMax, bytesOfEvent } from './message.ts'
import { type Ready, toQueues } from './outlet.ts'
import { queuesOf } from './provision.ts'
import { Publisher } from './publisher.ts'
import { Queues } from './queues.ts'
import { Receivings } from './receivings.ts'
import { judgeRefused } from './refused.ts'
import { type PublishingOptions, type ReceivingOptions, type Settings, settingsOf } from './settings.ts'
import { terraformOfQueues } from './terraform.ts'

export interface SqsTransportOptions extends PublishingOptions, ReceivingOptions {
  /** `new SQS({ region })` of @aws-sdk/client-sqs 3. The caller's: it is not destroyed. */
  readonly sqs: SqsClient
}

/**
 * Ordered with FIFO queues, as `snsSqsTransport` is. Whoever sends makes the queue where it is missing, so that messages wait for a
 * context that has never run.
 * @throws PABAL_COMPOSITION_INVALID
 */
export const sqsTransport = (options: SqsTransportOptions): Transport => {
  const { sqs } = options
  const settings = settingsOf('SQS', { sqs }, options)
  const { fifo, names } = settings
  const traits: Traits = { ordered: fifo, delivery: 'at-least-once', messageBytes: bytesMax, subscribers: 'one' }
  return {
    name: 'sqs',
    traits,
    bytesOf: bytesOfEvent,
    open: async (opened) => open(sqs, settings, traits, opened),
    terraform: (needs) => terraformOfQueues(names, fifo, needs),
  }
}

const open = (sqs: SqsClient, settings: Settings, traits: Traits, options: TransportOptions): OpenTransport => {
  const { fifo, names, provision } = settings
  const call = callsWithin(options.environment, settings.requestTimeoutMs)
  const queues = new Queues({ sqs, call, fifo })
  const resources = (needs: Needs): readonly Resource[] => queuesOf({ queues, names }, needs)
  const ready: Ready = (needs) => provide('SQS', resources({ publishes: [], receives: [], ...needs }), provision)
  const publisher = new Publisher({ outlet: toQueues({ sqs, queues, names, ready }), call, traits, settings })
  const parts = { sqs, call, queues, settings, options }
  const receivings = new Receivings(parts)
  return {
    publish: (channel, messages, signal) => publisher.publish(channel, messages, signal),
    receive: async (channel, subscriber, take) => {
      const { context } = channel
      await ready({ receives: [{ channel, subscriber }] })
      const from = { queue: names.queue(context), refused: names.refused(context) }
      return receivings.begin({ ...from, what: `what '${subscriber}' is sent from '${context}'` }, take)
    },
    refused: ({ context }, _, limit, judge) => judgeRefused(parts, names.refused(context), limit, judge),
    resources,
    [Symbol.asyncDispose]: () => receivings[Symbol.asyncDispose](),
  }
}
