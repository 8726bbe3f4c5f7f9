/** What became of a retry: the truth from the database, not a hope. */

import type { ParkedKey } from '../store/store.ts'
import type { FoundDeadLetter } from './dead-letters.ts'
import type { Operated } from './operated.ts'

export type Outcome =
  | { readonly state: 'handled' }
  | { readonly state: 'skipped'; readonly by: string; readonly reason: string }
  | { readonly state: 'failed'; readonly row: ParkedKey }
  /** Nobody has tried it in the given time. */
  | { readonly state: 'untried' }

const lookMs = 50

/** Waits until the key has been tried since `sinceMs`, or the time is over. */
export const awaitOutcome = async (
  { environment }: Operated,
  { context, row }: FoundDeadLetter,
  sinceMs: number,
  withinMs: number,
): Promise<Outcome> => {
  const { store } = context
  for (;;) {
    const { current, skipped } = await context.database.read(async (session) => ({
      current: await store.parking.get(session, row.consumer, row.source, row.key),
      skipped: await store.parking.skippedOf(session, row.consumer, row.source, row.event_id),
    }))
    if (skipped !== undefined) return { state: 'skipped', by: skipped.by, reason: skipped.reason }
    if (current === undefined || current.sequence > row.sequence) return { state: 'handled' }
    if (current.attempts > 0 && current.last_failed_ms >= sinceMs) return { state: 'failed', row: current }
    if (environment.now() - sinceMs >= withinMs) return { state: 'untried' }
    await environment.sleep(lookMs)
  }
}
