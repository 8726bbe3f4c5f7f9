/** Waiting that a signal ends, for work that cannot be called off. */

/** Rejects with the signal's reason as soon as that aborts. The work goes on, and nobody hears of its end. */
export const unlessAborted = async <T>(signal: AbortSignal, work: Promise<T>): Promise<T> => {
  const aborted = Promise.withResolvers<never>()
  const abort = (): void => aborted.reject(signal.reason as Error)
  signal.addEventListener('abort', abort, { once: true })
  if (signal.aborted) abort()
  // Whichever comes second has nobody who waits for it.
  work.catch(() => undefined)
  aborted.promise.catch(() => undefined)
  try {
    return await Promise.race([work, aborted.promise])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}
