/** Requests that end: the clients alone wait for ever on a connection that is silent. */

import type { Environment } from '../../core/environment.ts'
import { PabalError } from '../../core/errors.ts'
import type { RequestOptions } from './driver.ts'
import { translated } from './failures.ts'

export interface CallOptions {
  readonly signal?: AbortSignal | undefined
  /** That the broker may take before it begins to answer. */
  readonly waitMs?: number | undefined
}

/** @throws what `translated` makes of it; the reason of `signal` where that ended it */
export type Call = <T>(
  what: string,
  request: (options: RequestOptions) => Promise<T>,
  options?: CallOptions,
) => Promise<T>

export const callsWithin =
  (environment: Environment, timeoutMs: number): Call =>
  async (what, request, { signal, waitMs = 0 } = {}) => {
    const late = new AbortController()
    const done = new AbortController()
    const withinMs = timeoutMs + waitMs
    void environment.sleep(withinMs, done.signal).then(() => {
      if (!done.signal.aborted) late.abort()
    })
    try {
      return await request({
        abortSignal: signal === undefined ? late.signal : AbortSignal.any([late.signal, signal]),
      })
    } catch (error) {
      signal?.throwIfAborted()
      if (late.signal.aborted)
        throw new PabalError('PABAL_TRANSPORT_UNREACHABLE', `${what} was not answered within ${withinMs} ms`, {
          cause: error,
        })
      throw translated(what, error)
    } finally {
      done.abort()
    }
  }
