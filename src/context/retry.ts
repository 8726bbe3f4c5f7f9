/** How a failing event is tried again, and how a handler decides that by itself. */

import { type Duration, durationMs } from '../core/duration.ts'

/** How a failing event is tried again: so often, with a delay that doubles from `first` to `max`, with jitter. */
export interface RetryPolicy {
  /** Runs of the handler altogether. Default 8. */
  readonly attempts?: number
  /** Delay after the first failure. Default 1 s. */
  readonly first?: Duration
  /** Longest delay. Default 5 min. */
  readonly max?: Duration
  /** Decides per error; undefined leaves it to the rest of the policy. */
  readonly decide?: (error: unknown, attempt: number) => RetryDecision | undefined
}

const decision = Symbol.for('pabal.retry-decision')
/** Throw it from a handler, or return it from `retry.decide`. */
export class RetryDecision extends Error {
  /** Undefined: give up. */
  readonly delayMs: number | undefined
  constructor(message: string, delayMs: number | undefined, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = delayMs === undefined ? 'GiveUp' : 'RetryLater'
    this.delayMs = delayMs
    Object.defineProperty(this, decision, { value: true })
  }
}
export const isRetryDecision = (error: unknown): error is RetryDecision =>
  typeof error === 'object' && error !== null && decision in error

/** Try this event again after that time (it counts as an attempt), for example what a 429 says. */
export const retryLater = (delay: Duration, cause?: unknown): RetryDecision =>
  new RetryDecision(`retry after ${delay}`, durationMs(delay, 'retryLater'), cause)
/** Do not try this event again: go to `onExhausted` at once. */
export const giveUp = (reason: string, cause?: unknown): RetryDecision => new RetryDecision(reason, undefined, cause)
