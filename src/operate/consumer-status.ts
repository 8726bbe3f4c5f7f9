/** Where one consumer stands: what it has not handled, what it cannot handle, and who works on it. */

import type { EntryDefinition } from '../event/definition.ts'
import type { EventRecord } from '../event/envelope.ts'
import type { ConsumerRow, CursorRow, RunningEdition } from '../store/store.ts'
import { isReceived } from '../exchange/received-log.ts'
import { receptionOf } from '../exchange/receiver.ts'
import type { EventSource } from '../subscription/source.ts'
import type { Subscription } from '../subscription/subscription.ts'
import { countLate, oldestUnhandled } from './lag.ts'
import type { Operated, OperatedContext } from './operated.ts'

/** `held`: its circuit breaker is open, everything fails. `new`: it has never been started. */
export type ConsumerState = 'active' | 'paused' | 'held' | 'new'

export interface LaneStatus {
  readonly lane: number
  readonly position: number
  /** The process that has it, or had it last; null when it was given back. */
  readonly owner: string | null
  /** The owner's lease has not run out. */
  readonly leased: boolean
}

export interface UnhandledEvent {
  readonly id: string
  readonly type: string
  readonly key: string
  readonly position: number
  readonly at: number
}

/** One consumer over one source; times in milliseconds, points in time (`…At`) since 1970. */
export interface ConsumerStatus {
  readonly context: string
  readonly consumer: string
  readonly title: string | null
  /** The context whose log it reads. */
  readonly source: string
  readonly effects: 'database' | 'external'
  readonly types: readonly { readonly type: string; readonly title: string | null }[]
  readonly state: ConsumerState
  /** Why it is paused, or what the breaker saw last. */
  readonly reason: string | null
  /** When the breaker tries again. */
  readonly heldUntilAt: number | null
  /** Whether this app has a handler of that name. */
  readonly handler: boolean
  readonly lanes: readonly LaneStatus[]
  /** Processes that run it: in the newest version, and in older ones, which leave the work to that. */
  readonly processes: { readonly newest: number; readonly older: number }
  /** The log does not hold what was handled at the cursor. */
  readonly rewound: boolean
  /**
   * Events of its types after the cursor; null when nothing here can read them. A filter is judged when the cursor comes to an event:
   * what it will leave out is counted here, in `lagMs`, and among what is waiting.
   */
  readonly lagEvents: number | null
  /** Age of the oldest event that is not handled, parked ones too. */
  readonly lagMs: number | null
  readonly oldest: UnhandledEvent | null
  readonly withinMs: number | null
  /** Events that were not handled within that time, of those that its filter wants; null without a time. */
  readonly late: number | null
  readonly retryingKeys: number
  readonly nextRetryAt: number | null
  readonly deadKeys: number
  /** The newest failure of a parked key; null when none is parked. */
  readonly lastError: string | null
  /** Events behind retrying and dead ones. */
  readonly waiting: number
  /** Behind the one key that holds up most. */
  readonly mostWaiting: number
  readonly skipped: number
  /** What a transport has brought from the producer and cannot be handed over; of all consumers of the context alike. */
  readonly early: readonly EarlyStatus[]
}

/** `gap`: something in front of them has not come. `diverged`: they are of another history than what was received. */
export interface EarlyStatus {
  readonly reason: 'gap' | 'diverged'
  readonly events: number
  readonly keys: number
}

export const consumerStatuses = async (operated: Operated, context: OperatedContext): Promise<ConsumerStatus[]> => {
  const { rows, cursors, running } = await context.database.read(async (session) => ({
    rows: await context.store.cursors.consumers(session),
    cursors: await context.store.cursors.cursors(session),
    running: await context.store.editions.running(session),
  }))
  const statuses: ConsumerStatus[] = []
  for (const subscription of context.subscriptions)
    statuses.push(
      await statusOf(operated, context, {
        consumer: subscription.name,
        source: subscription.source.name,
        subscription,
        row: rows.find(({ name }) => name === subscription.name),
        cursors,
        running,
      }),
    )
  for (const row of rows)
    for (const source of new Set(
      cursors.filter(({ consumer }) => consumer === row.name).map((cursor) => cursor.source),
    ))
      if (!context.subscriptions.some((known) => known.name === row.name && known.source.name === source))
        statuses.push(
          await statusOf(operated, context, {
            consumer: row.name,
            source,
            subscription: undefined,
            row,
            cursors,
            running,
          }),
        )
  return statuses
}

interface Parts {
  readonly consumer: string
  readonly source: string
  readonly subscription: Subscription | undefined
  readonly row: ConsumerRow | undefined
  readonly cursors: readonly CursorRow[]
  readonly running: readonly RunningEdition[]
}

