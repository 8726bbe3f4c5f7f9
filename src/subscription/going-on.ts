/** How a parked key goes on behind an event that was handled again or left out: the one rule for redrive and for operators (P4, P6). */

import type { EventRecord } from '../event/envelope.ts'
import type { ContextStore, InboxStream, ParkedKey, Session } from '../store/store.ts'

export interface Behind {
  /** The key's next event, as far as its log was read. */
  readonly next: EventRecord | undefined
  /** The log was read up to here: of what comes after it nothing is known. */
  readonly readThrough: number
  /** The consumer's cursor in this transaction: what is after it comes by the cursor, not from here. */
  readonly position: number
  /** Events that have queued up behind the one that is done. */
  readonly waiting: number
  readonly nowMs: number
}

/** The key is free, or stays parked at its next event, which is tried at once. */
export const goOn = async (
  { parking }: Pick<ContextStore, 'parking'>,
  session: Session,
  row: ParkedKey,
  done: { readonly sequence: number },
  { next, readThrough, position, waiting, nowMs }: Behind,
): Promise<void> => {
  const queued = { ...row, status: 'retrying', attempts: 0, next_ms: nowMs, edited: null } as const
  if (next !== undefined && next.position <= position)
    return parking.put(session, {
      ...queued,
      waiting: Math.max(0, waiting - 1),
      sequence: next.sequence,
      position: next.position,
      event_id: next.id,
      type: next.type,
    })
  // The cursor has passed what was appended after the key was read: one of that may have queued up here. Look again.
  if (next === undefined && position > readThrough)
    return parking.put(session, { ...queued, waiting, sequence: done.sequence + 1, position: readThrough + 1 })
  return parking.remove(session, row.consumer, row.source, row.key)
}

/** The inbox takes an event as passed, so that what follows it is no gap. */
export const passInbox = async (
  { inbox }: Pick<ContextStore, 'inbox'>,
  session: Session,
  stream: InboxStream | undefined,
  key: string,
  head: { readonly sequence: number; readonly eventId: string; readonly incarnation: string },
): Promise<void> => {
  if (stream !== undefined) await inbox.advance(session, stream, new Map([[key, head]]))
}
