/** Publishes to one channel: all messages of a call at once, in order, and each told by the broker's own confirm. */

import type { Environment } from '../../core/environment.ts'
import { type Channel, type Outgoing, type Published, tooLarge, type Traits } from '../transport.ts'
import type { RabbitConfirmChannel } from './driver.ts'
import { faultOf, messageBytesIn, unreachable, unwritable } from './fault.ts'
import { type Connected, type Link, onAbort } from './link.ts'
import { type Encoded, encoded, type Failed } from './message.ts'
import type { Topology } from './topology.ts'

export interface PublisherParts {
  readonly link: Link
  readonly topology: Topology
  readonly channel: Channel
  readonly traits: Traits
  readonly environment: Environment
  readonly timeoutMs: number
}

export class Publisher {
  readonly #parts: PublisherParts
  #line: Promise<Line> | undefined

  constructor(parts: PublisherParts) {
    this.#parts = parts
  }

  /** @throws PABAL_TRANSPORT_UNREACHABLE, PABAL_TRANSPORT_INVALID when none was accepted, and none is at fault itself */
  async publish(messages: readonly Outgoing[], signal: AbortSignal): Promise<readonly Published[]> {
    const all = messages.map((outgoing) => encoded(outgoing, this.#parts.traits))
    if (all.every((each): each is Failed => 'error' in each)) return all
    const line = await this.#connected()
    signal.throwIfAborted()
    return line.publish(all, signal)
  }

  /** As long as it lasts: the broker ends a channel on which something went wrong, and the connection stays. */
  #connected(): Promise<Line> {
    if (this.#line === undefined) {
      const connecting = this.#connect()
      this.#line = connecting
      const forget = (): void => {
        if (this.#line === connecting) this.#line = undefined
      }
      connecting.then(({ ended }) => onAbort(ended, forget), forget)
    }
    return this.#line
  }

  async #connect(): Promise<Line> {
    const { link, topology, channel } = this.#parts
    const what = `publishing to '${topology.exchange(channel)}'`
    const connected = await link.connected()
    const opening = async (): Promise<Line> => {
      await topology.forPublishing(connected.connection, channel)
      return new Line(await connected.connection.createConfirmChannel(), connected, this.#parts)
    }
    try {
      return await connected.answered(what, opening())
    } catch (error) {
      throw faultOf(what, error)
    }
  }
}

/** A channel of AMQP, on which messages are confirmed. */
class Line {
  readonly #channel: RabbitConfirmChannel
  readonly #connected: Connected
  readonly #parts: PublisherParts
  readonly #exchange: string
  readonly #closed = new AbortController()
  /** Nothing more is confirmed. */
  readonly ended: AbortSignal
  #failure: unknown = new Error('the connection was lost')

  constructor(channel: RabbitConfirmChannel, connected: Connected, parts: PublisherParts) {
    this.#channel = channel
    this.#connected = connected
    this.#parts = parts
    this.#exchange = parts.topology.exchange(parts.channel)
    channel.on('error', (error) => (this.#failure = error))
    channel.on('close', () => this.#closed.abort())
    this.ended = AbortSignal.any([this.#closed.signal, connected.lost])
  }

  async publish(all: readonly (Encoded | Failed)[], signal: AbortSignal): Promise<readonly Published[]> {
    const { blocked } = this.#connected
    // What is written now is read by the broker when it recovers, and by then was published again.
    if (blocked !== undefined) throw unreachable('the broker takes no messages at the moment', new Error(blocked))
    const sent = new Map<Encoded, 'unconfirmed' | 'confirmed' | 'refused'>()
    const failed = new Map<Encoded, Failed>()
    const confirming = Promise.withResolvers<void>()
    let unconfirmed = 0
    for (const message of all) {
      if ('error' in message) continue
      const { routingKey, content, properties } = message
      try {
        this.#channel.publish(this.#exchange, routingKey, content, properties, (error) => {
          sent.set(message, error === null ? 'confirmed' : 'refused')
          if (--unconfirmed === 0) confirming.resolve()
        })
        sent.set(message, 'unconfirmed')
        unconfirmed++
      } catch (error) {
        // The channel has ended; or the client cannot write this one, of which nothing was sent.
        if (this.ended.aborted) break
        failed.set(message, { error: unwritable(error) })
      }
    }
    const given = await this.#confirmations(() => unconfirmed, confirming.promise, signal)
    const reason = given ?? this.#reason()
    for (const message of sent.keys()) {
      const error = this.#sizeRefused(message)
      if (error !== undefined && sent.get(message) !== 'confirmed') failed.set(message, error)
    }
    const accepted = [...sent.values()].includes('confirmed')
    if (!accepted && failed.size === 0 && !all.some((each) => 'error' in each)) throw reason
    return all.map((message): Published => {
      if ('error' in message) return message
      return sent.get(message) === 'confirmed' ? undefined : (failed.get(message) ?? { error: reason })
    })
  }

  /** Until the broker has spoken of all, or the channel has ended; else the reason why that is waited for no more. */
  async #confirmations(unconfirmed: () => number, all: Promise<void>, signal: AbortSignal): Promise<Error | undefined> {
    const { environment, timeoutMs } = this.#parts
    while (unconfirmed() > 0) {
      const before = unconfirmed()
      const done = new AbortController()
      await Promise.race([all, environment.sleep(timeoutMs, AbortSignal.any([signal, done.signal]))])
      done.abort()
      if (signal.aborted) return unreachable(`messages to '${this.#exchange}' were not confirmed`, signal.reason)
      // A broker that is short of memory or disk confirms nothing and says so; it goes on by itself.
      if (unconfirmed() === before && this.#connected.blocked === undefined)
        return this.#connected.giveUp(`messages to '${this.#exchange}' were not confirmed`)
    }
    return undefined
  }

  /** Of no single message: it says nothing of what happens to the same one later, so a retry helps. */
  #reason(): Error {
    return this.ended.aborted
      ? unreachable(`messages to '${this.#exchange}' were not confirmed`, this.#failure)
      : unreachable(`messages to '${this.#exchange}' were refused`, new Error('a queue is full, or has no leader'))
  }

  /** The broker ends the channel on one that is larger than it takes; those that are must not come again and again. */
  #sizeRefused({ outgoing, content }: Encoded): Failed | undefined {
    const most = this.ended.aborted ? messageBytesIn(this.#failure) : undefined
    if (most === undefined || content.length <= most) return undefined
    return tooLarge(outgoing, content.length, { ...this.#parts.traits, messageBytes: most })
  }
}
