/** Appending on SQLite: one statement tells where all the keys are, and a few store all the rows. */

import type { SQLInputValue } from 'node:sqlite'
import { PabalError } from '../../core/errors.ts'
import type { EventRecord } from '../../event/envelope.ts'
import { slotOf } from '../slot.ts'
import type { Session } from '../store.ts'
import { type Connection, on, type SqliteSession } from './connection.ts'

const columns = [
  'id',
  'key',
  'sequence',
  'type',
  'version',
  'data',
  'metadata',
  'correlation_id',
  'causation_id',
  'hops',
  'traceparent',
  'slot',
  'time_ms',
] as const

/**
 * A row costs half as much in a statement of 32 rows as in one of its own; more rows gain nothing. Powers of two, so that six
 * prepared statements serve every number of events.
 */
const rowsMax = 32

const powerOfTwoBelow = (count: number): number => {
  let rows = rowsMax
  while (rows > count) rows >>= 1
  return rows
}

export const createAppend = (
  context: string,
  p: string,
): ((session: Session, events: readonly EventRecord[]) => void) => {
  const row = `(${columns.map(() => '?').join(', ')})`
  // OR FAIL: a statement of several rows else keeps a journal of its own, to undo half of itself. Here a failure is the end of
  // the whole unit, or of its savepoint, and the journal would be a fifth of the cost.
  const insert = `INSERT OR FAIL INTO ${p}event (${columns.join(', ')})`
  const inserts = new Map<number, string>()
  for (let rows = 1; rows <= rowsMax; rows *= 2)
    inserts.set(rows, `${insert} VALUES ${Array(rows).fill(row).join(', ')}`)

  const lastOf = (key: string) => `coalesce(
    (SELECT sequence FROM ${p}event WHERE key = ${key} ORDER BY sequence DESC LIMIT 1),
    (SELECT sequence FROM ${p}key_head WHERE key = ${key}), 0)`
  const lastOfKey = `SELECT ${lastOf('value')} FROM (SELECT ? AS value)`
  // Keys hold no control characters (`defineEvent`), so JSON carries them unchanged; `json_each` goes through it in order.
  const lastOfKeys = `SELECT json_group_array(${lastOf('value')}) FROM json_each(?)`

  const sequencesOf = (connection: Connection, events: readonly EventRecord[]): Map<string, number> => {
    const keys = new Set(events.map(({ key }) => key))
    const read = <Last>(sql: string, value: string) =>
      (connection.prepareArrays(sql).get(value) as unknown as [Last])[0]
    // The usual unit is about one key; for several, one statement costs half as much as one for each.
    if (keys.size === 1) return new Map([[events[0]!.key, read<number>(lastOfKey, events[0]!.key)]])
    const sequences = JSON.parse(read<string>(lastOfKeys, JSON.stringify([...keys]))) as number[]
    return new Map([...keys].map((key, i) => [key, sequences[i]!]))
  }

  return (session, events) => {
    const connection = on(session)
    ;(session as SqliteSession).appended.add(context)
    number(events, sequencesOf(connection, events))
    for (let from = 0; from < events.length; ) {
      const count = powerOfTwoBelow(events.length - from)
      const { lastInsertRowid } = connection.prepare(inserts.get(count)!).run(...valuesOf(events, from, count))
      // Rows of one statement get successive positions: there is one writer, and AUTOINCREMENT never reuses one.
      const before = Number(lastInsertRowid) - count
      for (let i = 0; i < count; i++) events[from + i]!.position = before + i + 1
      from += count
    }
  }
}

/** Gives each event the sequence after its key's last. @throws PABAL_SEQUENCE_CONFLICT */
const number = (events: readonly EventRecord[], sequences: Map<string, number>): void => {
  for (const event of events) {
    const { key, expectedSequence } = event
    const last = sequences.get(key)!
    if (expectedSequence !== undefined && expectedSequence !== last)
      throw new PabalError(
        'PABAL_SEQUENCE_CONFLICT',
        `${event.type}: key ${JSON.stringify(key)} is at ${last}, ${expectedSequence} was expected`,
        { context: { key, expected: expectedSequence, actual: last } },
      )
    event.sequence = last + 1
    sequences.set(key, last + 1)
  }
}

const valuesOf = (events: readonly EventRecord[], from: number, count: number): SQLInputValue[] => {
  const values: SQLInputValue[] = []
  for (let i = from; i < from + count; i++) {
    const event = events[i]!
    values.push(
      event.id,
      event.key,
      event.sequence,
      event.type,
      event.version,
      event.text,
      event.metadataText,
      event.correlationId === event.id ? null : event.correlationId,
      event.causationId ?? null,
      event.hopCount,
      event.traceparent ?? null,
      slotOf(event.laneKey),
      event.timeMs,
    )
  }
  return values
}
