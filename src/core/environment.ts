/** Time, randomness, ids and sleeping, injected so that tests and simulations can drive them. */

import { v7 } from 'uuid'

export interface Environment {
  /** Milliseconds since 1970. */
  readonly now: () => number
  /** From 0 up to, not including, 1. */
  readonly random: () => number
  /** A UUIDv7: unique, and later ones sort after earlier ones of this process. */
  readonly id: () => string
  /** Resolves after `ms`, or at once when the signal aborts; never rejects. The process stays alive meanwhile. */
  readonly sleep: (ms: number, signal?: AbortSignal) => Promise<void>
}

const hex = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))

/** The text of a UUID. That of the package makes each one lower case again, which costs twice as much as the rest of an id. */
const uuidText = (b: Uint8Array): string => {
  const pair = (at: number): string => hex[b[at]!]! + hex[b[at + 1]!]!
  return `${pair(0)}${pair(2)}-${pair(4)}-${pair(6)}-${pair(8)}-${pair(10)}${pair(12)}${pair(14)}`
}

/** UUIDv7 over pooled randomness: asking the system for 16 bytes at a time is most of an id's cost. */
const createIds = (): (() => string) => {
  const pool = new Uint8Array(4_096)
  const bytes = new Uint8Array(16)
  let offset = pool.length
  let msecs = 0
  let seq = 0
  return () => {
    if (offset === pool.length) {
      crypto.getRandomValues(pool)
      offset = 0
    }
    const random = pool.subarray(offset, (offset += 16))
    const now = Date.now()
    if (now > msecs) {
      msecs = now
      // The top bit stays free, so that the counter cannot overflow within a millisecond.
      seq = ((random[6]! & 0x7f) << 24) | (random[7]! << 16) | (random[8]! << 8) | random[9]!
    } else seq++
    return uuidText(v7({ random, msecs, seq }, bytes))
  }
}

export const systemEnvironment: Environment = {
  now: Date.now,
  random: Math.random,
  id: createIds(),
  sleep: (ms, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted === true) return resolve()
      const done = () => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', done)
        resolve()
      }
      const timer = setTimeout(done, Math.min(ms, 2_147_483_647))
      signal?.addEventListener('abort', done, { once: true })
    }),
}

/** Exponential delay with equal jitter: between half of it and all of it. `attempt` starts at 1. */
export const backoffMs = (attempt: number, firstMs: number, maxMs: number, random: () => number): number => {
  const full = Math.min(maxMs, firstMs * 2 ** Math.min(attempt - 1, 52))
  return Math.round(full / 2 + (full / 2) * random())
}
