/** The transport over SNS and SQS: a topic of each context that publishes, a queue of each context that receives from it. */

import { PabalError } from '../../core/errors.ts'
import type { Resource } from '../resource.ts'
import { provide } from '../topology.ts'
import type {
  Channel,
  Needs,
  OpenTransport,
  Selection,
  Take,
  Traits,
  Transport,
  TransportOptions,
} from '../transport.ts'
import { callsWithin } from './calls.ts'
import type { SnsClient, SqsClient } from './driver.ts'
import { bytesMax } from './message.ts'
import { namesWith } from './names.ts'
import { resourcesOf } from './provision.ts'
import { Publisher } from './publisher.ts'
import { Queue } from './queue.ts'
import { Queues } from './queues.ts'
import { QueueReceiving } from './receiving.ts'
import { terraformOf } from './terraform.ts'
import { Topics } from './topics.ts'

export interface SnsSqsTransportOptions {
  /** `new SNS({ region })` of @aws-sdk/client-sns 3. The caller's: it is not destroyed. */
  readonly sns: SnsClient
  /** `new SQS({ region })` of @aws-sdk/client-sqs 3. */
  readonly sqs: SqsClient
  /**
   * FIFO topics and queues, which keep the order of a key. False: standard ones, which cost less and promise nothing of the kind;
   * what comes too early waits then in the receiving context's database. Default true. Both exist beside each other.
   */
  readonly fifo?: boolean | undefined
  /** Before all names: `'test-'`. At most 40 letters, digits, `-` and `_`. Default none. */
  readonly prefix?: string | undefined
  /** False: nothing is made or changed on the broker, and what is missing is named. Default true. */
  readonly provision?: boolean | undefined
  /** `arn:aws:sns:<region>:<account>`: where topics are with `provision: false`. Default: looked for with `sns:ListTopics`. */
  readonly topicsAt?: string | undefined
  /** Requests that publish at a time, 1 or more; each has up to ten messages, and no key is in two of them. Default 8. */
  readonly inFlight?: number | undefined
  /** Requests that receive at a time and channel, 1 or more; an idle one has one. Default 4. */
  readonly polls?: number | undefined
  /** That a receive waits for messages, 1,000 to 20,000 ms; who stops waits for its end. An idle channel costs a request for each. Default 5,000. */
  readonly waitMs?: number | undefined
  /** After which others get what a process had received that has ended, 3,000 to 43,200,000 ms. Renewed at a third. Default 30,000. */
  readonly visibilityMs?: number | undefined
  /** That a request may take, waiting aside, before it has failed. Default 10,000 ms. */
  readonly requestTimeoutMs?: number | undefined
}

const defaults = { inFlight: 8, polls: 4, waitMs: 5_000, visibilityMs: 30_000, requestTimeoutMs: 10_000 }

/**
 * Ordered with FIFO topics and queues, as far as SNS and SQS are: messages of a key come in the order of publishing, also to
 * several processes of a subscriber. A request of which the broker has taken a later message and not an earlier one breaks it, and
 * so does a message that SQS has set aside. The receiver sorts both out (P9).
 * @throws PABAL_COMPOSITION_INVALID
 */
export const snsSqsTransport = (options: SnsSqsTransportOptions): Transport => {
  const { fifo = true, prefix = '' } = options
  const names = namesWith(prefix, fifo)
  check(options)
  const traits: Traits = { ordered: fifo, delivery: 'at-least-once', messageBytes: bytesMax }
  return {
    name: 'sns-sqs',
    traits,
    open: async (opened) => open({ ...options, fifo }, traits, names, opened),
    terraform: (needs) => terraformOf(names, fifo, needs),
  }
}

