/**
 * How many events a handler of batches is given at once: half as many after each batch that ran out of time, since nothing of it
 * counts; then slowly more again.
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

  /** A batch of so many took too long. */
  tooMany(events: number): void {
    this.#now = Math.max(1, Math.floor(events / 2))
  }

  /** As many as were given were done in time. */
  done(events: number): void {
    if (events >= this.#now) this.#now = Math.min(this.#most, this.#now + Math.ceil(this.#most / steps))
  }
}
