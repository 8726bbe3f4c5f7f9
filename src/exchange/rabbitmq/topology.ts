/** What stands on the broker: an exchange for a channel, a queue for each subscriber, and a place for what it refused. */

import { PabalError } from '../../core/errors.ts'
import type { Found, InUse, Resource } from '../resource.ts'
import { provide } from '../topology.ts'
import type { Channel, Needs, TransportOptions } from '../transport.ts'
import type { RabbitChannel, RabbitConnection } from './driver.ts'
import { faultOf, isForbidden, isMissing, isOtherwise } from './fault.ts'

export interface TopologyOptions {
  readonly prefix: string
  readonly provision: boolean
  readonly subscribers: Readonly<Record<string, readonly string[]>>
  readonly warn: TransportOptions['warn']
}

/** Asks on a channel of its own, since the broker ends it with its answer where that is no. `what` is what is done by it. */
export type Ask = <T>(
  what: string,
  question: (channel: RabbitChannel, connection: RabbitConnection) => Promise<T>,
) => Promise<T>

/** @throws PABAL_TRANSPORT_INVALID, PABAL_TRANSPORT_UNREACHABLE */
export const askOn =
  (connection: RabbitConnection): Ask =>
  async (what, question) => {
    try {
      const channel = await connection.createChannel()
      channel.on('error', () => undefined) // the question fails by it
      const answer = await question(channel, connection)
      await channel.close()
      return answer
    } catch (error) {
      throw faultOf(what, error)
    }
  }

type Arguments = Readonly<Record<string, unknown>>

/** Absent: declaring it would make it. */
type Declared = Resource & { readonly declare?: () => Promise<Found> }

export class Topology {
  readonly #options: TopologyOptions

  constructor(options: TopologyOptions) {
    this.#options = options
  }

  exchange({ context, name }: Channel): string {
    return name ?? `${this.#options.prefix}pabal.${context}`
  }

  queue({ context }: Channel, subscriber: string): string {
    return `${this.exchange({ context })}.${subscriber}`
  }

  /** The name of an exchange, and of the queue that it fills. */
  refused(channel: Channel, subscriber: string): string {
    return `${this.queue(channel, subscriber)}.refused`
  }

  /** What a producer needs, and those who are known to subscribe. @throws as `forReceiving` */
  forPublishing(connection: RabbitConnection, channel: Channel): Promise<void> {
    return this.#provide(connection, { publishes: [channel], receives: [] })
  }

  /**
   * What a subscriber needs; from here on it is brought what is published.
   * @throws PABAL_TRANSPORT_INVALID, PABAL_TRANSPORT_UNREACHABLE
   */
  forReceiving(connection: RabbitConnection, channel: Channel, subscriber: string): Promise<void> {
    return this.#provide(connection, { publishes: [], receives: [{ channel, subscriber }] })
  }

  #provide(connection: RabbitConnection, needs: Needs): Promise<void> {
    return provide('RabbitMQ', this.#resources(askOn(connection), needs), this.#options.provision)
  }

  /** For planning: what is there is compared with what would be declared. */
  resources(ask: Ask, needs: Needs): readonly Resource[] {
    return this.#resources(ask, needs).map((resource) => compared(resource, this.#options.provision))
  }

  /** All are idempotent, and what is looked at is only whether they are there: a user need not have the right to declare them. */
  #resources(ask: Ask, { publishes, receives }: Needs): readonly Declared[] {
    const { subscribers } = this.#options
    return [
      ...publishes.flatMap((channel) => [
        exchange(ask, this.exchange(channel), 'topic'),
        ...[...knownSubscribers(subscribers, channel)]
          .flatMap((subscriber) => this.#ofSubscriber(ask, channel, subscriber))
          .map(another),
      ]),
      ...receives.flatMap(({ channel, subscriber }) => [
        channel.name === undefined
          ? another(exchange(ask, this.exchange(channel), 'topic'))
          : foreignExchange(ask, channel.name, this.#options.provision),
        ...this.#ofSubscriber(ask, channel, subscriber),
      ]),
    ]
  }

  #ofSubscriber(ask: Ask, channel: Channel, subscriber: string): readonly Declared[] {
    const name = this.queue(channel, subscriber)
    const refused = this.refused(channel, subscriber)
    return [
      exchange(ask, refused, 'fanout'),
      this.#queue(ask, name, deliveredInOrder(refused)),
      binding(ask, name, this.exchange(channel)),
      this.#queue(ask, refused, {}),
      binding(ask, refused, refused),
    ]
  }

  #queue(ask: Ask, name: string, more: Arguments): Declared {
    const check = () => ask(`looking at the queue '${name}'`, (channel) => channel.checkQueue(name))
    const declare = () => declareQueue(ask, name, more)
    return {
      kind: 'queue',
      name,
      idempotent: true,
      look: () => looked(check),
      declare,
      make: async () => {
        const { differs = [] } = await declare()
        for (const detail of differs) this.#options.warn('RabbitMQ', new Error(`the queue '${name}' ${detail}`))
      },
      inUse: async (): Promise<InUse> => ({ messages: (await check()).messageCount }),
      remove: () => ask(`deleting the queue '${name}'`, (channel) => channel.deleteQueue(name)).then(nothing),
    }
  }
}

/** Those that are named, and those that are sent messages. */
const knownSubscribers = (
  named: TopologyOptions['subscribers'],
  { context, receivers = [] }: Channel,
): ReadonlySet<string> => new Set([...(Object.hasOwn(named, context) ? named[context]! : []), ...receivers])

