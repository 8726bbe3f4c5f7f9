/** What to do with the events of one key that have arrived, those that came early before among them (P9). Pure. */

import type { SequencedEvent } from '../event/cloudevents/received-event.ts'
import type { InboxHead } from '../store/store.ts'
import { judge } from '../subscription/inbox.ts'

/** `gap`: what is before it has not come. `diverged`: the producer's history is not the one that was received. */
export type WaitingFor = 'gap' | 'diverged'

export interface Arrived {
  readonly event: SequencedEvent
  /** It had come before, and waits in the store. */
  readonly early: boolean
}

export interface Sorted {
  /** In order. */
  readonly next: readonly Arrived[]
  readonly waiting: readonly { readonly arrived: Arrived; readonly for: WaitingFor }[]
  /** Received before, or twice among those. */
  readonly over: readonly Arrived[]
  readonly head: InboxHead | undefined
}

/**
 * `fromFirst`: this receiver was there before the first event, so one without a head must be the first of its key.
 * `isKnown`: whether an event with that id was received as that sequence; asked when the producer has begun a new incarnation.
 */
export const sort = async (
  head: InboxHead | undefined,
  arrived: readonly Arrived[],
  { fromFirst, isKnown }: { fromFirst: boolean; isKnown: (event: SequencedEvent) => Promise<boolean> },
): Promise<Sorted> => {
  const next: Arrived[] = []
  const waiting: { arrived: Arrived; for: WaitingFor }[] = []
  const over: Arrived[] = []
  let at = head
  for (const each of arrived.toSorted((a, b) => a.event.sequence - b.event.sequence)) {
    const { event } = each
    switch (await verdictOn(at, event, fromFirst, isKnown)) {
      case 'apply':
        next.push(each)
        at = { sequence: event.sequence, eventId: event.id, incarnation: event.incarnation }
        break
      case 'duplicate':
        over.push(each)
        break
      case 'gap':
        waiting.push({ arrived: each, for: 'gap' })
        break
      default:
        waiting.push({ arrived: each, for: 'diverged' })
    }
  }
  return { next, waiting, over, head: at }
}

const verdictOn = async (
  head: InboxHead | undefined,
  event: SequencedEvent,
  fromFirst: boolean,
  isKnown: (event: SequencedEvent) => Promise<boolean>,
): Promise<ReturnType<typeof judge>> => {
  if (head === undefined) return fromFirst && event.previousSequence > 0 ? 'gap' : 'apply'
  const verdict = judge(head, event)
  if (verdict === 'apply' && event.previousSequence === head.sequence)
    // The sequence alone is not enough: a restored log gives it again, to another event.
    return event.previousId === undefined || event.previousId === head.eventId ? 'apply' : 'diverged'
  if (head.incarnation === event.incarnation) return verdict
  // Another life of the log: what has a place that was received already is the same event, or history has changed.
  if (event.sequence <= head.sequence) return (await isKnown(event)) ? 'duplicate' : 'diverged'
  return verdict
}
