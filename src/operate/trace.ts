/** From cause to effects: everything that one request, command or event has led to, over all contexts of the app. */

import { PabalError } from '../core/errors.ts'
import { receivedFrom } from '../exchange/received-log.ts'
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

/** What began together: by the same command or request, which is no event; or a first event. */
export interface TraceRoot {
  /** Its id, when no event is the cause. */
  readonly command: string | null
  readonly events: readonly TracedEvent[]
}

export interface Trace {
  readonly correlationId: string
  readonly startedAt: number
  readonly durationMs: number
  /** Of the whole correlation. */
  readonly events: number
  /** More of one log belongs to it than is looked at. */
  readonly truncated: boolean
  readonly roots: readonly TraceRoot[]
  /** Roots of the same correlation that the asked event has no part in, and that are left out. */
  readonly otherRoots: number
}

/** Events looked at of one log. */
const eventsMax = 10_000

/**
 * The tree that an event belongs to, its earliest cause first; of a correlation id, or with `whole`, every tree of the correlation.
 * @throws PABAL_EVENT_UNKNOWN
 */
export const traceOf = async (
  operated: Operated,
  id: string,
  { whole = false }: { readonly whole?: boolean } = {},
): Promise<Trace> => {
  const asked = await eventWithId(operated, id)
  const correlationId = asked?.row.correlation_id ?? id
  const { found, truncated } = await correlated(operated, correlationId)
  if (found.length === 0)
    throw new PabalError('PABAL_EVENT_UNKNOWN', `${id} is neither an event's id nor a correlation id`)
  const byId = new Map(found.map((event) => [event.row.id, event]))
  const parentOf = ({ row }: FoundEvent) => (row.causation_id === null ? undefined : byId.get(row.causation_id))
  const roots = [
    ...Map.groupBy(
      found.filter((event) => parentOf(event) === undefined),
      rootId,
    ).values(),
  ]
  const shown =
    whole || asked === undefined
      ? roots
      : roots.filter((events) =>
          events.some((event) => rootId(event) === rootId(rootOf(byId.get(id) ?? asked, parentOf))),
        )
  const startedAt = Math.min(...found.map(({ row }) => row.time_ms))
  const build = await builder(
    operated,
    Map.groupBy(found, ({ row }) => row.causation_id),
    startedAt,
  )
  const traced: TraceRoot[] = []
  for (const events of shown) {
    const { causation_id } = events[0]!.row
    traced.push({ command: causation_id, events: await Promise.all(events.map(build)) })
  }
  return {
    correlationId,
    startedAt,
    durationMs: Math.max(...found.map(({ row }) => row.time_ms)) - startedAt,
    events: found.length,
    truncated,
    roots: traced,
    otherRoots: roots.length - shown.length,
  }
}

/** What one command has raised stands together. */
const rootId = ({ row }: FoundEvent): string => row.causation_id ?? row.id

const rootOf = (event: FoundEvent, parentOf: (event: FoundEvent) => FoundEvent | undefined): FoundEvent => {
  for (let at = event; ; ) {
    const parent = parentOf(at)
    if (parent === undefined) return at
    at = parent
  }
}

const builder = async (
  operated: Operated,
  effectsOf: ReadonlyMap<string | null, readonly FoundEvent[]>,
  startedAt: number,
) => {
  const deliveries = await Deliveries.open(operated)
  const build = async (event: FoundEvent): Promise<TracedEvent> => {
    const logged = loggedEvent(event.log, event.row)
    const effects: TracedEvent[] = []
    for (const effect of effectsOf.get(event.row.id) ?? []) effects.push(await build(effect))
    return { ...logged, offsetMs: logged.at - startedAt, deliveries: await deliveries.of(event), effects }
  }
  return build
}

const eventWithId = async ({ logs }: Operated, id: string): Promise<FoundEvent | undefined> => {
  for (const log of logs) {
    const row = await log.database.read((session) => log.store.log.byId(session, id))
    if (row !== undefined) return { log, row }
  }
  return undefined
}

/** In order of time; what one log holds in order of position. */
const correlated = async ({ logs }: Operated, correlationId: string) => {
  const found: FoundEvent[] = []
  let truncated = false
  for (const log of logs) {
    const rows = await log.database.read((session) =>
      log.store.log.byCorrelation(session, correlationId, eventsMax + 1),
    )
    if (rows.length > eventsMax) truncated = true
    found.push(...rows.slice(0, eventsMax).map((row) => ({ log, row })))
  }
  // What was received is its producer's event, where that can be seen.
  const own = new Set(found.flatMap(({ row }) => (receivedFrom(row) === undefined ? [row.id] : [])))
  const once = found.filter(({ row }) => receivedFrom(row) === undefined || !own.has(row.id))
  return { found: once.toSorted((one, other) => one.row.time_ms - other.row.time_ms), truncated }
}
