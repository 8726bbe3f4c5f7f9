/** The event log on SQLite. One writer at a time makes commit order the order of positions, without gaps (P2, P3). */

import type { StoredEvent } from '../../event/envelope.ts'
import type { Head, LaneFilter, Log, ReadOptions, Session } from '../store.ts'
import { createAppend } from './append.ts'
import { on } from './connection.ts'

const columns =
  'position, id, key, sequence, type, version, data, metadata, correlation_id, causation_id, hops, traceparent, time_ms'

type EventRow = readonly [
  position: number,
  id: string,
  key: string,
  sequence: number,
  type: string,
  version: number,
  data: string,
  metadata: string | null,
  correlation_id: string | null,
  causation_id: string | null,
  hops: number,
  traceparent: string | null,
  time_ms: number,
]

/** Objects that the driver builds are slow to build and slow to read: half of the cost of reading a log. */
const storedOf = ([
  position,
  id,
  key,
  sequence,
  type,
  version,
  data,
  metadata,
  correlation_id,
  causation_id,
  hops,
  traceparent,
  time_ms,
]: EventRow): StoredEvent => ({
  position,
  id,
  key,
  sequence,
  type,
  version,
  data,
  metadata,
  correlation_id,
  causation_id,
  hops,
  traceparent,
  time_ms,
})

/** Positions looked at by one filtered read, so that a rare type cannot hold the event loop. */
const windowPositions = 20_000

/** Every lane that there is. */
const isAll = (lane: LaneFilter | undefined): boolean =>
  lane === undefined || lane.lanes === 1 || (typeof lane.lane !== 'number' && lane.lane.length === lane.lanes)

const inLanes = (lane: LaneFilter | undefined, where: string[], values: (string | number)[]): void => {
  if (lane === undefined || isAll(lane)) return
  const wanted = typeof lane.lane === 'number' ? [lane.lane] : lane.lane
  where.push(`slot % ? IN (${marks(wanted.length)})`)
  values.push(lane.lanes, ...wanted)
}

/** What is behind every key that begins so. */
const endOf = (prefix: string): string => `${prefix}\u{10ffff}`

const marks = (count: number): string => Array.from({ length: count }, () => '?').join(', ')

export const headSqlOf = (p: string): string =>
  `SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = '${p}event'), 0) AS position, (SELECT value FROM ${p}meta WHERE name = 'incarnation') AS incarnation`

