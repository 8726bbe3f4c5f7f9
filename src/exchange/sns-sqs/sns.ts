/** The transport over SNS alone: a topic of each context that publishes, for subscribers that are not pabal's. It brings nothing. */

import { PabalError } from '../../core/errors.ts'
import type { Resource } from '../resource.ts'
import { provide } from '../topology.ts'
import type { Needs, OpenTransport, Traits, Transport, TransportOptions } from '../transport.ts'
import { callsWithin } from './calls.ts'
import type { SnsClient } from './driver.ts'
import { bytesMax, bytesOfEvent } from './message.ts'
import { type Ready, toTopics } from './outlet.ts'
import { topicsOf } from './provision.ts'
import { Publisher } from './publisher.ts'
import { type PublishingOptions, type Settings, settingsOf } from './settings.ts'
import { terraformOf } from './terraform.ts'
import { Topics } from './topics.ts'

export interface SnsTransportOptions extends PublishingOptions {
  /** `new SNS({ region })` of @aws-sdk/client-sns 3. The caller's: it is not destroyed. */
  readonly sns: SnsClient
  /** `arn:aws:sns:<region>:<account>`: where topics are with `provision: false`. Default: looked for with `sns:ListTopics`. */
  readonly topicsAt?: string | undefined
}

/**
 * The topics are those of `snsSqsTransport`. What its subscribers do with an event is theirs: once and in order ends here.
 * @throws PABAL_COMPOSITION_INVALID
 */
export const snsTransport = (options: SnsTransportOptions): Transport => {
  const settings = settingsOf('SNS', { sns: options.sns }, options)
  const { fifo, names } = settings
  const traits: Traits = { ordered: fifo, delivery: 'at-least-once', messageBytes: bytesMax, subscribers: 'none' }
  return {
    name: 'sns',
    traits,
    bytesOf: bytesOfEvent,
    open: async (opened) => open(options, settings, traits, opened),
    terraform: (needs) => terraformOf(names, fifo, needs),
  }
}

const open = (
  { sns, topicsAt }: SnsTransportOptions,
  settings: Settings,
  traits: Traits,
  { environment }: TransportOptions,
): OpenTransport => {
  const { fifo, names, provision, requestTimeoutMs } = settings
  const call = callsWithin(environment, requestTimeoutMs)
  const topics = new Topics({ sns, call, fifo, topicsAt })
  const resources = (needs: Needs): readonly Resource[] => topicsOf({ topics, names }, needs)
  const ready: Ready = (needs) => provide('SNS', resources({ publishes: [], receives: [], ...needs }), provision)
  const publisher = new Publisher({ outlet: toTopics({ sns, topics, names, ready }), call, traits, settings })
  return {
    publish: (channel, messages, signal) => publisher.publish(channel, messages, signal),
    receive: () =>
      Promise.reject(new PabalError('PABAL_COMPOSITION_INVALID', 'nothing is received over SNS alone: take `snsSqs`')),
    resources,
    [Symbol.asyncDispose]: () => Promise.resolve(),
  }
}
