/**
 * Receives for one subscriber: takes what its queue has delivered, acknowledges what was taken, and begins anew after every loss.
 * A batch that was not taken is kept and tried again here, without the broker: given back, others would overtake it.
 */

import { backoffMs, type Environment } from '../../core/environment.ts'
import type { Channel, Receiving, Take, Taken, TransportOptions } from '../transport.ts'
import { Delivery } from './delivery.ts'
import type { RabbitMessage } from './driver.ts'
import { faultOf } from './fault.ts'
import type { Link } from './link.ts'
import { incoming } from './message.ts'
import type { RefusedMessage } from './refused.ts'
import type { Topology } from './topology.ts'

export interface ReceivingParts {
  readonly link: Link
  readonly topology: Topology
  readonly channel: Channel
  readonly subscriber: string
  readonly take: Take
  /** Puts copies of what was refused where people find them, with the reasons. Rejects where it is not sure that they are there. */
  readonly keep: (refused: readonly RefusedMessage[]) => Promise<void>
  /** Unacknowledged messages; half of them are a batch, and the rest comes while it is taken. */
  readonly prefetch: number
  readonly environment: Environment
  readonly warn: TransportOptions['warn']
}

/** Between two tries to take a batch, or to reach the broker; doubles. */
const againFirstMs = 100
const againMaxMs = 10_000

/** Resolves when messages are delivered. @throws PABAL_TRANSPORT_INVALID, PABAL_TRANSPORT_UNREACHABLE */
export const receive = async (parts: ReceivingParts): Promise<Receiving> => {
  const receiving = new QueueReceiving(parts)
  await receiving.begin()
  return receiving
}

class QueueReceiving implements Receiving {
  readonly #parts: ReceivingParts
  readonly #ended = new AbortController()
  readonly #queue: string
  #running: Promise<void> = Promise.resolve()

  constructor(parts: ReceivingParts) {
    this.#parts = parts
    this.#queue = parts.topology.queue(parts.channel, parts.subscriber)
  }

  async begin(): Promise<void> {
    this.#running = this.#run(await this.#delivery())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended.abort()
    await this.#running
  }

  async #run(first: Delivery): Promise<void> {
    const { environment, warn } = this.#parts
    let delivery: Delivery | undefined = first
    for (let attempt = 1; delivery !== undefined; attempt = 1) {
      await this.#takeAll(delivery)
      delivery = undefined
      while (delivery === undefined && !this.#ended.signal.aborted) {
        await environment.sleep(backoffMs(attempt++, againFirstMs, againMaxMs, environment.random), this.#ended.signal)
        if (this.#ended.signal.aborted) return
        try {
          delivery = await this.#delivery()
        } catch (error) {
          warn(`RabbitMQ: receiving from '${this.#queue}'`, error)
        }
      }
    }
  }

  async #delivery(): Promise<Delivery> {
    const { link, topology, channel, subscriber, prefetch } = this.#parts
    const connected = await link.connected()
    const opening = async (): Promise<Delivery> => {
      await topology.forReceiving(connected.connection, channel, subscriber)
      return Delivery.begin(connected, this.#queue, prefetch, this.#ended.signal)
    }
    const what = `receiving from '${this.#queue}'`
    try {
      return await connected.answered(what, opening())
    } catch (error) {
      throw faultOf(what, error)
    }
  }

  /** Until there is nothing more to come of it, or this receiving has ended. */
  async #takeAll(delivery: Delivery): Promise<void> {
    const { prefetch, warn } = this.#parts
    try {
      for (;;) {
        const batch = await delivery.next(Math.ceil(prefetch / 2))
        if (batch.length === 0) return
        const taken = await this.#take(batch, delivery.over)
        if (taken === undefined) return
        const isKept = await this.#keep(batch, taken)
        delivery.done(batch, (at) => !isKept && taken[at] !== undefined)
      }
    } catch (error) {
      warn(`RabbitMQ: what was taken from '${this.#queue}' could not be acknowledged, and will come again`, error)
    } finally {
      if (delivery.failure !== undefined)
        warn(`RabbitMQ: '${this.#queue}' delivers no more, and is asked anew`, delivery.failure)
      await delivery.close()
    }
  }

  /** False: what was refused is left to the broker to move, which is never short of memory for that, and knows no reasons. */
  async #keep(batch: readonly RabbitMessage[], taken: readonly Taken[]): Promise<boolean> {
    const { keep, warn } = this.#parts
    const refused = batch.flatMap((message, at) => {
      const reason = taken[at]?.refused
      return reason === undefined ? [] : [{ message, reason }]
    })
    if (refused.length === 0) return true
    try {
      await keep(refused)
      return true
    } catch (error) {
      warn(
        `RabbitMQ: ${refused.length} messages that were refused in '${this.#queue}' are set aside without the reason`,
        error,
      )
      return false
    }
  }

  /** Undefined: it was not taken, and is not at hand any more. */
  async #take(batch: readonly RabbitMessage[], over: AbortSignal): Promise<readonly Taken[] | undefined> {
    const { take, environment, warn } = this.#parts
    for (let attempt = 1; ; attempt++) {
      try {
        const taken = await take(batch.map(incoming))
        for (const each of taken)
          if (each !== undefined)
            warn(`RabbitMQ: a message in '${this.#queue}' was refused, and set aside`, each.refused)
        return taken
      } catch (error) {
        warn(`RabbitMQ: ${batch.length} messages in '${this.#queue}' were not taken`, error)
      }
      await environment.sleep(backoffMs(attempt, againFirstMs, againMaxMs, environment.random), over)
      if (over.aborted) return undefined
    }
  }
}
