/** The transport over Redis Streams: a stream per channel, a group per subscriber, one process at a time that reads for it. */

import { PabalError } from '../../core/errors.ts'
import type { OpenTransport, Receiving, Transport, TransportOptions } from '../transport.ts'
import { connector, type RedisClient, type RedisSource } from './client.ts'
import { Connection } from './connection.ts'
import { Group } from './group.ts'
import { channelNames, faultInName, subscriberNames } from './names.ts'
import { resourcesOf } from './provision.ts'
import { publish } from './publisher.ts'
import { Reader } from './reader.ts'
import { judgeRefused } from './refused.ts'
import { survey } from './survey.ts'

export interface RedisStreamsOptions {
  /**
   * A client of `ioredis` (5 or later) or `iovalkey`, of which connections are duplicated and which stays the caller's; or a
   * function that makes one with the given settings: `(settings) => new Redis(url, settings)`.
   */
  readonly client: RedisSource
  /** Before the name of every key. Default none. On a cluster it must have a hash tag: `'{shop}.'`. */
  readonly prefix?: string
  /** False: nothing is created, and what is missing is an error that names it. Default true. */
  readonly provision?: boolean
  /** Bytes of one event as JSON. Default 1,048,576. */
  readonly messageBytes?: number
  /** Replicas that must have confirmed what is published (`WAIT`). Default 0. */
  readonly replicas?: number
  /** Milliseconds for which an event stays in the stream even if all have taken it, for who subscribes later. Default 7 days. */
  readonly keepMs?: number
  /** Milliseconds between two looks for what can be deleted. Default 60,000. */
  readonly trimEveryMs?: number
  /** Milliseconds without a sign of life, after which another process of the subscriber reads. Default 10,000, at least 300. */
  readonly leaseMs?: number
  /** Milliseconds for an answer; then the connection is given up. Default 10,000. */
  readonly timeoutMs?: number
  /** Events of one batch, all of which are in memory at once. Default 1,000, the most. */
  readonly batch?: number
}

type Settled = Required<Omit<RedisStreamsOptions, 'client'>>

const defaults: Settled = {
  prefix: '',
  provision: true,
  messageBytes: 1_048_576,
  replicas: 0,
  keepMs: 604_800_000,
  trimEveryMs: 60_000,
  leaseMs: 10_000,
  timeoutMs: 10_000,
  batch: 1_000,
}

/** What each number must be; NaN is none of it. */
const fits: Partial<Record<keyof Settled, (value: number) => boolean>> = {
  messageBytes: (value) => value >= 1_024 && value <= 134_217_728,
  replicas: (value) => Number.isInteger(value) && value >= 0,
  keepMs: (value) => value >= 0,
  trimEveryMs: (value) => value >= 0,
  leaseMs: (value) => value >= 300,
  timeoutMs: (value) => value >= 50,
  batch: (value) => Number.isInteger(value) && value >= 1 && value <= 1_000,
}

/**
 * The transport alone. At least once, in the order of each key: the stream has the order in which it was published, and one process
 * at a time reads for a subscriber, also when that process changes. What breaks it: a server that fails over to a replica which
 * had not got all (R14); there what was published again comes behind what came later. @throws PABAL_COMPOSITION_INVALID
 */
export const redisStreamsTransport = ({ client, ...given }: RedisStreamsOptions): Transport => {
  const make = connector(client)
  const options: Settled = { ...defaults, ...given }
  for (const [name, fit] of Object.entries(fits))
    if (!fit(options[name as keyof Settled] as number))
      throw new PabalError(
        'PABAL_COMPOSITION_INVALID',
        `Redis Streams: \`${name}\` cannot be ${String(options[name as keyof Settled])}`,
      )
  return {
    name: 'redis-streams',
    traits: { ordered: true, delivery: 'at-least-once', messageBytes: options.messageBytes },
    faultInName,
    open: async (of) => {
      const open = new OpenRedisStreams(make, options, of)
      try {
        await open.check()
        return open
      } catch (error) {
        await open[Symbol.asyncDispose]()
        throw error
      }
    },
  }
}

class OpenRedisStreams implements OpenTransport {
  readonly #make: () => RedisClient
  readonly #options: Settled
  readonly #of: TransportOptions
  readonly #connection: Connection
  readonly #receiving = new Set<Reader>()

  constructor(make: () => RedisClient, options: Settled, of: TransportOptions) {
    this.#make = make
    this.#options = options
    this.#of = of
    this.#connection = this.#connect()
  }

  #connect(): Connection {
    return new Connection({ make: this.#make, timeoutMs: this.#options.timeoutMs, ...this.#of })
  }

  async check(): Promise<void> {
    await survey(this.#connection, this.#of.warn)
  }

  readonly publish: OpenTransport['publish'] = async (channel, messages, signal) => {
    const { stream } = channelNames(this.#options.prefix, channel)
    const traits = { ordered: true, delivery: 'at-least-once', messageBytes: this.#options.messageBytes } as const
    return publish({ ...this.#options, connection: this.#connection, traits }, stream, messages, signal)
  }

  readonly receive: OpenTransport['receive'] = async (channel, subscriber, take): Promise<Receiving> => {
    const { environment, warn } = this.#of
    const { prefix, provision, leaseMs, keepMs, trimEveryMs, batch } = this.#options
    const names = subscriberNames(prefix, channel, subscriber)
    const waiting = this.#connect()
    const group = new Group({
      names,
      provision,
      leaseMs,
      count: batch,
      consumer: environment.id(),
      connection: this.#connection,
      waiting,
    })
    await group.ensure()
    const reader = new Reader({
      group,
      names,
      take,
      leaseMs,
      // What a foreign producer has sent is its own to delete.
      keepMs: names.isForeign ? Number.POSITIVE_INFINITY : keepMs,
      trimEveryMs,
      environment,
      warn,
      wake: () => waiting.close(),
    })
    this.#receiving.add(reader)
    return {
      [Symbol.asyncDispose]: async () => {
        await reader[Symbol.asyncDispose]()
        this.#receiving.delete(reader)
      },
    }
  }

  readonly refused: NonNullable<OpenTransport['refused']> = (channel, subscriber, limit, judge) =>
    judgeRefused(this.#connection, subscriberNames(this.#options.prefix, channel, subscriber), limit, judge)

  readonly resources: NonNullable<OpenTransport['resources']> = (needs) =>
    resourcesOf(this.#connection, this.#options.prefix, needs)

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#receiving].map((reader) => reader[Symbol.asyncDispose]()))
    this.#connection.close()
  }
}
