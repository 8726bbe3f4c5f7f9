/** From cause to effects: everything that one request, command or event has led to, over all contexts of the app. */

import { PabalError } from '../core/errors.ts'
import { Deliveries, type Delivery } from './deliveries.ts'
import { type LoggedEvent, loggedEvent } from './event-record.ts'
import type { FoundEvent } from './log.ts'
import type { Operated } from './operated.ts'

export interface TracedEvent extends LoggedEvent {
  /** Milliseconds since the first event. */
  readonly offsetMs: number
  readonly deliveries: readonly Delivery[]
  readonly effects: readonly TracedEvent[]
}

export interface Trace {
  readonly correlationId: string
  /** The command or outside request at its root, when no event is: its id. */
  readonly command: string | null
  readonly startedAt: number
  readonly durationMs: number
  readonly events: number
  /** More than what is shown belongs to it. */
  readonly truncated: boolean
  readonly roots: readonly TracedEvent[]
}

/** Events shown of one log. */
const eventsMax = 1_000

/**
 * The tree that a given event or correlation id belongs to, its earliest cause first.
 * @throws PABAL_EVENT_UNKNOWN
 */
export const traceOf = async (operated: Operated, id: string): Promise<Trace> => {
  const correlationId = (await eventWithId(operated, id))?.row.correlation_id ?? id
  const { found, truncated } = await correlated(operated, correlationId)
  if (found.length === 0)
    throw new PabalError('PABAL_EVENT_UNKNOWN', `${id} is neither an event's id nor a correlation id`)
  const deliveries = await Deliveries.open(operated)
  const startedAt = Math.min(...found.map(({ row }) => row.time_ms))
  const ids = new Set(found.map(({ row }) => row.id))
  const effectsOf = Map.groupBy(found, ({ row }) => (row.causation_id !== null && ids.has(row.causation_id) ? row.causation_id : ''))
  const trace = async (event: FoundEvent): Promise<TracedEvent> => {
    const effects: TracedEvent[] = []
    for (const effect of effectsOf.get(event.row.id) ?? []) effects.push(await trace(effect))
    const logged = loggedEvent(event.log, event.row)
    return { ...logged, offsetMs: logged.at - startedAt, deliveries: await deliveries.of(event), effects }
  }
  const roots: TracedEvent[] = []
  for (const root of effectsOf.get('') ?? []) roots.push(await trace(root))
  return {
    correlationId,
    command: ids.has(correlationId) ? null : correlationId,
    startedAt,
    durationMs: Math.max(...found.map(({ row }) => row.time_ms)) - startedAt,
    events: found.length,
    truncated,
    roots,
  }
}

const eventWithId = async ({ logs }: Operated, id: string): Promise<FoundEvent | undefined> => {
  for (const log of logs) {
    const row = await log.database.read((session) => log.store.log.byId(session, id))
    if (row !== undefined) return { log, row }
  }
  return undefined
}

/** In order of time; within one log in order of position. */
const correlated = async ({ logs }: Operated, correlationId: string) => {
  const found: FoundEvent[] = []
  let truncated = false
  for (const log of logs) {
    const rows = await log.database.read((session) => log.store.log.byCorrelation(session, correlationId, eventsMax + 1))
    if (rows.length > eventsMax) truncated = true
    found.push(...rows.slice(0, eventsMax).map((row) => ({ log, row })))
  }
  return { found: found.toSorted((one, other) => one.row.time_ms - other.row.time_ms), truncated }
}
