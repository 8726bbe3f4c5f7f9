/** A turn of an arm, in its own process. */

export interface Turn {
  readonly prepare: () => Promise<void>
  readonly run: () => Promise<{ readonly units: number; readonly wallMs?: number }>
  readonly after: () => Promise<number | undefined>
}

/** `fn` again and again by so many at once, until the time is over; gives how often. */
export const concurrently = async (workers: number, forMs: number, fn: () => Promise<void>): Promise<number> => {
  const endMs = performance.now() + forMs
  let count = 0
  const work = async (): Promise<void> => {
    while (performance.now() < endMs) {
      await fn()
      count++
    }
  }
  await Promise.all(Array.from({ length: workers }, work))
  return count
}
