/** When everything fails, nothing is parked: a circuit breaker holds the whole consumer until one event succeeds again. */

import { backoffMs } from '../core/environment.ts'

export interface BreakerOptions {
  /** Different keys failing in a row that open it. Default 10. */
  readonly keys: number
  readonly firstMs: number
  readonly maxMs: number
}

/** Keys that are tried before "everything fails" is believed; one that succeeds closes the breaker. */
export const probes = 10

export const defaultBreaker: BreakerOptions = { keys: 10, firstMs: 1_000, maxMs: 30_000 }

export class Breaker {
  readonly #options: BreakerOptions
  readonly #random: () => number
  readonly #failing = new Set<string>()
  #openings = 0
  /** The next failure is one of its key, whatever it looks like. */
  #doubts = false

  constructor(options: BreakerOptions, random: () => number) {
    this.#options = options
    this.#random = random
  }

  get isOpen(): boolean {
    return this.#openings > 0
  }

  succeeded(): void {
    this.#failing.clear()
    this.#openings = 0
  }

  /** Further on something succeeds: those that fail here are parked, one at least before it may open again. */
  notEverything(): void {
    this.succeeded()
    this.#doubts = true
  }

  hasFailed(key: string): boolean {
    return this.#failing.has(key)
  }

  /** True: so many different keys have failed in a row that this one is not parked before another one has been tried. */
  failed(key: string): boolean {
    this.#failing.add(key)
    if (this.#doubts) this.#doubts = false
    else if (this.#openings > 0 || this.#failing.size >= this.#options.keys) return true
    return false
  }

  /** Opens it (again) and says for how long. */
  open(): number {
    this.#openings++
    return backoffMs(this.#openings, this.#options.firstMs, this.#options.maxMs, this.#random)
  }
}
