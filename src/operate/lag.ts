/** What a consumer has not handled: the oldest such event, and those that are late. */

import { type EventRecord, recordOf } from '../event/envelope.ts'
import type { ConsumerRow, CursorRow, ParkedKey } from '../store/store.ts'
import type { EventSource } from '../subscription/source.ts'
import type { Subscription } from '../subscription/subscription.ts'
import { definitionOf } from './event-record.ts'
import { filteredBy } from './filtered.ts'
import type { OperatedContext, OperatedLog } from './operated.ts'

/** Beyond these, "more than so many" is all that anyone needs to know. */
const lateMax = 10_000
const parkedKeysMax = 1_000
const perRead = 1_000

interface Place {
  readonly context: OperatedContext
  readonly consumer: string
  readonly sourceLog: OperatedLog
  /** Undefined without a handler here. */
  readonly source: EventSource | undefined
  readonly lanes: readonly CursorRow[]
  readonly row: ConsumerRow | undefined
}

/** The first event that is parked or after the cursor; undefined when everything is handled. */
export const oldestUnhandled = async (place: Place): Promise<EventRecord | undefined> => {
  const found = [await oldestParked(place)]
  if (place.source !== undefined)
    for (const { lane, position } of place.lanes)
      found.push(await firstAfter(place.source, position, { lane, lanes: place.row?.lanes ?? 1 }))
  return found.reduce((oldest, event) =>
    event === undefined || (oldest?.timeMs ?? Infinity) <= event.timeMs ? oldest : event,
  )
}

const oldestParked = async ({ context, consumer, sourceLog }: Place): Promise<EventRecord | undefined> => {
  const position = await context.database.read((session) =>
    context.store.parking.oldestNeeded(session, sourceLog.context, consumer),
  )
  if (position === undefined) return undefined
  const row = await sourceLog.database.read((session) => sourceLog.store.log.at(session, position))
  return row === undefined ? undefined : recordOf(definitionOf(sourceLog, row), sourceLog.context, row)
}

const firstAfter = async (
  source: EventSource,
  position: number,
  lane: { readonly lane: number; readonly lanes: number },
): Promise<EventRecord | undefined> => {
  for (let after = position; ; ) {
    const { events, through } = await source.readAfter({ after, lane, limit: 1 })
    if (events.length > 0 || through <= after) return events[0]
    after = through
  }
}

/**
 * Events older than the deadline that are not handled, after the cursor or parked, without those that the filter leaves out. At most
 * about 10,000 are counted; with a filter, all that are overdue may be read for it.
 */
export const countLate = async (
  context: OperatedContext,
  { spec, source }: Subscription,
  lanes: readonly CursorRow[],
  laneCount: number,
  deadlineMs: number,
): Promise<number> => {
  const isFiltered = filteredBy(spec)
  const lateOf = (due: readonly EventRecord[]): number => due.filter((event) => !isFiltered(event)).length
  let late = 0
  for (const { lane, position } of lanes)
    for await (const due of dueAfter(source, position, { lane, lanes: laneCount }, deadlineMs)) {
      late += lateOf(due)
      if (late >= lateMax) break
    }
  for await (const { events } of parkedEvents(context, spec.name, source, lanes)) {
    late += lateOf(events.filter(({ timeMs }) => timeMs < deadlineMs))
    if (late >= lateMax) break
  }
  return late
}

async function* dueAfter(
  source: EventSource,
  position: number,
  lane: { readonly lane: number; readonly lanes: number },
  deadlineMs: number,
): AsyncGenerator<readonly EventRecord[]> {
  for (let after = position; ; ) {
    const { events, through } = await source.readAfter({ after, lane, limit: perRead })
    const due = events.filter(({ timeMs }) => timeMs < deadlineMs)
    yield due
    if (due.length < events.length || through <= after) return
    after = through
  }
}

/** Each parked key with what of it the cursor has passed: the failing event and those behind it. */
export async function* parkedEvents(
  { database, store }: OperatedContext,
  consumer: string,
  source: EventSource,
  lanes: readonly CursorRow[],
): AsyncGenerator<{ readonly row: ParkedKey; readonly events: readonly EventRecord[] }> {
  const rows = await database.read((session) =>
    store.parking.list(session, { consumer, source: source.name }, parkedKeysMax),
  )
  for (const row of rows) {
    const passed = lanes.find(({ lane }) => lane === row.lane)?.position ?? 0
    const events = await source.readKey(row.key, row.sequence, perRead)
    yield { row, events: events.filter(({ position }) => position <= passed) }
  }
}
