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

export interface SortOptions {
  /** This receiver was there before the first event, so one without a head must be the first of its key. */
  readonly fromFirst: boolean
  /** Every event is the whole state, so the newest is enough: nothing waits, and what comes behind a newer one is over. */
  readonly latest?: boolean
  /** Whether an event with that id was received as that sequence; asked when the producer has begun a new incarnation. */
  readonly isKnown: (event: SequencedEvent) => Promise<boolean>
}

export const sort = async (
  head: InboxHead | undefined,
  arrived: readonly Arrived[],
  options: SortOptions,
): Promise<Sorted> => {
  const next: Arrived[] = []
  const waiting: { arrived: Arrived; for: WaitingFor }[] = []
  const over: Arrived[] = []
  let at = head
  const apply = (each: Arrived): void => {
    const { sequence, id: eventId, incarnation } = each.event
    next.push(each)
    at = { sequence, eventId, incarnation }
  }
  for (const each of arrived.toSorted((a, b) => a.event.sequence - b.event.sequence)) {
    const { event } = each
    switch (await verdictOn(at, event, options)) {
      case 'apply':
        apply(each)
        break
      case 'duplicate':
        over.push(each)
        break
      case 'gap':
        if (options.latest === true) apply(each)
        else waiting.push({ arrived: each, for: 'gap' })
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
  { fromFirst, isKnown }: SortOptions,
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
