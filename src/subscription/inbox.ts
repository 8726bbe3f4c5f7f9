/** What to do with an event of another context, decided from the last one of its key that was applied (P9). Pure. */

import type { EventRecord } from '../event/envelope.ts'
import type { InboxHead } from '../store/store.ts'

/**
 * - `apply`: the next of its key on this stream.
 * - `duplicate`: applied before.
 * - `gap`: one between has not been seen; `previousSequence` tells it from events that were not published or not subscribed.
 * - `diverged`: another event stands where this one was applied: the producer's log was rewound.
 */
export type Verdict = 'apply' | 'duplicate' | 'gap' | 'diverged'

/** Sequences decide, not a table of seen ids, so that the inbox grows with keys and not with events. */
export const judge = (
  head: InboxHead | undefined,
  event: Pick<EventRecord, 'id' | 'sequence' | 'previousSequence'>,
): Verdict => {
  if (head === undefined) return 'apply'
  if (event.sequence < head.sequence) return 'duplicate'
  if (event.sequence === head.sequence) return event.id === head.eventId ? 'duplicate' : 'diverged'
  return (event.previousSequence ?? event.sequence - 1) <= head.sequence ? 'apply' : 'gap'
}
