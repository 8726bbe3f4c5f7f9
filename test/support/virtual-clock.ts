/** Time that passes only when the test says so. */

import { type Environment, systemEnvironment } from 'pabal'
import { quiet } from './eventually.ts'

interface Sleeper {
  readonly dueMs: number
  readonly wake: () => void
}

/** An environment whose `now` and `sleep` the test drives. `random` gives 0.5, so that jitter is 3/4 of a delay. */
export class VirtualClock implements Environment {
  #nowMs: number
  #sleepers: Sleeper[] = []
  readonly now = (): number => this.#nowMs
  readonly id = systemEnvironment.id
  readonly random: () => number

  constructor({
    startMs = Date.UTC(2026, 0, 5),
    random = () => 0.5,
  }: { startMs?: number; random?: () => number } = {}) {
    this.#nowMs = startMs
    this.random = random
  }

  readonly sleep = (ms: number, signal?: AbortSignal): Promise<void> =>
    new Promise((resolve) => {
      if (signal?.aborted === true) return resolve()
      const wake = (): void => {
        signal?.removeEventListener('abort', wake)
        this.#sleepers = this.#sleepers.filter((other) => other !== sleeper)
        resolve()
      }
      const sleeper: Sleeper = { dueMs: this.#nowMs + Math.max(0, ms), wake }
      this.#sleepers.push(sleeper)
      signal?.addEventListener('abort', wake, { once: true })
    })

  /** When the next sleeper wakes; undefined when nobody sleeps for less than a year. */
  get nextMs(): number | undefined {
    const next = Math.min(...this.#sleepers.map(({ dueMs }) => dueMs))
    return next - this.#nowMs > 366 * 86_400_000 ? undefined : next
  }

  /** Lets so much time pass, waking sleepers one after the other, each with the time that it asked for. */
  async advance(ms: number): Promise<void> {
    const untilMs = this.#nowMs + ms
    await quiet()
    for (let next = this.nextMs; next !== undefined && next <= untilMs; next = this.nextMs) {
      this.#nowMs = Math.max(this.#nowMs, next)
      for (const { dueMs, wake } of this.#sleepers) if (dueMs <= this.#nowMs) wake()
      await quiet()
    }
    this.#nowMs = untilMs
    await quiet()
  }

  /** Lets time pass from sleeper to sleeper until the condition holds; at most `withinMs` of it. */
  async advanceUntil(what: string, condition: () => unknown, withinMs = 86_400_000): Promise<void> {
    const untilMs = this.#nowMs + withinMs
    await quiet()
    while (!(await condition())) {
      const next = this.nextMs
      if (next === undefined || next > untilMs) throw new Error(`after ${withinMs} virtual ms still not: ${what}`)
      await this.advance(Math.max(0, next - this.#nowMs))
    }
  }

  /** Lets time pass from sleeper to sleeper until the promise is settled, and gives its outcome. */
  async drive<T>(promise: Promise<T>): Promise<T> {
    const state = { settled: false }
    const mark = (): void => {
      state.settled = true
    }
    promise.then(mark, mark)
    await quiet()
    while (!state.settled) {
      const next = this.nextMs
      await (next === undefined ? quiet() : this.advance(Math.max(0, next - this.#nowMs)))
    }
    return promise
  }
}