const statusOf = async (
  { environment, logs }: Operated,
  context: OperatedContext,
  { consumer, source, subscription, row, cursors, running }: Parts,
): Promise<ConsumerStatus> => {
  const nowMs = environment.now()
  const lanes = cursors.filter((cursor) => cursor.consumer === consumer && cursor.source === source)
  const { spec, source: log } = subscription ?? {}
  const parked = await parkedOf(context, consumer, source)
  // What was received stands in the own log.
  const sourceLog = logs.find((known) => known.context === (isReceived(source) ? context.context : source))
  const oldest =
    sourceLog === undefined
      ? undefined
      : await oldestUnhandled({ context, consumer, sourceLog, source: log, lanes, row })
  return {
    context: context.context,
    consumer,
    title: spec?.title ?? null,
    source,
    effects: spec?.effects ?? row?.effects ?? 'database',
    types:
      spec === undefined
        ? (row?.types ?? []).map((type) => ({ type, title: null }))
        : spec.definitions.map(({ type, title }: EntryDefinition) => ({ type, title: title ?? null })),
    state: stateOf(row, lanes),
    reason: row?.reason ?? row?.breaker_error ?? null,
    heldUntilAt: row?.breaker_until_ms ?? null,
    handler: subscription !== undefined,
    lanes: lanes.map(({ lane, position, owner, until_ms }) => ({
      lane,
      position,
      owner,
      leased: owner !== null && until_ms >= nowMs,
    })),
    processes: processesOf(running.filter((each) => each.consumer === consumer && each.source === source)),
    rewound: log !== undefined && (await isRewound(log, lanes)),
    lagEvents: log === undefined || row === undefined ? null : await lagOf(log, lanes, row.lanes),
    lagMs: oldest === undefined ? null : Math.max(0, nowMs - oldest.timeMs),
    oldest: oldest === undefined ? null : unhandled(oldest),
    withinMs: spec?.withinMs ?? null,
    late:
      subscription === undefined || spec?.withinMs === undefined
        ? null
        : await countLate(context, subscription, lanes, row?.lanes ?? 1, nowMs - spec.withinMs),
    ...parked,
    skipped: row?.skipped ?? 0,
    early: log === undefined || !isReceived(source) ? [] : await earlyOf(context, log),
  }
}

const processesOf = (running: readonly RunningEdition[]): ConsumerStatus['processes'] => {
  const newest = Math.max(...running.map(({ edition }) => edition))
  const count = (those: readonly RunningEdition[]) => those.reduce((all, { processes }) => all + processes, 0)
  const latest = running.filter(({ edition }) => edition === newest)
  return { newest: count(latest), older: count(running) - count(latest) }
}

const earlyOf = async (
  { database, store }: OperatedContext,
  { producer, stream = '' }: EventSource,
): Promise<readonly EarlyStatus[]> => {
  const found = await database.read((session) => store.early.count(session, receptionOf(producer, stream)))
  return found as readonly EarlyStatus[]
}

const stateOf = (row: ConsumerRow | undefined, lanes: readonly CursorRow[]): ConsumerState => {
  if (row === undefined || lanes.length === 0) return 'new'
  if (row.state === 'paused') return 'paused'
  return row.breaker_until_ms === null ? 'active' : 'held'
}

const unhandled = ({ id, type, key, position, timeMs }: EventRecord): UnhandledEvent => ({
  id,
  type,
  key,
  position,
  at: timeMs,
})

const lagOf = async (source: EventSource, lanes: readonly CursorRow[], laneCount: number): Promise<number> => {
  let events = 0
  for (const { lane, position } of lanes) events += await source.count(position, { lane, lanes: laneCount })
  return events
}

/** The same test as the owner of a lane makes before it goes on (P8). */
export const isRewound = async (source: EventSource, lanes: readonly CursorRow[]): Promise<boolean> => {
  const head = await source.head()
  for (const { position, event_id } of lanes) {
    if (position > head.position) return true
    if (position === 0 || event_id === null) continue
    const there = await source.identityAt(position)
    const dropped = there === undefined && position < (await source.oldest())
    if (there !== event_id && !dropped) return true
  }
  return false
}

const parkedOf = ({ database, store }: OperatedContext, consumer: string, source: string) =>
  database.read(async (session) => {
    const all = await store.parking.count(session, { consumer, source })
    const dead = await store.parking.count(session, { consumer, source, status: 'dead' })
    const [newest] = all.keys === 0 ? [] : await store.parking.list(session, { consumer, source }, 1)
    return {
      retryingKeys: all.keys - dead.keys,
      nextRetryAt: (await store.parking.nextDueMs(session, consumer, source)) ?? null,
      deadKeys: dead.keys,
      lastError: newest === undefined ? null : `${newest.error.name}: ${newest.error.message}`,
      waiting: all.waiting,
      mostWaiting: all.mostWaiting,
    }
  })
