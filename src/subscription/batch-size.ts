/**
 * How many events a subscription reads and handles at once: no more than its last batch had time for, then slowly more again. What
 * is read beyond that is read for nothing; and of a handler of batches that ran out of time nothing counts.
 */

/** Batches done in time, from the smallest to the largest. */
const steps = 50

export class BatchSize {
  readonly #most: number
  #now: number

  constructor(most: number) {
    this.#most = most
    this.#now = most
  }

  get now(): number {
    return this.#now
  }

  /** There was no time for more. */
  shrinkTo(events: number): void {
    this.#now = Math.max(1, Math.min(this.#now, events))
  }

  /** So many were done in time. */
  done(events: number): void {
    if (events >= this.#now) this.#now = Math.min(this.#most, this.#now + Math.ceil(this.#most / steps))
  }
}
