/** What a failing handler leads to: a retry at a time, or exhaustion. */

import type { DurableSpec } from '../context/handler.ts'
import { isRetryDecision } from '../context/retry.ts'
import { backoffMs } from '../core/environment.ts'
import { isPabalError } from '../core/errors.ts'
import type { ParkedError } from '../store/store.ts'

/** Undefined delay: exhausted. */
export interface Next {
  readonly delayMs: number | undefined
  readonly error: ParkedError
}

const messageLength = 2_000
const stackLength = 4_000

// Control characters would let a message forge lines of a log or steer a terminal.
const printable = (text: string): string => text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, '·')

/** The first frame of the user's own code. */
const firstFrame = (stack: string | undefined): string =>
  (stack ?? '')
    .split('\n')
    .slice(1)
    .map((line) => line.trim())
    .find((line) => line.startsWith('at ') && !line.includes('node:') && !line.includes('node_modules'))
    ?.replace(/^at /, '')
    .replace(/\(?(?:file:\/\/)?[^()]*\/([^/()]+:\d+):\d+\)?$/, '$1') ?? ''

export const describeFailure = (thrown: unknown): ParkedError => {
  const cause = isRetryDecision(thrown) && thrown.cause !== undefined ? thrown.cause : thrown
  const error = cause instanceof Error ? cause : new Error(String(cause))
  return {
    name: error.name,
    message: printable(
      (isRetryDecision(thrown) && thrown !== error ? `${thrown.message}: ${error.message}` : error.message).slice(
        0,
        messageLength,
      ),
    ),
    ...(isPabalError(error) ? { code: error.code } : {}),
    ...(error.stack === undefined ? {} : { stack: printable(error.stack.slice(0, stackLength)) }),
    fingerprint: `${error.name} ${firstFrame(error.stack)}`.trim(),
  }
}

/** `attempt` is the run that has just failed, from 1. */
export const decideNext = (
  retry: DurableSpec['retry'],
  thrown: unknown,
  attempt: number,
  random: () => number,
): Next => {
  const decision = isRetryDecision(thrown) ? thrown : retry.decide?.(thrown, attempt)
  const error = describeFailure(decision ?? thrown)
  if (decision !== undefined && decision.delayMs === undefined) return { delayMs: undefined, error }
  if (attempt >= retry.attempts) return { delayMs: undefined, error }
  return { delayMs: decision?.delayMs ?? backoffMs(attempt, retry.firstMs, retry.maxMs, random), error }
}
