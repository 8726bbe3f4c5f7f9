/** What stands on the broker: an exchange for a channel, a queue for each subscriber, and a place for what it refused. */

import { PabalError } from '../../core/errors.ts'
import type { Channel, TransportOptions } from '../transport.ts'
import type { RabbitChannel, RabbitConnection } from './driver.ts'
import { faultOf, invalid, isMissing, isOtherwise } from './fault.ts'

export interface TopologyOptions {
  readonly prefix: string
  readonly provision: boolean
  readonly subscribers: Readonly<Record<string, readonly string[]>>
  readonly warn: TransportOptions['warn']
}

export class Topology {
  readonly #options: TopologyOptions

  constructor(options: TopologyOptions) {
    this.#options = options
  }

  exchange({ context }: Channel): string {
    return `${this.#options.prefix}pabal.${context}`
  }

  queue(channel: Channel, subscriber: string): string {
    return `${this.exchange(channel)}.${subscriber}`
  }

  /** The name of an exchange, and of the queue that it fills. */
  refused(channel: Channel, subscriber: string): string {
    return `${this.queue(channel, subscriber)}.refused`
  }

  /** What a producer needs, and those who are known to subscribe. @throws as `forReceiving` */
  async forPublishing(connection: RabbitConnection, channel: Channel): Promise<void> {
    const { provision, subscribers } = this.#options
    const exchange = this.exchange(channel)
    if (provision) await declareExchange(connection, exchange, 'topic')
    else await look(connection, [exchange], [])
    const known = Object.hasOwn(subscribers, channel.context) ? subscribers[channel.context]! : []
    for (const subscriber of known) await this.forReceiving(connection, channel, subscriber)
  }

  /**
   * What a subscriber needs; from here on it is brought what is published.
   * @throws PABAL_TRANSPORT_INVALID, PABAL_TRANSPORT_UNREACHABLE
   */
  async forReceiving(connection: RabbitConnection, channel: Channel, subscriber: string): Promise<void> {
    const exchange = this.exchange(channel)
    const queue = this.queue(channel, subscriber)
    const refused = this.refused(channel, subscriber)
    if (!this.#options.provision) return look(connection, [exchange], [queue, refused])
    await declareExchange(connection, exchange, 'topic')
    await declareExchange(connection, refused, 'fanout')
    await this.#declareQueue(connection, queue, deliveredInOrder(refused))
    await bind(connection, queue, exchange)
    await this.#declareQueue(connection, refused, {})
    await bind(connection, refused, refused)
  }

  async #declareQueue(
    connection: RabbitConnection,
    queue: string,
    more: Readonly<Record<string, unknown>>,
  ): Promise<void> {
    const declare = (limit: Readonly<Record<string, unknown>>): Promise<void> =>
      asked(connection, `declaring the queue '${queue}'`, (channel) =>
        channel.assertQueue(queue, {
          durable: true,
          arguments: { 'x-queue-type': 'quorum', ...more, ...limit },
        }),
      )
    if (!limitsDeliveries(connection)) return declare({})
    try {
      return await declare({ 'x-delivery-limit': -1 })
    } catch (error) {
      if (!(error instanceof PabalError) || !isOtherwise(error.cause)) throw error
      // One that was made by RabbitMQ 3 has no such argument, and a queue keeps those that it was made with.
      await declare({})
      this.#options.warn(
        `RabbitMQ: the queue '${queue}' was made without x-delivery-limit, and sets aside what was returned 20 times`,
        error,
      )
    }
  }
}

/**
 * Quorum, so that what was confirmed is on a majority of nodes; a single active consumer, so that several processes do not
 * overtake each other. What is refused moves on to its place and leaves only when it is there (`at-least-once`, which must
 * have `reject-publish`): so a queue that an operator has limited refuses what is new, and drops nothing.
 */
const deliveredInOrder = (refused: string): Readonly<Record<string, unknown>> => ({
  'x-single-active-consumer': true,
  'x-dead-letter-exchange': refused,
  'x-dead-letter-strategy': 'at-least-once',
  'x-overflow': 'reject-publish',
})

/**
 * From 4.0 on a message is set aside after 20 deliveries unless the limit is -1: processes that die are enough for that. Before,
 * there was none, and -1 would mean the first.
 */
const limitsDeliveries = ({ connection }: RabbitConnection): boolean =>
  Number.parseInt(connection.serverProperties.version ?? '', 10) >= 4

const declareExchange = (connection: RabbitConnection, exchange: string, type: string): Promise<void> =>
  asked(connection, `declaring the exchange '${exchange}'`, (channel) =>
    channel.assertExchange(exchange, type, { durable: true }),
  )

const bind = (connection: RabbitConnection, queue: string, exchange: string): Promise<void> =>
  asked(connection, `binding the queue '${queue}' to the exchange '${exchange}'`, (channel) =>
    channel.bindQueue(queue, exchange, '#'),
  )

/** Bindings cannot be looked at over AMQP. */
const look = async (
  connection: RabbitConnection,
  exchanges: readonly string[],
  queues: readonly string[],
): Promise<void> => {
  const missing: string[] = []
  const lookAt = async (what: string, question: (channel: RabbitChannel) => Promise<unknown>): Promise<void> => {
    try {
      await asked(connection, `looking at ${what}`, question)
    } catch (error) {
      if (!(error instanceof PabalError) || !isMissing(error.cause)) throw error
      missing.push(what)
    }
  }
  for (const name of exchanges) await lookAt(`the exchange '${name}'`, (channel) => channel.checkExchange(name))
  for (const name of queues) await lookAt(`the queue '${name}'`, (channel) => channel.checkQueue(name))
  if (missing.length > 0) throw invalid(`not there, and not to be created (provision: false): ${missing.join(', ')}`)
}

/** On a channel of its own, since the broker ends it with its answer where that is no. */
const asked = async (
  connection: RabbitConnection,
  what: string,
  question: (channel: RabbitChannel) => Promise<unknown>,
): Promise<void> => {
  try {
    const channel = await connection.createChannel()
    channel.on('error', () => undefined) // the question fails by it
    await question(channel)
    await channel.close()
  } catch (error) {
    throw faultOf(what, error)
  }
}
