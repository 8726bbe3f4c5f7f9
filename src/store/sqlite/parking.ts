/** Parked keys on SQLite: one row per key; what waits behind it is read again from the log. */

import type { SQLInputValue } from 'node:sqlite'
import type { ParkedFilter, ParkedGroup, ParkedKey, Parking, SkippedEvent } from '../store.ts'
import { on } from './connection.ts'

const parkedOf = (row: Record<string, unknown>): ParkedKey => {
  const {
    error,
    edited,
    fingerprint: _,
    ...rest
  } = row as { error: string; edited: string | null; fingerprint: string }
  return {
    ...rest,
    error: JSON.parse(error) as ParkedKey['error'],
    edited: edited === null ? null : (JSON.parse(edited) as ParkedKey['edited']),
  } as unknown as ParkedKey
}

const condition = (filter: ParkedFilter): { sql: string; values: SQLInputValue[] } => {
  const present = Object.entries(filter).filter((pair): pair is [string, string] => pair[1] !== undefined)
  return {
    sql: present.length === 0 ? 'true' : present.map(([column]) => `${column} = ?`).join(' AND '),
    values: present.map(([, value]) => value),
  }
}

export const createParking = (p: string): Parking => {
  const id = 'consumer = ? AND source = ? AND key = ?'
  return {
    oldestNeeded: (session, source, consumer) => {
      const row = on(session)
        .prepare(
          `SELECT min(position) AS position FROM ${p}parked WHERE source = ? AND consumer = coalesce(?, consumer)`,
        )
        .get(source, consumer ?? null)
      return row?.['position'] === null ? undefined : Number(row?.['position'])
    },

    parkedOf: (session, consumer, source, keys) => {
      if (
        on(session)
          .prepare(`SELECT 1 FROM ${p}parked WHERE consumer = ? AND source = ? LIMIT 1`)
          .get(consumer, source) === undefined
      )
        return new Set()
      const rows = on(session)
        .prepare(
          `SELECT key FROM ${p}parked WHERE consumer = ? AND source = ? AND key IN (SELECT value FROM json_each(?))`,
        )
        .all(consumer, source, JSON.stringify(keys))
      return new Set(rows.map((row) => String(row['key'])))
    },

    get: (session, consumer, source, key) => {
      const row = on(session).prepare(`SELECT * FROM ${p}parked WHERE ${id}`).get(consumer, source, key)
      return row === undefined ? undefined : parkedOf(row)
    },

    put: (session, parked) =>
      void on(session)
        .prepare(
          `INSERT INTO ${p}parked (consumer, source, key, lane, status, sequence, position, event_id, type, attempts, next_ms, error, fingerprint, first_failed_ms, last_failed_ms, waiting, edited)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
           ON CONFLICT DO UPDATE SET lane = excluded.lane, status = excluded.status, sequence = excluded.sequence, position = excluded.position,
             event_id = excluded.event_id, type = excluded.type, attempts = excluded.attempts, next_ms = excluded.next_ms, error = excluded.error,
             fingerprint = excluded.fingerprint, first_failed_ms = excluded.first_failed_ms, last_failed_ms = excluded.last_failed_ms,
             waiting = excluded.waiting, edited = excluded.edited`,
        )
        .run(
          parked.consumer,
          parked.source,
          parked.key,
          parked.lane,
          parked.status,
          parked.sequence,
          parked.position,
          parked.event_id,
          parked.type,
          parked.attempts,
          parked.next_ms,
          JSON.stringify(parked.error),
          parked.error.fingerprint,
          parked.first_failed_ms,
          parked.last_failed_ms,
          parked.waiting,
          parked.edited === null ? null : JSON.stringify(parked.edited),
        ),

    addWaiting: (session, consumer, source, waiting) => {
      const statement = on(session).prepare(`UPDATE ${p}parked SET waiting = waiting + ? WHERE ${id}`)
      let parked = true
      for (const [key, count] of waiting) if (statement.run(count, consumer, source, key).changes === 0) parked = false
      return parked
    },

    remove: (session, consumer, source, key) =>
      void on(session).prepare(`DELETE FROM ${p}parked WHERE ${id}`).run(consumer, source, key),

    due: (session, { consumer, source, lane }, nowMs, limit) =>
      on(session)
        .prepare(
          `SELECT * FROM ${p}parked WHERE consumer = ? AND source = ? AND status = 'retrying' AND next_ms <= ? AND lane = ? ORDER BY next_ms LIMIT ?`,
        )
        .all(consumer, source, nowMs, lane, limit)
        .map(parkedOf),

    nextDueMs: (session, consumer, source) => {
      const row = on(session)
        .prepare(
          `SELECT min(next_ms) AS next FROM ${p}parked WHERE consumer = ? AND source = ? AND status = 'retrying'`,
        )
        .get(consumer, source)
      return row?.['next'] === null ? undefined : Number(row?.['next'])
    },

    list: (session, filter, limit) => {
      const { sql, values } = condition(filter)
      return on(session)
        .prepare(`SELECT * FROM ${p}parked WHERE ${sql} ORDER BY last_failed_ms DESC, consumer, key LIMIT ?`)
        .all(...values, limit)
        .map(parkedOf)
    },

    count: (session, filter) => {
      const { sql, values } = condition(filter)
      const row = on(session)
        .prepare(
          `SELECT count(*) AS keys, coalesce(sum(waiting), 0) AS waiting, coalesce(max(waiting), 0) AS mostWaiting FROM ${p}parked WHERE ${sql}`,
        )
        .get(...values)
      return {
        keys: Number(row?.['keys']),
        waiting: Number(row?.['waiting']),
        mostWaiting: Number(row?.['mostWaiting']),
      }
    },

    groups: (session, filter) => {
      const { sql, values } = condition(filter)
      return on(session)
        .prepare(
          `SELECT consumer, source, status, fingerprint, count(*) AS keys, sum(waiting) AS waiting,
             min(first_failed_ms) AS first_failed_ms, max(last_failed_ms) AS last_failed_ms
           FROM ${p}parked WHERE ${sql} GROUP BY consumer, source, status, fingerprint
           ORDER BY count(*) + sum(waiting) DESC, consumer, source, fingerprint`,
        )
        .all(...values) as unknown as ParkedGroup[]
    },

    retry: (session, filter, nowMs) => {
      const { sql, values } = condition({ ...filter, status: 'dead' })
      return Number(
        on(session)
          .prepare(`UPDATE ${p}parked SET status = 'retrying', next_ms = ?, attempts = 0 WHERE ${sql}`)
          .run(nowMs, ...values).changes,
      )
    },

    skip: (session, { consumer, source, event_id, key, sequence, type, reason, by, at_ms }) => {
      const connection = on(session)
      const { changes } = connection
        .prepare(
          `INSERT OR IGNORE INTO ${p}skipped (consumer, source, event_id, key, sequence, type, reason, by, at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
        )
        .run(consumer, source, event_id, key, sequence, type, reason, by, at_ms)
      if (changes === 1)
        connection.prepare(`UPDATE ${p}consumer SET skipped = skipped + 1 WHERE name = ?`).run(consumer)
    },

    skipped: (session, consumer, limit) =>
      on(session)
        .prepare(`SELECT * FROM ${p}skipped WHERE consumer = coalesce(?, consumer) ORDER BY at_ms DESC LIMIT ?`)
        .all(consumer ?? null, limit) as unknown as SkippedEvent[],

    skippedOf: (session, consumer, source, eventId) =>
      on(session)
        .prepare(`SELECT * FROM ${p}skipped WHERE consumer = ? AND source = ? AND event_id = ?`)
        .get(consumer, source, eventId) as SkippedEvent | undefined,
  }
}
