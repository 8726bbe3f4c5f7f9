/** What a user says of the transport, checked and with its defaults. */

import { type Duration, durationMs } from '../../core/duration.ts'
import { PabalError } from '../../core/errors.ts'
import type { CarriedOptions } from '../exchange.ts'
import type { NatsClient, NatsConnection } from './driver.ts'
import { checkPrefix } from './names.ts'

export interface NatsOptions<C extends NatsConnection = NatsConnection> extends NatsClient<C>, CarriedOptions {
  /** What all names on the broker begin with: letters, digits, `_` and `-`. Default `'pabal'`. */
  readonly prefix?: string
  /** False: nothing is created, and what is missing is an error that names all of it. Default true. */
  readonly provision?: boolean
  /** How long a stream that is created keeps a message, whether or not all have it. Default 14 days. */
  readonly keep?: Duration
  /** Servers that hold a copy of a stream that is created, 1 to 5. Default 1. */
  readonly replicas?: number
  /**
   * How long a process may give no sign of life before what it has received is delivered again; it gives one three times within.
   * Another process takes its turn after twice that. Of consumers that are created. Default 10 seconds, at least 1.
   */
  readonly ackWait?: Duration
  /** Messages that are received at a time, 1 to 1,000, all of which are in memory at once. Default 1,000. */
  readonly batch?: number
  /** How long a publish waits for the broker's confirmation. Default 5 seconds. */
  readonly publishTimeout?: Duration
  /** The most that a message may have, headers included: `max_payload` of the server. Default 1,048,576. */
  readonly messageBytes?: number
}

export interface Settings {
  readonly prefix: string
  readonly provision: boolean
  readonly keepMs: number
  readonly replicas: number
  readonly ackWaitMs: number
  readonly batch: number
  readonly publishTimeoutMs: number
  readonly messageBytes: number
  /** Of a consumer that is created: what was published before is not for it. */
  readonly fromNow: boolean
}

export const defaults = {
  prefix: 'pabal',
  keep: '14 days',
  replicas: 1,
  ackWait: '10 seconds',
  batch: 1_000,
  publishTimeout: '5 seconds',
  messageBytes: 1_048_576,
} as const

const invalid = (reason: string): PabalError => new PabalError('PABAL_COMPOSITION_INVALID', `nats: ${reason}`)

const integer = (value: number, name: string, least: number, most: number): number => {
  if (!Number.isSafeInteger(value) || value < least || value > most)
    throw invalid(`${name} is an integer from ${least} to ${most}, not ${value}`)
  return value
}

const time = (value: Duration, name: string, leastMs: number): number => {
  const ms = durationMs(value, `nats: ${name}`)
  if (ms < leastMs) throw invalid(`${name} is ${leastMs} ms at least, not ${ms}`)
  return ms
}

/** @throws PABAL_COMPOSITION_INVALID, PABAL_DEFINITION_INVALID for what is no length of time */
export const settingsOf = <C extends NatsConnection>(options: NatsOptions<C>): Settings => {
  for (const name of ['connect', 'jetstream', 'headers'] as const)
    if (typeof options[name] !== 'function')
      throw invalid(`${name} is missing: nats({ connect: () => connect({ servers }), jetstream, headers })`)
  const given = { ...defaults, ...options }
  checkPrefix(given.prefix)
  return {
    prefix: given.prefix,
    provision: options.provision ?? true,
    // A stream may not forget sooner than it forgets the ids by which it knows repetitions (two minutes).
    keepMs: time(given.keep, 'keep', 120_000),
    replicas: integer(given.replicas, 'replicas', 1, 5),
    ackWaitMs: time(given.ackWait, 'ackWait', 1_000),
    batch: integer(given.batch, 'batch', 1, 1_000),
    publishTimeoutMs: time(given.publishTimeout, 'publishTimeout', 100),
    messageBytes: integer(given.messageBytes, 'messageBytes', 1_024, 67_108_864),
    fromNow: options.startAt === 'now',
  }
}
