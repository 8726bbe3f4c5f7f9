/** What may be there now or later: an embedded database answers at once, a server over the wire does not. */

export type Awaitable<T> = T | Promise<T>

export const isPromise = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
