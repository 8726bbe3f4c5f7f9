/** What became of a retry: the truth from the database, not a hope. */

import type { ParkedKey } from '../store/store.ts'
import { showDead } from './dead-letter.ts'
import { type FoundDeadLetter, handlerOf } from './dead-letters.ts'
import { filteredBy } from './filtered.ts'
import type { Operated } from './operated.ts'

export type Outcome =
  | { readonly state: 'handled' }
  /** The filter that the handler has by now does not want it, so it was passed over. */
  | { readonly state: 'filtered' }
  | { readonly state: 'skipped'; readonly by: string; readonly reason: string }
  | { readonly state: 'failed'; readonly row: ParkedKey }
  /** Nobody has tried it in the given time. */
  | { readonly state: 'untried' }

const lookMs = 50

/**
 * Waits until the key has been tried since `sinceMs`, or the time is over. `edited` is the payload that a person has put in place.
 * @throws PABAL_CONSUMER_UNKNOWN where no handler is there to go on with it
 */
export const awaitOutcome = async (
  { environment }: Operated,
  found: FoundDeadLetter,
  sinceMs: number,
  withinMs: number,
  edited?: unknown,
): Promise<Outcome> => {
  const { context, row } = found
  const { store } = context
  const isFiltered = filteredBy(handlerOf(found).spec)
  const data = edited ?? (await showDead(found)).data
  for (;;) {
    const { current, skipped } = await context.database.read(async (session) => ({
      current: await store.parking.get(session, row.consumer, row.source, row.key),
      skipped: await store.parking.skippedOf(session, row.consumer, row.source, row.event_id),
    }))
    if (skipped !== undefined) return { state: 'skipped', by: skipped.by, reason: skipped.reason }
    if (current === undefined || current.sequence > row.sequence)
      return { state: isFiltered({ type: row.type, data }) ? 'filtered' : 'handled' }
    if (current.attempts > 0 && current.last_failed_ms >= sinceMs) return { state: 'failed', row: current }
    if (environment.now() - sinceMs >= withinMs) return { state: 'untried' }
    await environment.sleep(lookMs)
  }
}
