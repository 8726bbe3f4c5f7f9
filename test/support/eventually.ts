/** Waits for a condition, never for a time. */

const betweenMs = 2

/** The first truthy answer of `condition`, asked again and again; an error that says `what` was waited for after `withinMs`. */
export const eventually = async <T>(
  what: string,
  condition: () => T | Promise<T>,
  withinMs = 60_000,
): Promise<Exclude<T, undefined | null | false | 0 | ''>> => {
  const startMs = Date.now()
  for (;;) {
    const answer = await condition()
    if (answer) return answer as Exclude<T, undefined | null | false | 0 | ''>
    if (Date.now() - startMs > withinMs) throw new Error(`after ${withinMs} ms still not: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, betweenMs))
  }
}

/** Everything that is not waiting for time, a file or another process has happened when this resolves. */
export const quiet = async (): Promise<void> => {
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve))
}

/** A promise with its switch, for code that a test holds where it wants it. */
export interface Gate<T = void> {
  readonly opened: Promise<T>
  open(value: T): void
  fail(error: unknown): void
}
export const gate = <T = void>(): Gate<T> => {
  const { promise, resolve, reject } = Promise.withResolvers<T>()
  return { opened: promise, open: resolve, fail: reject }
}
