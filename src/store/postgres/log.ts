/** The event log on Postgres. Readers see what has a position: events of open transactions are not there yet, nor those not ticked. */

import type { StoredEvent } from '../../event/envelope.ts'
import { foreignIdFirst } from '../../event/foreign-id.ts'
import type { LaneFilter, Log, ReadOptions, Session } from '../store.ts'
import { createAppend } from './append.ts'
import { plainArray, textArray } from './arrays.ts'
import { on, type Row, statement, type Value, writing } from './connection.ts'
import { dropThrough } from './retention.ts'

const eventColumns =
  'e.event_id, e.key, e.sequence, e.type, e.version, e.data, e.metadata, e.correlation_id, e.causation_id, e.hops, e.traceparent, e.time_ms'

const textOf = (value: Value | undefined): string | null =>
  value === null || value === undefined ? null : String(value)

/** A row of `position, <eventColumns>`, from a column on. */
const storedOf = (row: Row, at = 0): StoredEvent => ({
  position: Number(row[at]),
  id: String(row[at + 1]),
  key: String(row[at + 2]),
  sequence: Number(row[at + 3]),
  type: String(row[at + 4]),
  version: Number(row[at + 5]),
  data: String(row[at + 6]),
  metadata: textOf(row[at + 7]),
  correlation_id: textOf(row[at + 8]),
  causation_id: textOf(row[at + 9]),
  hops: Number(row[at + 10]),
  traceparent: textOf(row[at + 11]),
  time_ms: Number(row[at + 12]),
})

/** Positions looked at by one read that filters by type, so that a rare type cannot hold a connection for long. */
const windowPositions = 20_000

