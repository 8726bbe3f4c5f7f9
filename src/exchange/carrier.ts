/** A transport at work in one process: what its contexts publish goes out, what they consume comes in. */

import type { ContextRuntime } from '../context/runtime.ts'
import { backoffMs, type Environment } from '../core/environment.ts'
import { describeError } from '../core/errors.ts'
import type { PublicEventDefinition } from '../event/definition.ts'
import { channelOf } from './exchange.ts'
import { type Origin, Receiver } from './receiver.ts'
import type { OpenTransport, Receiving, Transport } from './transport.ts'

/** What one context receives from another. */
export interface Reception {
  readonly runtime: ContextRuntime
  readonly source: string
  readonly stream: string
  readonly definitions: readonly PublicEventDefinition[]
  readonly origin: Origin | undefined
}

export interface CarrierParts {
  readonly transport: Transport
  readonly receptions: readonly Reception[]
  readonly fromFirst: boolean
  readonly environment: Environment
  readonly warn: (what: string, error: unknown) => void
}

/** How long a gap is left to the transport before the producer's log is asked, and how often that is looked at. */
const refillAfterMs = 2_000
const refillEveryMs = 1_000
/** Keys that are asked for at a time. */
const refillKeys = 100

export class Carrier {
  readonly #parts: CarrierParts
  readonly #receivers: readonly Receiver[]
  #open: Promise<OpenTransport> | undefined
  #receiving: Receiving[] = []
  #ended = new AbortController()
  #running: Promise<void>[] = []

  constructor(parts: CarrierParts) {
    this.#parts = parts
    this.#receivers = parts.receptions.map((reception) => new Receiver({ ...reception, fromFirst: parts.fromFirst }))
  }

  /** The transport, connected at its first use. */
  readonly opened = (): Promise<OpenTransport> => {
    if (this.#open === undefined) {
      const { transport, environment, warn } = this.#parts
      const opening = transport.open({ environment, warn })
      this.#open = opening
      opening.catch(() => {
        if (this.#open === opening) this.#open = undefined
      })
    }
    return this.#open
  }

  /** Begins to receive; a broker that is not there now is asked again, and holds nothing up but what it would bring. */
  start(): void {
    const { receptions } = this.#parts
    if (receptions.length === 0) return
    this.#ended = new AbortController()
    const { signal } = this.#ended
    this.#running = [...receptions.map((_, index) => this.#receive(index, signal)), this.#refill(signal)]
  }

  async #receive(index: number, ended: AbortSignal): Promise<void> {
    const { environment, warn, receptions } = this.#parts
    const { source, stream, runtime } = receptions[index]!
    for (let failures = 0, told = ''; !ended.aborted; )
      try {
        const open = await this.opened()
        const receiving = await open.receive(channelOf(source, stream), runtime.name, this.#receivers[index]!.take)
        this.#receiving.push(receiving)
        return
      } catch (error) {
        if (ended.aborted) return
        // Said once, not with each attempt.
        if (told !== describeError(error)) warn(`receiving from '${source}' for '${runtime.name}'`, error)
        told = describeError(error)
        await environment.sleep(backoffMs(++failures, 50, 5_000, environment.random), ended)
      }
  }

  async #refill(ended: AbortSignal): Promise<void> {
    const { environment, warn, receptions } = this.#parts
    while (!ended.aborted) {
      await environment.sleep(refillEveryMs, ended)
      for (const [index, receiver] of this.#receivers.entries())
        try {
          if (!ended.aborted) await receiver.refill(environment.now() - refillAfterMs, refillKeys)
        } catch (error) {
          warn(`what '${receptions[index]!.runtime.name}' has not received from '${receptions[index]!.source}'`, error)
        }
    }
  }

  /** Takes nothing more; what goes out is still sent. */
  async rest(): Promise<void> {
    this.#ended.abort()
    await Promise.all(this.#running)
    this.#running = []
    const receiving = this.#receiving
    this.#receiving = []
    await Promise.all(receiving.map((each) => each[Symbol.asyncDispose]()))
  }

  async close(): Promise<void> {
    await this.rest()
    const open = await this.#open?.catch(() => undefined)
    this.#open = undefined
    await open?.[Symbol.asyncDispose]()
  }
}
