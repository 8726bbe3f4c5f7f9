/** What the caller may choose, with defaults and ranges: each transport takes the part that concerns it. */

import { PabalError } from '../../core/errors.ts'
import { type Names, namesWith } from './names.ts'

interface CommonOptions {
  /**
   * FIFO topics and queues, which keep the order of a key. False: standard ones, which cost less and promise nothing of the kind;
   * what comes too early waits then in the receiving context's database. Default true. Both exist beside each other.
   */
  readonly fifo?: boolean | undefined
  /** Before all names: `'test-'`. At most 40 letters, digits, `-` and `_`. Default none. */
  readonly prefix?: string | undefined
  /** False: nothing is made or changed on the broker, and what is missing is named. Default true. */
  readonly provision?: boolean | undefined
  /** That a request may take, waiting aside, before it has failed. Default 10,000 ms. */
  readonly requestTimeoutMs?: number | undefined
}

export interface PublishingOptions extends CommonOptions {
  /** Requests that publish at a time, 1 or more; each has up to ten messages, and no key is in two of them. Default 8. */
  readonly inFlight?: number | undefined
}

export interface ReceivingOptions extends CommonOptions {
  /** Requests that receive at a time and channel, 1 or more; an idle one has one. Default 4. */
  readonly polls?: number | undefined
  /** That a receive waits for messages, 1,000 to 20,000 ms; who stops waits for its end. An idle channel costs a request for each. Default 5,000. */
  readonly waitMs?: number | undefined
  /** After which others get what a process had received that has ended, 3,000 to 43,200,000 ms. Renewed at a third. Default 30,000. */
  readonly visibilityMs?: number | undefined
}

const defaults = { inFlight: 8, polls: 4, waitMs: 5_000, visibilityMs: 30_000, requestTimeoutMs: 10_000 }

type Numbers = typeof defaults

const ranges: Readonly<Record<keyof Numbers, readonly [least: number, most: number]>> = {
  inFlight: [1, 100],
  polls: [1, 100],
  waitMs: [1_000, 20_000],
  visibilityMs: [3_000, 43_200_000],
  requestTimeoutMs: [100, 600_000],
}

export interface Settings extends Numbers {
  readonly fifo: boolean
  readonly names: Names
  readonly provision: boolean
}

/** Clients whose methods are told by one of them: the bare ones, `SNSClient` and `SQSClient`, have none. */
const methodOf = { sns: 'publishBatch', sqs: 'receiveMessage' } as const

type Clients = Partial<Record<keyof typeof methodOf, unknown>>

/** `broker` is what errors call it. @throws PABAL_COMPOSITION_INVALID */
export const settingsOf = (
  broker: string,
  clients: Clients,
  options: PublishingOptions & ReceivingOptions,
): Settings => {
  const invalid = (detail: string): PabalError => new PabalError('PABAL_COMPOSITION_INVALID', `${broker}: ${detail}`)
  const { fifo = true, prefix = '', provision = true } = options
  const names = namesWith(prefix, fifo)
  for (const [name, client] of Object.entries(clients) as [keyof typeof methodOf, unknown][])
    if (typeof (client as Record<string, unknown> | undefined)?.[methodOf[name]] !== 'function')
      throw invalid(`\`${name}\` is not \`new ${name.toUpperCase()}({ … })\` of @aws-sdk/client-${name} 3`)
  const numbers = withDefaults(options)
  for (const [name, value] of Object.entries(numbers) as [keyof Numbers, number][]) {
    const [least, most] = ranges[name]
    if (!Number.isInteger(value) || value < least || value > most)
      throw invalid(`\`${name}\` is ${value}, and must be a whole number from ${least} to ${most}`)
  }
  return { ...numbers, fifo, names, provision }
}

const withDefaults = (options: PublishingOptions & ReceivingOptions): Numbers => {
  const { inFlight, polls, waitMs, visibilityMs, requestTimeoutMs } = options
  return {
    inFlight: inFlight ?? defaults.inFlight,
    polls: polls ?? defaults.polls,
    waitMs: waitMs ?? defaults.waitMs,
    visibilityMs: visibilityMs ?? defaults.visibilityMs,
    requestTimeoutMs: requestTimeoutMs ?? defaults.requestTimeoutMs,
  }
}