/** Undefined: every lane that there is. */
const lanesOf = (lane: LaneFilter | undefined): readonly number[] | undefined => {
  if (lane === undefined || lane.lanes === 1) return undefined
  if (typeof lane.lane === 'number') return [lane.lane]
  return lane.lane.length === lane.lanes ? undefined : lane.lane
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

const most = Number.MAX_SAFE_INTEGER

export const createLog = (context: string, s: string): Log => {
  const headOf = `(SELECT head FROM ${s}.sequencer ORDER BY n DESC LIMIT 1)`
  const dropped = `(SELECT dropped FROM ${s}.meta)`
  /** The event's position, by the run that it is in; none when it is not numbered. */
  const placeOf = `JOIN LATERAL (
      SELECT r.position + (e.id - r.id) AS position, r.id + r.events AS beyond FROM ${s}.run r WHERE r.id <= e.id ORDER BY r.id DESC LIMIT 1
    ) p ON e.id < p.beyond`
  /**
   * Positions from `low + 1` to `high`, each with its event, as `r` and `e`. Bounded twice, so that the planner takes the index; the
   * filter and the limit stand inside, so that no more of a long run is read than is asked for.
   */
  const between = (low: string, high: string, filter = 'true', end = 'ORDER BY e.id OFFSET 0'): string => `(
      SELECT r.position, r.id, r.events FROM ${s}.run r
      WHERE r.position >= coalesce((SELECT max(position) FROM ${s}.run WHERE position <= ${low} + 1), 1) AND r.position <= ${high}
    ) r JOIN LATERAL (
      SELECT e.*, r.position + (e.id - r.id) AS position FROM ${s}.event e
      WHERE e.id >= r.id + greatest(0, ${low} + 1 - r.position) AND e.id < r.id + least(r.events, ${high} + 1 - r.position) AND ${filter}
      ${end}
    ) e ON true`

  /** There are two indexes of ids. The planner takes the one whose condition it is told. */
  const isForeign = `event_id >= '${foreignIdFirst}'`
  const withId = (id: string, parameter: string): string => {
    const inIndex = id.toLowerCase() >= foreignIdFirst ? isForeign : `event_id < '${foreignIdFirst}'`
    return `event_id = ${parameter}::text::uuid AND ${inIndex}`
  }

  const head = statement(`SELECT ${headOf} AS position, (SELECT incarnation FROM ${s}.meta) AS incarnation`)

  const inLanes = (first: number): string => `e.slot % $${first}::text::integer = ANY ($${first + 1}::text::integer[])`

  /** One row at least, which tells the head. */
  const after = (byLane: boolean, byType: boolean, limit: number) => {
    const filter = `${byLane ? inLanes(3) : 'true'} AND ${byType ? `e.type = ANY ($${byLane ? 5 : 3}::text::text[])` : 'true'}`
    return statement(
      `SELECT h.head, r.* FROM (
         SELECT head, greatest($1::text::bigint, ${dropped}) AS low, least($2::text::bigint, head) AS high FROM (SELECT ${headOf} AS head) h
       ) h LEFT JOIN LATERAL (
         SELECT e.position, ${eventColumns} FROM ${between('h.low', 'h.high', filter, `ORDER BY e.id LIMIT ${limit}`)}
         ORDER BY r.position, e.id LIMIT ${limit}
       ) r ON true`,
    )
  }

  const readAfter: Log['readAfter'] = async (session, { after: from, types, lane, limit }: ReadOptions) => {
    const lanes = lanesOf(lane)
    // Whoever filters by what no index knows looks at so many at a time.
    const end = types === undefined && lanes === undefined ? most : from + windowPositions
    const values = [String(from), String(end)]
    if (lanes !== undefined) values.push(String(lane!.lanes), plainArray(lanes))
    if (types !== undefined) values.push(textArray(types))
    const rows = await on(session).rows(after(lanes !== undefined, types !== undefined, limit), values)
    const events: StoredEvent[] = []
    for (const row of rows) if (row[1] !== null) events.push(storedOf(row, 1))
    const through = events.length === limit ? events.at(-1)!.position : Math.min(Number(rows[0]![0]), end)
    return { events, through: Math.max(through, from, 0) }
  }

  const read = async (session: Session, sql: string, values: (string | null)[]): Promise<StoredEvent[]> =>
    (await on(session).rows(statement(sql), values)).map((row) => storedOf(row))
  const one = async (session: Session, sql: string, values: string[]): Promise<StoredEvent | undefined> =>
    (await read(session, sql, values))[0]
  const number = async (session: Session, sql: string, values: string[]): Promise<number> =>
    Number((await on(session).row(statement(sql), values))?.[0])

  return {
    append: createAppend(context, s),

    head: async (session) => {
      const row = await on(session).row(head, [])
      return { position: Number(row![0]), incarnation: String(row![1]) }
    },

    readAfter,

    readBefore: async (session, { before, after: low, types, key, limit }) => {
      const values = [String(low ?? 0), String((before ?? most) - 1)]
      if (key !== undefined) values.push(key)
      if (types !== undefined) values.push(textArray(types))
      const bounds = `(SELECT greatest($1::text::bigint, ${dropped}) AS low, least($2::text::bigint, ${headOf}) AS high) h`
      const ofType = types === undefined ? 'true' : `e.type = ANY ($${values.length}::text::text[])`
      const rows = await read(
        session,
        key === undefined
          ? `SELECT e.position, ${eventColumns} FROM ${bounds} JOIN LATERAL (
               SELECT e.* FROM ${between('h.low', 'h.high', ofType, `ORDER BY e.id DESC LIMIT ${limit}`)} ORDER BY r.position DESC, e.id DESC LIMIT ${limit}
             ) e ON true ORDER BY e.position DESC`
          : `SELECT p.position, ${eventColumns} FROM ${bounds}, ${s}.event e ${placeOf}
             WHERE e.key = $3 AND ${ofType} AND p.position > h.low AND p.position <= h.high ORDER BY p.position DESC LIMIT ${limit}`,
        values,
      )
      return rows.toReversed()
    },

    readKey: (session, key, { from, types, limit }) =>
      read(
        session,
        `SELECT p.position, ${eventColumns} FROM ${s}.event e ${placeOf}
         WHERE e.key = $1 AND e.sequence >= $2::text::bigint ${types === undefined ? '' : 'AND e.type = ANY ($3::text::text[])'}
           AND p.position > ${dropped}
         ORDER BY e.sequence LIMIT ${limit}`,
        [key, String(from), ...(types === undefined ? [] : [textArray(types)])],
      ),

    previous: async (session, key, before, types) => {
      const found = await one(
        session,
        `SELECT p.position, ${eventColumns} FROM ${s}.event e ${placeOf}
         WHERE e.key = $1 AND e.sequence < $2::text::bigint AND e.type = ANY ($3::text::text[]) AND p.position > ${dropped}
         ORDER BY e.sequence DESC LIMIT 1`,
        [key, String(before), textArray(types)],
      )
      if (found !== undefined) return found
      const droppedSequence = await number(
        session,
        `SELECT coalesce(max(sequence), 0) FROM ${s}.key_dropped WHERE key = $1 AND type = ANY ($2::text::text[])`,
        [key, textArray(types)],
      )
      return droppedSequence === 0 ? undefined : { droppedSequence }
    },

    byId: async (session, id) =>
      uuid.test(id)
        ? one(
            session,
            `SELECT p.position, ${eventColumns} FROM ${s}.event e ${placeOf} WHERE ${withId(id, '$1')} AND p.position > ${dropped}`,
            [id],
          )
        : undefined,

    foreign: async (session, ids) => {
      const rows = await on(session).rows(
        statement(`SELECT event_id FROM ${s}.event WHERE event_id = ANY ($1::text::uuid[]) AND ${isForeign}`),
        [plainArray(ids)],
      )
      return new Set(rows.map(([id]) => String(id)))
    },

    byCorrelation: (session, correlationId, limit) =>
      read(
        session,
        `SELECT p.position, ${eventColumns} FROM (
           SELECT * FROM ${s}.event WHERE correlation_id = $1
           ${uuid.test(correlationId) ? `UNION ALL SELECT * FROM ${s}.event WHERE ${withId(correlationId, '$2')}` : ''}
         ) e ${placeOf} WHERE p.position > ${dropped}
         ORDER BY p.position LIMIT ${limit}`,
        uuid.test(correlationId) ? [correlationId, correlationId] : [correlationId],
      ),

    at: (session, position) =>
      one(
        session,
        `SELECT e.position, ${eventColumns} FROM ${between('$1::text::bigint', '$2::text::bigint')} WHERE e.position > ${dropped}`,
        [String(position - 1), String(position)],
      ),

    count: (session, { after: from, through, types, lane, prefix, exceptPrefix }) => {
      const lanes = lanesOf(lane)
      const values = [String(from), String(through ?? most)]
      const bounds = `(SELECT greatest($1::text::bigint, ${dropped}) AS low, least($2::text::bigint, ${headOf}) AS high) h`
      // Positions have no gaps.
      if (lanes === undefined && types === undefined && prefix === undefined && exceptPrefix === undefined)
        return number(session, `SELECT greatest(0, high - low) FROM ${bounds}`, values)
      const where: string[] = []
      if (lanes !== undefined) {
        where.push(inLanes(3))
        values.push(String(lane!.lanes), plainArray(lanes))
      }
      if (types !== undefined) {
        where.push(`e.type = ANY ($${values.length + 1}::text::text[])`)
        values.push(textArray(types))
      }
      if (prefix !== undefined) {
        where.push(`starts_with(e.key, $${values.length + 1}::text)`)
        values.push(prefix)
      }
      if (exceptPrefix !== undefined) {
        where.push(`NOT starts_with(e.key, $${values.length + 1}::text)`)
        values.push(exceptPrefix)
      }
      return number(
        session,
        `SELECT n FROM ${bounds}, LATERAL (SELECT count(*) AS n FROM ${between('h.low', 'h.high')} WHERE ${where.join(' AND ')}) c`,
        values,
      )
    },

    countKeys: (session, prefix) =>
      number(
        session,
        `SELECT count(*) FROM ${s}.event e ${placeOf}
         WHERE e.key >= $1 AND e.key < $2 AND p.position > ${dropped}`,
        [prefix, `${prefix}\u{10ffff}`],
      ),

    types: async (session) =>
      (await on(session).rows(statement(`SELECT type, version FROM ${s}.event_type ORDER BY type, version`), [])).map(
        ([type, version]) => ({ type: String(type), version: Number(version) }),
      ),

    declareTypes: async (session, types) => {
      if (types.length > 0)
        await writing(session).run(
          statement(
            `INSERT INTO ${s}.event_type (type, version)
             SELECT DISTINCT * FROM unnest($1::text::text[], $2::text::integer[]) AS t (type, version)
             ORDER BY 1, 2 ON CONFLICT DO NOTHING`,
          ),
          [textArray(types.map(({ type }) => type)), `{${types.map(({ version }) => version).join()}}`],
        )
    },

    forgetType: async (session, type) => {
      await writing(session).run(statement(`DELETE FROM ${s}.event_type WHERE type = $1`), [type])
    },

    dropThrough: (session, position) =>
      dropThrough(writing(session), s, between('(SELECT dropped FROM before)', '$1::text::bigint'), position),

    oldest: async (session) => number(session, `SELECT ${dropped} + 1`, []),

    newIncarnation: async (session, incarnation) => {
      await writing(session).run(statement(`UPDATE ${s}.meta SET incarnation = $1`), [incarnation])
    },
  }
}
