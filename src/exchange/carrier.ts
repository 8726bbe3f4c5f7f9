/** A transport at work in one process: what its contexts publish goes out, what they consume comes in. */

import type { ContextRuntime } from '../context/runtime.ts'
import { backoffMs, type Environment } from '../core/environment.ts'
import { describeError, isPabalError } from '../core/errors.ts'
import type { MessageLimits } from '../event/cloudevents/body.ts'
import { type Carried, receivedChannel } from './exchange.ts'
import type { ForeignReceiver } from './foreign-receiver.ts'
import type { Receiver } from './receiver.ts'
import type { OpenTransport, Receiving, Refused, Selection, Take, Taken } from './transport.ts'

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

/** What came to an older version of a handler is left to the newer one for so long, before it is asked whether that is still there. */
const asideMs = 10_000

/** Where a channel has one reader at a time, the newer version gets its turn only when this one has gone. */
const unlessSuperseded =
  (take: Take, superseded: AbortController): Take =>
  async (batch) => {
    try {
      return await take(batch)
    } catch (error) {
      if (isPabalError(error) && error.code === 'PABAL_HANDLER_SUPERSEDED') superseded.abort()
      throw error
    }
  }

export class Carrier {
  readonly #parts: CarrierParts
  #open: Promise<OpenTransport> | undefined
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

  /**
   * Begins to receive; a broker that is not there now is asked again, and holds nothing up but what it would bring. Where a newer
   * version of a handler runs elsewhere, what is enough here would not be enough for that.
   */
  start(isSuperseded: (reception: Reception) => Promise<boolean>): void {
    const { receptions } = this.#parts
    if (receptions.length === 0) return
    this.#ended = new AbortController()
    const { signal } = this.#ended
    this.#running = receptions.map((reception) => this.#receive(reception, isSuperseded, signal))
  }

  async #receive(
    reception: Reception,
    isSuperseded: (reception: Reception) => Promise<boolean>,
    ended: AbortSignal,
  ): Promise<void> {
    const { source, runtime, receiver } = reception
    const { carried, environment, warn } = this.#parts
    const channel = receivedChannel(carried, source)
    const what = `receiving from '${source}' for '${runtime.name}'`
    for (let failures = 0, told = ''; !ended.aborted; ) {
      const superseded = new AbortController()
      let receiving: Receiving
      try {
        const open = await this.opened()
        const selection = (await isSuperseded(reception)) ? undefined : reception.selection
        receiving = await open.receive(channel, runtime.name, unlessSuperseded(receiver.take, superseded), selection)
      } catch (error) {
        if (ended.aborted) return
        // Said once, not with each attempt.
        if (told !== describeError(error)) warn(what, error)
        told = describeError(error)
        await environment.sleep(backoffMs(++failures, 50, 5_000, environment.random), ended)
        continue
      }
      failures = 0
      await environment.sleep(Number.MAX_SAFE_INTEGER, AbortSignal.any([ended, superseded.signal]))
      await Promise.resolve(receiving[Symbol.asyncDispose]()).catch((error: unknown) => {
        if (ended.aborted) throw error
        warn(what, error)
      })
      if (!ended.aborted) await environment.sleep(asideMs, ended)
    }
  }

  /** Takes nothing more; what goes out is still sent. */
  async rest(): Promise<void> {
    this.#ended.abort()
    const running = this.#running
    this.#running = []
    await Promise.all(running)
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
