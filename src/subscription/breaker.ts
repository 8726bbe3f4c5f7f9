/** When everything fails, nothing is parked: a circuit breaker holds the whole consumer until one event succeeds again. */

import { backoffMs } from '../core/environment.ts'

export interface BreakerOptions {
  /** Different keys failing in a row that open it. Default 10. */
  readonly keys: number
  readonly firstMs: number
  readonly maxMs: number
}

export const defaultBreaker: BreakerOptions = { keys: 10, firstMs: 1_000, maxMs: 300_000 }

export class Breaker {
  readonly #options: BreakerOptions
  readonly #random: () => number
  readonly #failing = new Set<string>()
  #openings = 0

  constructor(options: BreakerOptions, random: () => number) {
    this.#options = options
    this.#random = random
  }

  /** The next failure of another key would open it. */
  get trips(): boolean {
    return this.#failing.size >= this.#options.keys - 1
  }

  get isOpen(): boolean {
    return this.#openings > 0
  }

  succeeded(): void {
    this.#failing.clear()
    this.#openings = 0
  }

  /** True: do not park this key, hold everything. */
  failed(key: string): boolean {
    if (this.#openings > 0) return true
    this.#failing.add(key)
    return this.#failing.size >= this.#options.keys
  }

  /** Opens it (again) and says for how long. */
  open(): number {
    this.#openings++
    return backoffMs(this.#openings, this.#options.firstMs, this.#options.maxMs, this.#random)
  }
}
