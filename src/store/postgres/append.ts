/**
 * Appending on Postgres: one statement, however many events and keys. It locks the heads of the keys in their order, and takes
 * each event's id only then: ids of one key are in the order of its commits, which is what the tick relies on (P3).
 */

import { PabalError } from '../../core/errors.ts'
import type { EventRecord } from '../../event/envelope.ts'
import { slotOf } from '../slot.ts'
import type { Session } from '../store.ts'
import { plainArray, textArray } from './arrays.ts'
import { type PostgresSession, type Row, type Statement, statement, writing } from './connection.ts'
import { codeOf, states } from './errors.ts'

const columns =
  'id, xid, event_id, key, sequence, slot, type, version, data, metadata, correlation_id, causation_id, hops, traceparent, time_ms'

/** Events of one statement; more go in several. */
const eventsMax = 10_000

/** Whatever was set to answer COMMIT before it is durable is not set in a transaction that appends. Only ever raised. */
const durable = `(SELECT CASE WHEN current_setting('synchronous_commit') = 'off'
  THEN set_config('synchronous_commit', 'on', true) ELSE '' END) IS NOT NULL`

const oneIn = (s: string): Statement =>
  statement(`WITH head AS (
  INSERT INTO ${s}.key_head AS h (key, sequence) VALUES ($1, 1)
  ON CONFLICT (key) DO UPDATE SET sequence = h.sequence + 1 RETURNING h.key, h.sequence
)
INSERT INTO ${s}.event (${columns})
SELECT nextval('${s}.event_id'), pg_current_xact_id()::text::bigint, $2::text::uuid, head.key, head.sequence, $3::text::smallint, $4, $5::text::integer, $6, $7, $8, $9,
  $10::text::integer, $11, $12::text::bigint
FROM head WHERE ${durable}
RETURNING sequence`)

/** `expecting`: at least one key is given the sequence that it is expected to be at. */
const manyIn = (s: string, { expecting }: { readonly expecting: boolean }): Statement =>
  statement(`WITH given AS (
  SELECT * FROM unnest($1::text::text[], $2::text::bigint[], $3::text::bigint[]) AS k (key, events, expected)
), head AS (
  INSERT INTO ${s}.key_head AS h (key, sequence) SELECT key, events FROM given ORDER BY key COLLATE "C"
  ON CONFLICT (key) DO UPDATE SET sequence = h.sequence + excluded.sequence RETURNING h.key, h.sequence
), input AS (
  SELECT * FROM unnest($4::text::uuid[], $5::text::text[], $6::text::bigint[], $7::text::smallint[], $8::text::text[],
    $9::text::integer[], $10::text::text[], $11::text::text[], $12::text::text[], $13::text::text[], $14::text::integer[],
    $15::text::text[], $16::text::bigint[])
    WITH ORDINALITY AS i (event_id, key, later, slot, type, version, data, metadata, correlation_id, causation_id, hops, traceparent, time_ms, n)
)
INSERT INTO ${s}.event (${columns})
SELECT nextval('${s}.event_id'), (SELECT pg_current_xact_id()::text::bigint), o.event_id, o.key, o.sequence, o.slot, o.type, o.version, o.data,
  o.metadata, o.correlation_id, o.causation_id, o.hops, o.traceparent, o.time_ms
FROM (
  SELECT i.*, head.sequence - i.later AS sequence FROM head
  JOIN input i ON i.key = head.key
  ${expecting ? `JOIN given ON given.key = head.key AND ${s}.expect(head.key, given.expected, head.sequence - given.events)` : ''}
  WHERE ${durable}
  ORDER BY i.n
) o
RETURNING sequence`)

export const createAppend = (
  context: string,
  schema: string,
): ((session: Session, events: readonly EventRecord[]) => Promise<void>) => {
  const one = oneIn(schema)
  const many = manyIn(schema, { expecting: false })
  const manyExpecting = manyIn(schema, { expecting: true })
  return async (session, events) => {
    const own = writing(session)
    if (events.length === 0) return
    own.appended.add(context)
    if (events.length === 1 && events[0]!.expectedSequence === undefined) return appendOne(own, one, events[0]!)
    for (let from = 0; from < events.length; from += eventsMax) {
      const part = events.length <= eventsMax ? events : events.slice(from, from + eventsMax)
      const expecting = part.some(({ expectedSequence }) => expectedSequence !== undefined)
      if (!expecting) await own.defer(many, valuesOf(part), (rows) => number(part, rows))
      // Whoever expects something wants to be told here.
      else await appendExpecting(own, manyExpecting, part)
    }
  }
}

