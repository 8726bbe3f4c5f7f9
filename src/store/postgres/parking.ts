/** Parked keys on Postgres: one row per key; what waits behind it is read again from the log. */

import type { ParkedFilter, ParkedGroup, ParkedKey, Parking, SkippedEvent } from '../store.ts'
import { plainArray, textArray } from './arrays.ts'
import { on, type Row, statement, writing } from './connection.ts'

const parkedColumns =
  'consumer, source, key, lane, status, sequence, position, event_id, type, attempts, next_ms, error, first_failed_ms, last_failed_ms, waiting, edited'

const parkedOf = (row: Row): ParkedKey => ({
  consumer: String(row[0]),
  source: String(row[1]),
  key: String(row[2]),
  lane: Number(row[3]),
  status: row[4] as ParkedKey['status'],
  sequence: Number(row[5]),
  position: Number(row[6]),
  event_id: String(row[7]),
  type: String(row[8]),
  attempts: Number(row[9]),
  next_ms: Number(row[10]),
  error: JSON.parse(String(row[11])) as ParkedKey['error'],
  first_failed_ms: Number(row[12]),
  last_failed_ms: Number(row[13]),
  waiting: Number(row[14]),
  edited: row[15] === null ? null : (JSON.parse(String(row[15])) as ParkedKey['edited']),
})

const skippedColumns = 'consumer, source, event_id, key, sequence, type, reason, by, at_ms'
const skippedOf = (row: Row): SkippedEvent => ({
  consumer: String(row[0]),
  source: String(row[1]),
  event_id: String(row[2]),
  key: String(row[3]),
  sequence: Number(row[4]),
  type: String(row[5]),
  reason: String(row[6]),
  by: String(row[7]),
  at_ms: Number(row[8]),
})

const filterable = new Set(['consumer', 'source', 'status', 'key', 'event_id', 'type', 'fingerprint'])

/** Its parameters begin at `first`. */
const condition = (filter: ParkedFilter, first = 1): { sql: string; values: string[] } => {
  const present = Object.entries(filter).filter(
    (pair): pair is [string, string] => pair[1] !== undefined && filterable.has(pair[0]),
  )
  return {
    sql: present.length === 0 ? 'true' : present.map(([column], n) => `${column} = $${first + n}`).join(' AND '),
    values: present.map(([, value]) => value),
  }
}

const inserted = [...parkedColumns.split(', '), 'fingerprint']
const casts: Record<string, string> = {
  lane: 'integer',
  attempts: 'integer',
  sequence: 'bigint',
  position: 'bigint',
  waiting: 'bigint',
}
const castOf = (column: string): string => {
  const type = casts[column] ?? (column.endsWith('_ms') ? 'bigint' : undefined)
  return type === undefined ? '' : `::text::${type}`
}