/** Of another context: it is made and left there. */
const another = ({ remove: _, inUse: __, ...resource }: Declared): Declared => resource

const nothing = (): void => undefined

const exchange = (ask: Ask, name: string, type: string): Declared => {
  const declare = () =>
    ask(`declaring the exchange '${name}'`, (channel) => channel.assertExchange(name, type, { durable: true }))
  return {
    kind: 'exchange',
    name,
    idempotent: true,
    look: () => looked(() => ask(`looking at the exchange '${name}'`, (channel) => channel.checkExchange(name))),
    declare: () => declare().then(() => ({})),
    make: () => declare().then(nothing),
    inUse: async () => ({ unless: 'a queue is bound to it' }),
    remove: async () => {
      try {
        await ask(`deleting the exchange '${name}'`, (channel) => channel.deleteExchange(name, { ifUnused: true }))
      } catch (error) {
        if (error instanceof PabalError && isOtherwise(error.cause)) return 'in use'
        throw error
      }
      return undefined
    },
  }
}

/**
 * It may be of any type in which one binding brings all. A direct one is of no use to the binding that is made with `provision`;
 * without, whoever has made the queue has bound it too, by keys of their choice.
 */
const foreignExchange = (ask: Ask, name: string, provision: boolean): Declared => ({
  kind: 'exchange',
  name,
  foreign: true,
  look: async () => {
    const found = await looked(() => ask(`looking at the exchange '${name}'`, (channel) => channel.checkExchange(name)))
    if (found === undefined || !provision || !(await isDirect(ask, name))) return found
    return {
      unfit: [
        'is of type direct, in which nothing is bound to all: bind an exchange of type fanout to it by the keys that are wanted, and name that one',
      ],
    }
  },
})

/**
 * AMQP has no question for the type, but a declaration is refused with what is otherwise, and the type comes first. The argument is
 * one that no exchange can have: where it is gone by now, none is made.
 */
export const isDirect = async (ask: Ask, name: string): Promise<boolean> => {
  const impossible = { durable: true, arguments: { 'alternate-exchange': 0 } }
  try {
    await ask(`asking for the type of the exchange '${name}'`, (channel) =>
      channel.assertExchange(name, 'direct', impossible),
    )
    return true
  } catch (error) {
    // Who may not declare it is told nothing of it.
    if (!(error instanceof PabalError) || (!isOtherwise(error.cause) && !isForbidden(error.cause))) throw error
    return /inequivalent arg '(?!type')/.test(error.message)
  }
}

/** It cannot be looked at over AMQP: it is taken to be there when its queue is. */
const binding = (ask: Ask, queue: string, exchangeName: string): Resource => {
  const what = `the queue '${queue}' to the exchange '${exchangeName}'`
  return {
    kind: 'binding',
    name: `${queue} to ${exchangeName}`,
    idempotent: true,
    look: () => looked(() => ask(`looking at ${what}`, (channel) => channel.checkQueue(queue))),
    make: () => ask(`binding ${what}`, (channel) => channel.bindQueue(queue, exchangeName, '#')).then(nothing),
    remove: () => ask(`unbinding ${what}`, (channel) => channel.unbindQueue(queue, exchangeName, '#')).then(nothing),
  }
}

/** Undefined: it is not there. */
export const looked = async (check: () => Promise<unknown>): Promise<Found | undefined> => {
  try {
    await check()
    return {}
  } catch (error) {
    if (error instanceof PabalError && isMissing(error.cause)) return undefined
    throw error
  }
}

/** What is there is declared once more: nothing is changed by that, and the broker says where it is otherwise. */
const compared = ({ declare, ...resource }: Declared, provision: boolean): Resource => ({
  ...resource,
  make: async () => {
    const isKept = !provision && declare !== undefined && (await resource.look()) !== undefined
    if (!isKept) await resource.make?.()
  },
  look: async () => {
    const found = await resource.look()
    if (found === undefined || declare === undefined) return found
    try {
      return await declare()
    } catch (error) {
      if (!(error instanceof PabalError)) throw error
      if (isForbidden(error.cause)) return {}
      if (!isOtherwise(error.cause)) throw error
      const detail = `is of another kind: ${(error.cause as Error).message}`
      // It is taken as it is where nothing is declared.
      return provision ? { unfit: [detail] } : { differs: [detail] }
    }
  },
})

const declareQueue = async (ask: Ask, queue: string, more: Arguments): Promise<Found> => {
  const declare = (limit: Arguments): Promise<Found> =>
    ask(`declaring the queue '${queue}'`, async (channel, connection) => {
      const given = { 'x-queue-type': 'quorum', ...more, ...(limitsDeliveries(connection) ? limit : {}) }
      await channel.assertQueue(queue, { durable: true, arguments: given })
      return {}
    })
  try {
    return await declare({ 'x-delivery-limit': -1 })
  } catch (error) {
    if (!(error instanceof PabalError) || !isOtherwise(error.cause)) throw error
    // One that was made by RabbitMQ 3 has no such argument, and a queue keeps those that it was made with.
    await declare({})
    const then = 'x-dead-letter-exchange' in more ? 'sets aside' : 'drops'
    return { differs: [`was made without x-delivery-limit, and ${then} what was returned 20 times`] }
  }
}

/**
 * Quorum, so that what was confirmed is on a majority of nodes; a single active consumer, so that several processes do not
 * overtake each other. What is refused moves on to its place and leaves only when it is there (`at-least-once`, which must
 * have `reject-publish`): so a queue that an operator has limited refuses what is new, and drops nothing.
 */
const deliveredInOrder = (refused: string): Arguments => ({
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
