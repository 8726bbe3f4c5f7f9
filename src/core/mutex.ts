/** First come, first served exclusion among the asynchronous code of one process. */

/** A timer beyond it would fire at once. */
const timerMsMax = 2_147_483_647

export class Mutex {
  #held = false
  readonly #waiting: { grant: () => void; refuse: () => void }[] = []

  get held(): boolean {
    return this.#held
  }

  /** True when the lock was taken; false when `timeoutMs` passed before its turn came. */
  acquire(timeoutMs: number): boolean | Promise<boolean> {
    if (!this.#held) {
      this.#held = true
      return true
    }
    return new Promise((resolve) => {
      const timer = setTimeout(
        () => {
          this.#waiting.splice(this.#waiting.indexOf(waiter), 1)
          waiter.refuse()
        },
        Math.min(timeoutMs, timerMsMax),
      )
      const waiter = {
        grant: () => {
          clearTimeout(timer)
          resolve(true)
        },
        refuse: () => resolve(false),
      }
      this.#waiting.push(waiter)
    })
  }

  release(): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#held = false
    else next.grant()
  }
}