export const createParking = (s: string): Parking => {
  const parkedOfKeys = statement(
    `SELECT key FROM ${s}.parked WHERE EXISTS (SELECT 1 FROM ${s}.parked WHERE consumer = $1 AND source = $2)
       AND consumer = $3 AND source = $4 AND key = ANY ($5::text::text[])`,
  )
  const put = statement(
    `INSERT INTO ${s}.parked (${inserted.join(', ')}) VALUES (${inserted.map((column, n) => `$${n + 1}${castOf(column)}`).join(', ')})
     ON CONFLICT (consumer, source, key) DO UPDATE SET ${inserted
       .slice(3)
       .map((column) => `${column} = excluded.${column}`)
       .join(', ')}`,
  )
  // In the order of the keys, as everything locks them.
  const addWaiting = statement(
    `WITH given AS (SELECT * FROM unnest($1::text::text[], $2::text::bigint[]) AS g (key, waiting)),
     locked AS (
       SELECT p.key FROM ${s}.parked p WHERE consumer = $3 AND source = $4 AND key IN (SELECT key FROM given) ORDER BY key FOR UPDATE
     )
     UPDATE ${s}.parked p SET waiting = p.waiting + g.waiting FROM given g JOIN locked l ON l.key = g.key
     WHERE p.consumer = $5 AND p.source = $6 AND p.key = g.key`,
  )
  const get = statement(`SELECT ${parkedColumns} FROM ${s}.parked WHERE consumer = $1 AND source = $2 AND key = $3`)
  const nextDue = statement(
    `SELECT min(next_ms) FROM ${s}.parked WHERE consumer = $1 AND source = $2 AND status = 'retrying'`,
  )
  return {
    oldestNeeded: async (session, source, consumer) => {
      const row =
        consumer === undefined
          ? await on(session).row(statement(`SELECT min(position) FROM ${s}.parked WHERE source = $1`), [source])
          : await on(session).row(
              statement(`SELECT min(position) FROM ${s}.parked WHERE source = $1 AND consumer = $2`),
              [source, consumer],
            )
      return row?.[0] === null || row === undefined ? undefined : Number(row[0])
    },

    parkedOf: async (session, consumer, source, keys) => {
      const rows = await on(session).rows(parkedOfKeys, [consumer, source, consumer, source, textArray(keys)])
      return new Set(rows.map(([key]) => String(key)))
    },

    get: async (session, consumer, source, key) => {
      const row = await on(session).row(get, [consumer, source, key])
      return row === undefined ? undefined : parkedOf(row)
    },

    put: async (session, parked) => {
      const values: Record<string, string | null> = {
        ...Object.fromEntries(
          Object.entries(parked).map(([column, value]) => [column, value === null ? null : String(value)]),
        ),
        error: JSON.stringify(parked.error),
        fingerprint: parked.error.fingerprint,
        edited: parked.edited === null ? null : JSON.stringify(parked.edited),
      }
      await writing(session).run(
        put,
        inserted.map((column) => values[column] ?? null),
      )
    },

    addWaiting: async (session, consumer, source, waiting) => {
      const { count } = await writing(session).run(addWaiting, [
        textArray([...waiting.keys()]),
        plainArray([...waiting.values()]),
        consumer,
        source,
        consumer,
        source,
      ])
      return count === waiting.size
    },

    remove: async (session, consumer, source, key) => {
      await writing(session).run(
        statement(`DELETE FROM ${s}.parked WHERE consumer = $1 AND source = $2 AND key = $3`),
        [consumer, source, key],
      )
    },

    due: async (session, { consumer, source, lane }, nowMs, limit) =>
      (
        await on(session).rows(
          statement(
            `SELECT ${parkedColumns} FROM ${s}.parked WHERE consumer = $1 AND source = $2 AND status = 'retrying'
               AND next_ms <= $3::text::bigint AND lane = $4::text::integer ORDER BY next_ms LIMIT $5::text::integer`,
          ),
          [consumer, source, String(nowMs), String(lane), String(limit)],
        )
      ).map(parkedOf),

    nextDueMs: async (session, consumer, source) => {
      const row = await on(session).row(nextDue, [consumer, source])
      return row === undefined || row[0] === null ? undefined : Number(row[0])
    },

    list: async (session, filter, limit) => {
      const { sql, values } = condition(filter)
      const rows = await on(session).rows(
        statement(
          `SELECT ${parkedColumns} FROM ${s}.parked WHERE ${sql} ORDER BY last_failed_ms DESC, consumer, key LIMIT $${values.length + 1}::text::integer`,
        ),
        [...values, String(limit)],
      )
      return rows.map(parkedOf)
    },

    count: async (session, filter) => {
      const { sql, values } = condition(filter)
      const row = await on(session).row(
        statement(
          `SELECT count(*), coalesce(sum(waiting), 0)::bigint, coalesce(max(waiting), 0) FROM ${s}.parked WHERE ${sql}`,
        ),
        values,
      )
      return { keys: Number(row![0]), waiting: Number(row![1]), mostWaiting: Number(row![2]) }
    },

    groups: async (session, filter) => {
      const { sql, values } = condition(filter)
      const rows = await on(session).rows(
        statement(
          `SELECT consumer, source, status, fingerprint, count(*), sum(waiting)::bigint, min(first_failed_ms), max(last_failed_ms)
           FROM ${s}.parked WHERE ${sql} GROUP BY consumer, source, status, fingerprint
           ORDER BY count(*) + sum(waiting) DESC, consumer, source, fingerprint COLLATE "C"`,
        ),
        values,
      )
      return rows.map(
        (row): ParkedGroup => ({
          consumer: String(row[0]),
          source: String(row[1]),
          status: row[2] as ParkedGroup['status'],
          fingerprint: String(row[3]),
          keys: Number(row[4]),
          waiting: Number(row[5]),
          first_failed_ms: Number(row[6]),
          last_failed_ms: Number(row[7]),
        }),
      )
    },

    retry: async (session, filter, nowMs) => {
      const { sql, values } = condition({ ...filter, status: 'dead' }, 2)
      const { count } = await writing(session).run(
        statement(`UPDATE ${s}.parked SET status = 'retrying', next_ms = $1::text::bigint, attempts = 0 WHERE ${sql}`),
        [String(nowMs), ...values],
      )
      return count
    },

    skip: async (session, { consumer, source, event_id, key, sequence, type, reason, by, at_ms }) => {
      const own = writing(session)
      const { count } = await own.run(
        statement(
          `INSERT INTO ${s}.skipped (${skippedColumns}) VALUES ($1, $2, $3, $4, $5::text::bigint, $6, $7, $8, $9::text::bigint) ON CONFLICT DO NOTHING`,
        ),
        [consumer, source, event_id, key, String(sequence), type, reason, by, String(at_ms)],
      )
      if (count === 1)
        await own.run(statement(`UPDATE ${s}.consumer SET skipped = skipped + 1 WHERE name = $1`), [consumer])
    },

    skipped: async (session, consumer, limit) => {
      const sql = consumer === undefined ? 'true' : 'consumer = $1'
      const values = consumer === undefined ? [] : [consumer]
      const rows = await on(session).rows(
        statement(
          `SELECT ${skippedColumns} FROM ${s}.skipped WHERE ${sql} ORDER BY at_ms DESC LIMIT $${values.length + 1}::text::integer`,
        ),
        [...values, String(limit)],
      )
      return rows.map(skippedOf)
    },

    skippedOf: async (session, consumer, source, eventId) => {
      const row = await on(session).row(
        statement(`SELECT ${skippedColumns} FROM ${s}.skipped WHERE consumer = $1 AND source = $2 AND event_id = $3`),
        [consumer, source, eventId],
      )
      return row === undefined ? undefined : skippedOf(row)
    },
  }
}