export const createLog = (context: string, p: string): Log => {
  const headSql = headSqlOf(p)
  const head = (session: Session): Head => on(session).prepare(headSql).get() as unknown as Head

  const rows = (session: Session, sql: string, ...values: (string | number)[]): StoredEvent[] =>
    (
      on(session)
        .prepareArrays(sql)
        .all(...values) as unknown as EventRow[]
    ).map(storedOf)
  const row = (session: Session, sql: string, ...values: (string | number)[]): StoredEvent | undefined => {
    const found = on(session)
      .prepareArrays(sql)
      .get(...values) as unknown as EventRow | undefined
    return found === undefined ? undefined : storedOf(found)
  }

  return {
    append: createAppend(context, p),

    head,

    readAfter: (session, { after, types, lane, limit }: ReadOptions) => {
      // The head first: what commits between the two statements is then beyond `through`, never skipped.
      const end = head(session).position
      const filtered = types !== undefined || !isAll(lane)
      const through = filtered ? Math.min(end, after + windowPositions) : end
      if (through <= after) return { events: [], through: Math.max(after, 0) }
      const where = ['position > ?', 'position <= ?']
      const values: (string | number)[] = [after, through]
      if (types !== undefined) {
        where.push(`type IN (${marks(types.length)})`)
        values.push(...types)
      }
      inLanes(lane, where, values)
      const events = rows(
        session,
        `SELECT ${columns} FROM ${p}event WHERE ${where.join(' AND ')} ORDER BY position LIMIT ?`,
        ...values,
        limit,
      )
      return { events, through: events.length === limit ? events.at(-1)!.position : through }
    },

    readBefore: (session, { before, after, types, key, limit }) => {
      const where = ['position < ?', 'position > ?']
      const values: (string | number)[] = [before ?? Number.MAX_SAFE_INTEGER, after ?? 0]
      if (types !== undefined) {
        where.push(`type IN (${marks(types.length)})`)
        values.push(...types)
      }
      if (key !== undefined) {
        where.push('key = ?')
        values.push(key)
      }
      // The plus: for one key its index is read and sorted, not the whole log in order of position.
      const order = key === undefined ? 'position' : '+position'
      return rows(
        session,
        `SELECT ${columns} FROM ${p}event WHERE ${where.join(' AND ')} ORDER BY ${order} DESC LIMIT ?`,
        ...values,
        limit,
      ).toReversed()
    },

    readKey: (session, key, { from, types, limit }) =>
      rows(
        session,
        `SELECT ${columns} FROM ${p}event WHERE key = ? AND sequence >= ? ${
          types === undefined ? '' : `AND type IN (${marks(types.length)})`
        } ORDER BY sequence LIMIT ?`,
        key,
        from,
        ...(types ?? []),
        limit,
      ),

    previous: (session, key, before, types) => {
      const found = row(
        session,
        `SELECT ${columns} FROM ${p}event WHERE key = ? AND sequence < ? AND type IN (${marks(types.length)}) ORDER BY sequence DESC LIMIT 1`,
        key,
        before,
        ...types,
      )
      if (found !== undefined) return found
      const dropped = on(session).prepare(`SELECT types FROM ${p}key_head WHERE key = ?`).get(key)
      if (dropped === undefined) return undefined
      const sequences = JSON.parse(String(dropped['types'])) as Record<string, number>
      const droppedSequence = Math.max(0, ...types.map((type) => sequences[type] ?? 0))
      return droppedSequence === 0 ? undefined : { droppedSequence }
    },

    byId: (session, id) => row(session, `SELECT ${columns} FROM ${p}event WHERE id = ?`, id),

    foreign: (session, ids) =>
      new Set(
        on(session)
          .prepareArrays(`SELECT id FROM ${p}event WHERE id IN (SELECT value FROM json_each(?))`)
          .all(JSON.stringify(ids))
          .map((found) => (found as unknown as [string])[0]),
      ),

    byCorrelation: (session, correlationId, limit) =>
      rows(
        session,
        `SELECT ${columns} FROM ${p}event WHERE id = ? OR correlation_id = ? ORDER BY position LIMIT ?`,
        correlationId,
        correlationId,
        limit,
      ),

    at: (session, position) => row(session, `SELECT ${columns} FROM ${p}event WHERE position = ?`, position),

    count: (session, { after, through, types, lane, prefix, exceptPrefix }) => {
      const where = ['position > ?', 'position <= ?']
      const values: (string | number)[] = [after, through ?? Number.MAX_SAFE_INTEGER]
      if (types !== undefined) {
        where.push(`type IN (${marks(types.length)})`)
        values.push(...types)
      }
      if (prefix !== undefined) {
        // Not by the index of keys: what is counted is mostly the end of the log.
        where.push('+key >= ? AND +key < ?')
        values.push(prefix, endOf(prefix))
      }
      if (exceptPrefix !== undefined) {
        where.push('(+key < ? OR +key >= ?)')
        values.push(exceptPrefix, endOf(exceptPrefix))
      }
      inLanes(lane, where, values)
      const found = on(session)
        .prepare(`SELECT count(*) AS n FROM ${p}event WHERE ${where.join(' AND ')}`)
        .get(...values)
      return Number(found?.['n'])
    },

    countKeys: (session, prefix) => {
      const found = on(session)
        .prepare(`SELECT count(*) AS n FROM ${p}event WHERE key >= ? AND key < ?`)
        .get(prefix, endOf(prefix))
      return Number(found?.['n'])
    },

    types: (session) =>
      on(session).prepare(`SELECT type, version FROM ${p}event_type ORDER BY type, version`).all() as unknown as {
        type: string
        version: number
      }[],

    declareTypes: (session, types) => {
      const statement = on(session).prepare(`INSERT OR IGNORE INTO ${p}event_type (type, version) VALUES (?, ?)`)
      for (const { type, version } of types) statement.run(type, version)
    },

    forgetType: (session, type) => void on(session).prepare(`DELETE FROM ${p}event_type WHERE type = ?`).run(type),

    dropThrough: (session, position) => {
      const connection = on(session)
      connection
        .prepare(
          `INSERT INTO ${p}key_head (key, sequence, types)
           SELECT key, max(last), json_group_object(type, last)
           FROM (SELECT key, type, max(sequence) AS last FROM ${p}event WHERE position <= ? GROUP BY key, type) WHERE true GROUP BY key
           ON CONFLICT (key) DO UPDATE SET sequence = excluded.sequence, types = json_patch(types, excluded.types)`,
        )
        .run(position)
      return Number(connection.prepare(`DELETE FROM ${p}event WHERE position <= ?`).run(position).changes)
    },

    oldest: (session) => {
      const found = on(session).prepare(`SELECT position FROM ${p}event ORDER BY position LIMIT 1`).get()
      return found === undefined ? head(session).position + 1 : Number(found['position'])
    },

    newIncarnation: (session, incarnation) =>
      void on(session).prepare(`UPDATE ${p}meta SET value = ? WHERE name = 'incarnation'`).run(incarnation),
  }
}
