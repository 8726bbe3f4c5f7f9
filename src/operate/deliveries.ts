/** Who has taken an event: for each consumer of its type a true answer (P10). */

import type { EventRecord, StoredEvent } from '../event/envelope.ts'
import { receivedFrom, receivedName } from '../exchange/received-log.ts'
import { slotOf } from '../store/slot.ts'
import type { ConsumerRow, CursorRow, ParkedKey } from '../store/store.ts'
import type { EventSource } from '../subscription/source.ts'
import type { Subscription } from '../subscription/subscription.ts'
import { filteredBy } from './filtered.ts'
import type { FoundEvent } from './log.ts'
import type { Operated, OperatedContext } from './operated.ts'

/**
 * - `handled`: its effects are committed. `skipped`: left out, by a person or a declared policy.
 * - `filtered`: the cursor has passed it, and the handler's filter does not want it: it has no effects. Nothing of that is stored: it
 *   is judged by the filter of the opened app, so that what was handled under an earlier filter may show as `filtered`, and the
 *   other way round.
 * - `retrying`, `dead`: its handler failed. `waiting`: an earlier event of its key did.
 * - `pending`: the cursor has not come to it. `unwanted`: it was there before the consumer began.
 * - `new`: the consumer was never started.
 */
export type DeliveryState =
  | 'handled'
  | 'filtered'
  | 'skipped'
  | 'retrying'
  | 'dead'
  | 'waiting'
  | 'pending'
  | 'unwanted'
  | 'new'

export interface Delivery {
  readonly context: string
  readonly consumer: string
  readonly title: string | null
  readonly effects: 'database' | 'external'
  readonly state: DeliveryState
  /** Failed runs so far, of the event that its key waits at. */
  readonly attempts?: number
  readonly nextAttemptAt?: number
  /** Name and message of the last failure. */
  readonly error?: string
  /** Why it is pending: the consumer is paused, or held by its breaker. */
  readonly stopped?: 'paused' | 'held'
  readonly skippedBy?: string
  readonly skippedReason?: string
}

interface Reader {
  readonly context: OperatedContext
  readonly subscription: Subscription
  readonly row: ConsumerRow | undefined
  readonly cursors: readonly CursorRow[]
}

export class Deliveries {
  readonly #readers: readonly Reader[]

  private constructor(readers: readonly Reader[]) {
    this.#readers = readers
  }

  /** As it is now; one object answers for many events. */
  static async open({ contexts }: Operated): Promise<Deliveries> {
    const readers: Reader[] = []
    for (const context of contexts)
      for (const subscription of context.subscriptions)
        readers.push(
          await context.database.read(async (session) => ({
            context,
            subscription,
            row: await context.store.cursors.consumer(session, subscription.name),
            cursors: (await context.store.cursors.cursors(session, subscription.name)).filter(
              ({ source }) => source === subscription.source.name,
            ),
          })),
        )
    return new Deliveries(readers)
  }

  async of({ log, row: entry }: FoundEvent): Promise<readonly Delivery[]> {
    const deliveries: Delivery[] = []
    const received = receivedFrom(entry)
    const row = received === undefined ? entry : { ...entry, key: received.key, sequence: received.sequence }
    const read = received === undefined ? log.context : receivedName(received.channel)
    for (const reader of this.#readers) {
      const { source } = reader.subscription
      if (source.name !== read || (received !== undefined && reader.context.context !== log.context)) continue
      const event = await handedOut(source, row)
      if (event === undefined) continue
      const { spec, name, context } = reader.subscription
      const state = await stateOf(reader, row, event)
      deliveries.push({ context, consumer: name, title: spec.title ?? null, effects: spec.effects, ...state })
    }
    return deliveries
  }
}

type Placed = Pick<StoredEvent, 'id' | 'key' | 'sequence' | 'position'>

/** As the source hands it out; undefined where it does not: it is none of its types, or another context's and not published. */
const handedOut = async (source: EventSource, { id, key, sequence }: Placed): Promise<EventRecord | undefined> => {
  const [event] = await source.readKey(key, sequence, 1)
  return event?.id === id ? event : undefined
}

type State = Omit<Delivery, 'context' | 'consumer' | 'title' | 'effects'>

const stateOf = async (
  { context, subscription, row: consumer, cursors }: Reader,
  { id, key, sequence, position }: Placed,
  event: EventRecord,
): Promise<State> => {
  const { name, source, spec } = subscription
  const lane = laneOf(cursors, consumer, key)
  if (consumer === undefined || lane === undefined) return { state: 'new' }
  const { parked, skipped } = await context.database.read(async (session) => ({
    parked: await context.store.parking.get(session, name, source.name, key),
    skipped: await context.store.parking.skippedOf(session, name, source.name, id),
  }))
  if (skipped !== undefined) return { state: 'skipped', skippedBy: skipped.by, skippedReason: skipped.reason }
  if (position > lane.position)
    return {
      state: 'pending',
      ...(consumer.state === 'paused' ? { stopped: 'paused' } : {}),
      ...(consumer.breaker_until_ms === null ? {} : { stopped: 'held' }),
    }
  if (parked !== undefined && sequence >= parked.sequence) return parkedState(parked, sequence)
  if (position <= lane.start_position) return { state: 'unwanted' }
  return { state: filteredBy(spec)(event) ? 'filtered' : 'handled' }
}

const parkedState = ({ sequence, status, attempts, next_ms, error }: ParkedKey, of: number): State => ({
  state: of > sequence ? 'waiting' : status,
  attempts,
  ...(status === 'retrying' ? { nextAttemptAt: next_ms } : {}),
  error: `${error.name}: ${error.message}`,
})

const laneOf = (
  cursors: readonly CursorRow[],
  consumer: ConsumerRow | undefined,
  key: string,
): CursorRow | undefined => {
  if (cursors.length <= 1) return cursors[0]
  return cursors.find(({ lane }) => lane === slotOf(key) % (consumer?.lanes ?? 1))
}
