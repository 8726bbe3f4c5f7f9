/** RabbitMQ as a transport: one connection that publishes and one that receives, each made at its first use. */

import { PabalError } from '../../core/errors.ts'
import type { Channel, OpenTransport, Receiving, Traits, Transport, TransportOptions } from '../transport.ts'
import type { RabbitConnection } from './driver.ts'
import { Link } from './link.ts'
import { Publisher } from './publisher.ts'
import { receive } from './receiving.ts'
import { judgeRefused, keepRefused } from './refused.ts'
import { type Ask, askOn, Topology } from './topology.ts'

export interface RabbitTransportOptions {
  /**
   * Connects: `() => connect('amqps://…?heartbeat=10')` with the `connect` of amqplib 2, without its `recovery`. Called for
   * publishing and for receiving, and again whenever such a connection was lost. The heartbeat, in seconds, is how soon a
   * receiver notices a link that is dead and says nothing: within two or three of them.
   */
  readonly connect: () => Promise<RabbitConnection>
  /** Before every name on the broker: `staging.` makes `staging.pabal.ordering`. At most 100 characters; default none. */
  readonly prefix?: string
  /** False: nothing is created, and what is missing is an error. Default true. */
  readonly provision?: boolean
  /**
   * Who subscribes to contexts of this process: `{ ordering: ['shipping'] }`. The broker keeps nothing for who has no queue yet;
   * of these it is there before anything is published, whoever starts first. Those that are sent messages are known without it. A
   * stream of its own (`routes`) is named `ordering__<stream>`. Default none.
   */
  readonly subscribers?: Readonly<Record<string, readonly string[]>>
  /** Bytes of one message, attributes included; the broker's own limit (`max_message_size`) is not asked. Default 1,048,576. */
  readonly messageBytes?: number
  /** Messages that a subscriber has in hand, 1 to 2,000; half of them are the largest batch, and all are in memory at once. Default 2,000. */
  readonly prefetch?: number
  /** Milliseconds for each answer of the broker, at least 100; without one the connection is given up. Default 10,000. */
  readonly timeoutMs?: number
}

const defaults = { messageBytes: 1_048_576, prefetch: 2_000, timeoutMs: 10_000 } as const

/**
 * Order holds for each key from the publisher to the subscriber. After a connection was lost, messages may come again, and those
 * behind them again too.
 * @throws PABAL_COMPOSITION_INVALID
 */
export const rabbitmqTransport = (options: RabbitTransportOptions): Transport => {
  check(options)
  const traits: Traits = {
    ordered: true,
    delivery: 'at-least-once',
    messageBytes: options.messageBytes ?? defaults.messageBytes,
  }
  return { name: 'rabbitmq', traits, faultInName, open: async (given) => new OpenRabbit(options, traits, given) }
}

const faultInName = (exchange: string): string | undefined =>
  exchange !== '' && Buffer.byteLength(exchange) <= 255 && !/[\r\n]/.test(exchange)
    ? undefined
    : "an exchange's name has 1 to 255 bytes, in one line"

class OpenRabbit implements OpenTransport {
  readonly #options: RabbitTransportOptions
  readonly #traits: Traits
  readonly #given: TransportOptions
  readonly #timeoutMs: number
  readonly #topology: Topology
  readonly #publishing: Link
  /** Apart from the other: a broker that is short of memory stops listening to those who publish, and must hear what is acknowledged. */
  readonly #receiving: Link
  readonly #publishers = new Map<string, Publisher>()
  readonly #receivings = new Set<Receiving>()
  #closed = false

  constructor(options: RabbitTransportOptions, traits: Traits, given: TransportOptions) {
    const { connect, prefix = '', provision = true, subscribers = {}, timeoutMs = defaults.timeoutMs } = options
    this.#options = options
    this.#traits = traits
    this.#given = given
    this.#timeoutMs = timeoutMs
    this.#topology = new Topology({ prefix, provision, subscribers, warn: given.warn })
    this.#publishing = new Link({ ...given, connect, timeoutMs, purpose: 'publishing' })
    this.#receiving = new Link({ ...given, connect, timeoutMs, purpose: 'receiving' })
  }

  publish: OpenTransport['publish'] = (channel, messages, signal) => this.#publisher(channel).publish(messages, signal)

  #publisher(channel: Channel): Publisher {
    let publisher = this.#publishers.get(channel.context)
    if (publisher === undefined) {
      publisher = new Publisher({
        link: this.#publishing,
        topology: this.#topology,
        channel,
        traits: this.#traits,
        environment: this.#given.environment,
        timeoutMs: this.#timeoutMs,
      })
      this.#publishers.set(channel.context, publisher)
    }
    return publisher
  }

  receive: OpenTransport['receive'] = async (channel, subscriber, take) => {
    const receiving = await receive({
      ...this.#given,
      link: this.#receiving,
      topology: this.#topology,
      channel,
      subscriber,
      take,
      keep: (refused) => keepRefused(this.#publishing, this.#topology.refused(channel, subscriber), refused),
      prefetch: this.#options.prefetch ?? defaults.prefetch,
    })
    this.#receivings.add(receiving)
    const end = async (): Promise<void> => {
      await receiving[Symbol.asyncDispose]()
      this.#receivings.delete(receiving)
    }
    if (this.#closed) await end()
    return { [Symbol.asyncDispose]: end }
  }

  refused: NonNullable<OpenTransport['refused']> = async (channel, subscriber, limit, judge) =>
    judgeRefused(
      {
        connected: await this.#receiving.connected(),
        queue: this.#topology.refused(channel, subscriber),
        prefetch: this.#options.prefetch ?? defaults.prefetch,
        environment: this.#given.environment,
      },
      limit,
      judge,
    )

  resources: NonNullable<OpenTransport['resources']> = (needs) => {
    const ask: Ask = async (what, question) => {
      const connected = await this.#receiving.connected()
      return connected.answered(what, askOn(connected.connection)(what, question))
    }
    return this.#topology.resources(ask, needs)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    await Promise.all([...this.#receivings].map((receiving) => receiving[Symbol.asyncDispose]()))
    await Promise.all([this.#publishing, this.#receiving].map((link) => link[Symbol.asyncDispose]()))
  }
}

const check = ({ connect, prefix = '', messageBytes, prefetch, timeoutMs }: RabbitTransportOptions): void => {
  const refuse = (rule: string): PabalError => new PabalError('PABAL_COMPOSITION_INVALID', `rabbitmq(): ${rule}`)
  if (typeof connect !== 'function') throw refuse('`connect` is a function that connects by amqplib')
  // Names that begin with 'amq.' are the broker's own, and 255 bytes are the most that one may have.
  if (!/^[\w.:-]{0,100}$/.test(prefix) || prefix.startsWith('amq.'))
    throw refuse("`prefix` is of letters, digits and _.:-, at most 100, and does not begin with 'amq.'")
  const outside = (value: number | undefined, least: number, most: number): boolean =>
    value !== undefined && (!Number.isInteger(value) || value < least || value > most)
  if (outside(messageBytes, 1_024, 134_217_728)) throw refuse('`messageBytes` is from 1,024 to 134,217,728')
  if (outside(prefetch, 1, 2_000)) throw refuse('`prefetch` is from 1 to 2,000')
  if (outside(timeoutMs, 100, 600_000)) throw refuse('`timeoutMs` is from 100 to 600,000')
}