const open = (
  options: SnsSqsTransportOptions & { readonly fifo: boolean },
  traits: Traits,
  names: ReturnType<typeof namesWith>,
  { environment, warn }: TransportOptions,
): OpenTransport => {
  const { sns, sqs, fifo, provision = true, topicsAt } = options
  const { inFlight, polls, waitMs, visibilityMs, requestTimeoutMs } = withDefaults(options)
  const call = callsWithin(environment, requestTimeoutMs)
  const topics = new Topics({ sns, call, fifo, topicsAt })
  const queues = new Queues({ sqs, call, fifo })
  const resources = (needs: Needs): readonly Resource[] => resourcesOf({ topics, queues, names }, needs)
  const ready = (needs: Partial<Needs>): Promise<void> =>
    provide('SNS and SQS', resources({ publishes: [], receives: [], ...needs }), provision)
  const provided = new Map<string, Promise<string>>()
  const topicOf = (context: string): Promise<string> => {
    const known = provided.get(context)
    if (known !== undefined) return known
    const found = ready({ publishes: [{ context }] }).then(async () => (await topics.arnOf(names.topic(context)))!)
    provided.set(context, found)
    found.catch(() => provided.delete(context))
    return found
  }
  const publisher = new Publisher({ sns, call, traits, fifo, inFlight, topicOf })
  const receivings = new Set<QueueReceiving>()

  const receive = async (
    channel: Channel,
    subscriber: string,
    take: Take,
    selection?: Selection,
  ): Promise<QueueReceiving> => {
    const { context } = channel
    await ready({ receives: [{ channel, subscriber, selection }] })
    const urlOf = async (name: string): Promise<string> => (await queues.find(name))!
    const [queueUrl, refusedUrl] = await Promise.all([
      urlOf(names.queue(context, subscriber)),
      urlOf(names.refused(context, subscriber)),
    ])
    const ended = new AbortController()
    const { signal } = ended
    const queue = new Queue({
      sqs,
      call,
      queues: { queueUrl, refusedUrl },
      fifo,
      visibilityMs,
      waitMs,
      environment,
      warn,
      ended: signal,
    })
    const what = `what '${subscriber}' receives from '${context}'`
    const receiving = new QueueReceiving({ queue, ended, take, polls, waitMs, environment, what, warn })
    receivings.add(receiving)
    return receiving
  }
  return {
    publish: (channel, messages, signal) => publisher.publish(channel, messages, signal),
    receive,
    resources,
    [Symbol.asyncDispose]: async () => {
      await Promise.all([...receivings].map((receiving) => receiving[Symbol.asyncDispose]()))
    },
  }
}

type Numbers = typeof defaults

const withDefaults = (options: SnsSqsTransportOptions): Numbers => {
  const { inFlight, polls, waitMs, visibilityMs, requestTimeoutMs } = options
  return {
    inFlight: inFlight ?? defaults.inFlight,
    polls: polls ?? defaults.polls,
    waitMs: waitMs ?? defaults.waitMs,
    visibilityMs: visibilityMs ?? defaults.visibilityMs,
    requestTimeoutMs: requestTimeoutMs ?? defaults.requestTimeoutMs,
  }
}

const ranges: Readonly<Record<keyof Numbers, readonly [least: number, most: number]>> = {
  inFlight: [1, 100],
  polls: [1, 100],
  waitMs: [1_000, 20_000],
  visibilityMs: [3_000, 43_200_000],
  requestTimeoutMs: [100, 600_000],
}

const check = (options: SnsSqsTransportOptions): void => {
  const invalid = (detail: string): PabalError => new PabalError('PABAL_COMPOSITION_INVALID', `SNS and SQS: ${detail}`)
  // The bare clients, `SNSClient` and `SQSClient`, have no methods.
  for (const [name, method] of [
    ['sns', 'publishBatch'],
    ['sqs', 'receiveMessage'],
  ] as const)
    if (typeof (options[name] as unknown as Record<string, unknown> | undefined)?.[method] !== 'function')
      throw invalid(`\`${name}\` is not \`new ${name.toUpperCase()}({ … })\` of @aws-sdk/client-${name} 3`)
  for (const [name, value] of Object.entries(withDefaults(options)) as [keyof Numbers, number][]) {
    const [least, most] = ranges[name]
    if (!Number.isInteger(value) || value < least || value > most)
      throw invalid(`\`${name}\` is ${value}, and must be a whole number from ${least} to ${most}`)
  }
}
