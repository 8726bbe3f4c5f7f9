/** What a queue has delivered on one channel, in order, until the channel ends: of which nothing is acknowledged but what was taken. */

import type { RabbitChannel, RabbitMessage } from './driver.ts'
import { type Connected, onAbort } from './link.ts'

export class Delivery {
  readonly #connected: Connected
  readonly #channel: RabbitChannel
  readonly #over: AbortController
  readonly #signal: AbortSignal
  #messages: RabbitMessage[] = []
  #wake: () => void = () => undefined
  #closed = false

  private constructor(connected: Connected, channel: RabbitChannel, ended: AbortSignal) {
    this.#connected = connected
    this.#channel = channel
    this.#over = new AbortController()
    this.#signal = AbortSignal.any([this.#over.signal, ended])
    onAbort(this.#signal, () => this.#wake())
    channel.on('error', (error) => this.#end(error))
    channel.on('close', () => {
      this.#closed = true
      this.#end(new Error('the channel was closed'))
    })
  }

  static async begin(connected: Connected, queue: string, prefetch: number, ended: AbortSignal): Promise<Delivery> {
    const channel = await connected.connection.createChannel()
    const delivery = new Delivery(connected, channel, ended)
    await channel.prefetch(prefetch)
    await channel.consume(queue, (message) => {
      if (message === null)
        return delivery.#end(new Error('the queue was deleted, or the broker took it from this consumer'))
      delivery.#messages.push(message)
      delivery.#wake()
    })
    return delivery
  }

  #end(reason: Error): void {
    this.#over.abort(reason)
  }

  /** No more is to be taken: the channel has ended, or whoever receives. */
  get over(): AbortSignal {
    return this.#signal
  }

  /** Why the broker delivers no more; undefined when it would, and when the connection was lost. */
  get failure(): unknown {
    return this.#connected.lost.aborted ? undefined : (this.#over.signal.reason as unknown)
  }

  /** What is at hand, waiting for it if it must; none when it is over. What came in one piece over the wire is one batch. */
  async next(max: number): Promise<readonly RabbitMessage[]> {
    if (this.#messages.length === 0 && !this.#signal.aborted)
      await new Promise<void>((resolve) => (this.#wake = resolve))
    return this.#signal.aborted ? [] : this.#messages.splice(0, max)
  }

  /** A batch was taken. What is rejected is moved by the broker. @throws when the channel has ended */
  done(batch: readonly RabbitMessage[], isRejected: (at: number) => boolean): void {
    for (const [at, message] of batch.entries()) if (isRejected(at)) this.#channel.reject(message, false)
    // All up to it that were not rejected: all before this batch are done.
    const last = batch.findLastIndex((_, at) => !isRejected(at))
    if (last >= 0) this.#channel.ack(batch[last]!, true)
  }

  /** Gives all that is at hand back to the queue at once, in its order: cancelled first, the next consumer would overtake it. */
  async close(): Promise<void> {
    if (this.#closed) return
    try {
      await this.#connected.answered('giving back what was not taken', this.#channel.close())
    } catch {
      // The channel has ended in between, or the connection was given up: either way it is the queue's again.
    }
  }
}
