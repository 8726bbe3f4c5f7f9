/** One way to keep events on Postgres, as far as it can do what is measured, each part by its fastest documented way. */

import type { Order } from './orders.ts'

export interface Arm {
  readonly name: string
  /** What a reader of its figures must know. */
  readonly note?: string
  /** Creates its tables, and that of the orders, in a new database. */
  setUp(url: string): Promise<void>
  append?(url: string, options: { readonly connections: number }): Promise<Appender>
  /** Adds so many events to what waits, as fast as it can. */
  fill?(url: string, events: number): Promise<void>
  /** Hands every waiting event to a handler. Without `keeps`, drained events are gone and have to be filled in again. */
  drain?(url: string, options: DrainOptions): Promise<Drain>
  /** True: a log, which each new consumer reads from its beginning. */
  readonly keeps?: boolean
  /** True: how much a turn that was stopped has left is not known, so every turn has a whole backlog filled in. */
  readonly refills?: boolean
  /** How long giving 1,000 committed events their places takes, in milliseconds. */
  tick?(url: string): Promise<number>
  /** In the consumer's process: handles what comes. */
  consume?(url: string, options: ConsumeOptions): Promise<AsyncDisposable>
}

/** Writes an order row together with events, in one transaction. */
export interface Appender extends AsyncDisposable {
  one?(order: Order): Promise<void>
  /** The row of the first order, and an event for each. */
  hundred?(orders: readonly Order[]): Promise<void>
  /** Resolves when what was appended has its place, so that readers see it, and is published where a broker carries it. */
  settled?(): Promise<void>
}

export interface DrainOptions {
  readonly events: number
  /** Gives up after so long. */
  readonly limitMs: number
  /** The handler writes one row for each event. */
  readonly writes?: boolean
}

export interface Drain extends AsyncDisposable {
  run(): Promise<Drained>
}

export interface Drained {
  readonly events: number
  readonly wallMs: number
}

export interface ConsumeOptions {
  /** Contexts, queues, tasks or subscriptions, as the arm calls them. */
  readonly topics: number
  /** Called at the start of the handler with the order's number. */
  readonly handle: (number: number) => void
}

/** What the writing handler writes. */
export const effectTable = 'CREATE TABLE IF NOT EXISTS effect (number bigint NOT NULL, total integer NOT NULL)'
export const insertEffect = 'INSERT INTO effect (number, total) VALUES ($1, $2)'

/** A library that has not handed out anything by then never will. */
const firstEventMs = 30_000

/** Counts what a library hands out, from the first event to the last or to the time limit; its start is not counted. */
export class Countdown {
  readonly #options: DrainOptions
  readonly #done = Promise.withResolvers<void>()
  #timer: NodeJS.Timeout
  #startMs: number | undefined
  #endMs: number | undefined
  #events = 0

  constructor(options: DrainOptions) {
    this.#options = options
    this.#timer = setTimeout(() => this.#end(), firstEventMs)
  }

  handled(events = 1): void {
    if (this.#endMs !== undefined) return
    if (this.#startMs === undefined) {
      this.#startMs = performance.now()
      clearTimeout(this.#timer)
      this.#timer = setTimeout(() => this.#end(), this.#options.limitMs)
    }
    this.#events += events
    if (this.#events >= this.#options.events) this.#end()
  }

  #end(): void {
    clearTimeout(this.#timer)
    this.#endMs ??= performance.now()
    this.#done.resolve()
  }

  async result(): Promise<Drained> {
    await this.#done.promise
    if (this.#startMs === undefined) throw new Error(`nothing was handed out within ${firstEventMs / 1_000} s`)
    return { events: this.#events, wallMs: this.#endMs! - this.#startMs }
  }
}

/** For libraries that start by themselves: `start` begins to hand events to the countdown and resolves to what stops them. */
export const drainBy = (
  options: DrainOptions,
  start: (countdown: Countdown) => Promise<() => Promise<unknown>>,
  close: () => Promise<unknown> = async () => {},
): Drain => {
  let stop: (() => Promise<unknown>) | undefined
  return {
    run: async () => {
      const countdown = new Countdown(options)
      stop = await start(countdown)
      return countdown.result()
    },
    [Symbol.asyncDispose]: async () => {
      await stop?.()
      await close()
    },
  }
}
