/** Chance that can be had again: a failure names its seed, and PABAL_SEED gives it back. */

import { onTestFailed } from 'vitest'

/** How long a load goes on in the long form (PABAL_SOAK, in seconds); undefined in the short one. */
const soakMs = process.env['PABAL_SOAK'] === undefined ? undefined : Number(process.env['PABAL_SOAK']) * 1_000

/** Until when a load goes on. */
export const deadline = (shortMs: number): { readonly passed: () => boolean } => {
  const endMs = performance.now() + (soakMs ?? shortMs)
  return { passed: () => performance.now() >= endMs }
}

/** For tests with a load. */
export const timeout = { timeout: 180_000 + 2 * (soakMs ?? 0) }

export class Chance {
  #state: number

  constructor(seed: number) {
    this.#state = seed | 0
  }

  /** From 0 up to, not including, 1 (Mulberry32). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }

  /** A whole number from 0 up to, not including, `n`. */
  below(n: number): number {
    return Math.floor(this.next() * n)
  }

  /** True so many times of a hundred. */
  percent(n: number): boolean {
    return this.next() * 100 < n
  }

  of<T>(values: readonly T[]): T {
    return values[this.below(values.length)]!
  }

  /** Some of the values, `most` at most and one at least, each once, in any order. */
  some<T>(values: readonly T[], most: number): T[] {
    const left = [...values]
    return Array.from(
      { length: 1 + this.below(Math.min(most, left.length)) },
      () => left.splice(this.below(left.length), 1)[0]!,
    )
  }

  /** All of them, in any order. */
  shuffled<T>(values: readonly T[]): T[] {
    const left = [...values]
    return values.map(() => left.splice(this.below(left.length), 1)[0]!)
  }

  /** One more, for what runs beside. */
  fork(): Chance {
    return new Chance(this.below(2 ** 32))
  }
}

/** The running test's own. */
export const testChance = (): Chance => {
  const seed = Number(process.env['PABAL_SEED'] ?? Math.floor(Math.random() * 2 ** 32))
  onTestFailed(() => console.error(`chance had the seed ${seed}: PABAL_SEED=${seed} gives it again`))
  return new Chance(seed)
}
