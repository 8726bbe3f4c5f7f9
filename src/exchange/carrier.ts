/** A transport at work in one process: what its contexts publish goes out, what they consume comes in. */

import type { ContextRuntime } from '../context/runtime.ts'
import { backoffMs, type Environment } from '../core/environment.ts'
import { describeError } from '../core/errors.ts'
import type { MessageLimits } from '../event/cloudevents/body.ts'
import { type Carried, receivedChannel } from './exchange.ts'
import type { ForeignReceiver } from './foreign-receiver.ts'
import type { Receiver } from './receiver.ts'
import type { OpenTransport, Receiving, Refused, Selection, Taken } from './transport.ts'

/** What one context receives from another. */
export interface Reception {
  readonly runtime: ContextRuntime
  readonly source: string
  readonly stream: string
  readonly receiver: Receiver | ForeignReceiver
  /** What is enough of the stream; undefined: all of it. */
  readonly selection?: Selection | undefined
}

/** What a context has refused, as an operator meets it. */
export interface RefusedHere {
  readonly refused: Refused
  readonly reception: Reception
  /** Gives it to the context once more; it may be refused again. */
  readonly take: () => Promise<Taken>
}

export interface CarrierParts {
  readonly carried: Carried
  readonly receptions: readonly Reception[]
  readonly environment: Environment
  readonly limits: MessageLimits
  readonly warn: (what: string, error: unknown) => void
}

export class Carrier {
  readonly #parts: CarrierParts
  #open: Promise<OpenTransport> | undefined
  #receiving: Receiving[] = []
  #ended = new AbortController()
  #running: Promise<void>[] = []

  constructor(parts: CarrierParts) {
    this.#parts = parts
  }

  get transport(): string {
    return this.#parts.carried.transport.name
  }

  /** The transport, connected at its first use. */
  readonly opened = (): Promise<OpenTransport> => {
    if (this.#open === undefined) {
      const { carried, environment, limits, warn } = this.#parts
      const opening = carried.transport.open({ environment, limits, warn })
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
    this.#running = receptions.map((reception) => this.#receive(reception, signal))
  }

  async #receive({ source, runtime, receiver, selection }: Reception, ended: AbortSignal): Promise<void> {
    const { carried, environment, warn } = this.#parts
    const channel = receivedChannel(carried, source)
    for (let failures = 0, told = ''; !ended.aborted; )
      try {
        const open = await this.opened()
        const receiving = await open.receive(channel, runtime.name, receiver.take, selection)
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

  /** Takes nothing more; what goes out is still sent. */
  async rest(): Promise<void> {
    this.#ended.abort()
    await Promise.all(this.#running)
    this.#running = []
    const receiving = this.#receiving
    this.#receiving = []
    await Promise.all(receiving.map((each) => each[Symbol.asyncDispose]()))
  }

  /** What the contexts here have refused and the broker keeps: of each reception `limit` at most, and what `judge` answers true for goes. */
  async refused(limit: number, judge: (here: RefusedHere) => Promise<boolean>): Promise<void> {
    const { carried, receptions } = this.#parts
    if (receptions.length === 0) return
    const open = await this.opened()
    for (const reception of receptions) {
      const { source, runtime, receiver } = reception
      await open.refused?.(receivedChannel(carried, source), runtime.name, limit, (refused) =>
        judge({ refused, reception, take: async () => (await receiver.take([refused.incoming]))[0] }),
      )
    }
  }

  async close(): Promise<void> {
    await this.rest()
    const open = await this.#open?.catch(() => undefined)
    this.#open = undefined
    await open?.[Symbol.asyncDispose]()
  }
}