const correlationOf = (event: EventRecord): string | null =>
  event.correlationId === event.id ? null : event.correlationId

const appendOne = (session: PostgresSession, one: Statement, event: EventRecord): Promise<void> =>
  session.defer(
    one,
    [
      event.key,
      event.id,
      String(slotOf(event.laneKey)),
      event.type,
      String(event.version),
      event.text,
      event.metadataText,
      correlationOf(event),
      event.causationId ?? null,
      String(event.hopCount),
      event.traceparent ?? null,
      String(event.timeMs),
    ],
    (rows) => number([event], rows),
  )

const appendExpecting = async (
  session: PostgresSession,
  many: Statement,
  events: readonly EventRecord[],
): Promise<void> => {
  const values = valuesOf(events)
  try {
    number(events, await session.rows(many, values))
  } catch (error) {
    throw conflictOf(error, events) ?? error
  }
}

/** @throws PABAL_SEQUENCE_CONFLICT when expectations of one key contradict each other */
const valuesOf = (events: readonly EventRecord[]): readonly string[] => {
  const keys = new Map<string, { events: number; expected: number | undefined }>()
  for (const event of events) {
    const key = keys.get(event.key)
    // Later expectations of the same key count the events in front of them.
    if (key === undefined) keys.set(event.key, { events: 1, expected: event.expectedSequence })
    else {
      if (event.expectedSequence !== undefined) expectAlso(event, key)
      key.events++
    }
  }
  const seen = new Map<string, number>()
  const later = events.map(({ key }) => {
    const before = (seen.get(key) ?? 0) + 1
    seen.set(key, before)
    return keys.get(key)!.events - before
  })
  return [
    textArray([...keys.keys()]),
    plainArray([...keys.values()].map((key) => key.events)),
    plainArray([...keys.values()].map(({ expected }) => expected ?? 'NULL')),
    plainArray(events.map(({ id }) => id)),
    textArray(events.map(({ key }) => key)),
    plainArray(later),
    plainArray(events.map(({ laneKey }) => slotOf(laneKey))),
    textArray(events.map(({ type }) => type)),
    plainArray(events.map(({ version }) => version)),
    textArray(events.map(({ text }) => text)),
    textArray(events.map(({ metadataText }) => metadataText)),
    textArray(events.map(correlationOf)),
    textArray(events.map(({ causationId }) => causationId ?? null)),
    plainArray(events.map(({ hopCount }) => hopCount)),
    textArray(events.map(({ traceparent }) => traceparent ?? null)),
    plainArray(events.map(({ timeMs }) => timeMs)),
  ]
}

const expectAlso = (event: EventRecord, key: { events: number; expected: number | undefined }): void => {
  const first = event.expectedSequence! - key.events
  if (key.expected !== undefined && key.expected !== first)
    throw conflict(event, { expected: event.expectedSequence!, actual: key.expected + key.events })
  key.expected = first
}

const number = (events: readonly EventRecord[], rows: readonly Row[]): void => {
  if (rows.length !== events.length) throw new Error(`${events.length} events were appended as ${rows.length} rows`)
  for (let i = 0; i < events.length; i++) events[i]!.sequence = Number(rows[i]![0])
}

const conflict = (event: EventRecord, { expected, actual }: { expected: number; actual: number }): PabalError =>
  new PabalError(
    'PABAL_SEQUENCE_CONFLICT',
    `${event.type}: key ${JSON.stringify(event.key)} is at ${actual}, ${expected} was expected`,
    { context: { key: event.key, expected, actual } },
  )

const conflictOf = (error: unknown, events: readonly EventRecord[]): PabalError | undefined => {
  if (codeOf(error) !== states.sequenceConflict) return undefined
  const { detail } = error as { detail?: string }
  const { key, expected, actual } = JSON.parse(detail ?? '{}') as { key: string; expected: number; actual: number }
  const event = events.find((each) => each.key === key && each.expectedSequence !== undefined) ?? events[0]!
  return conflict(event, { expected, actual })
}
