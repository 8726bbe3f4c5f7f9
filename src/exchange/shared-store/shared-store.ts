/** Contexts of several processes on one machine: consumers read the producers' logs in the producers' databases. */

import type { Bound, Exchange } from '../exchange.ts'

/**
 * For a context that runs in another process than its producers, on the same machine: `sharedStore(ordering.with({ store }))`.
 * A producer is given as its definition bound to its store, because the mapping to public events is code of its context; its
 * handlers are left out and run where they run. There the consumer reads, and notes how far
 * it has read, for the producer's retention.
 */
export const sharedStore = (...producers: readonly Bound[]): Exchange => ({
  '~pabal': { kind: 'shared-store', producers, carried: [] },
})
