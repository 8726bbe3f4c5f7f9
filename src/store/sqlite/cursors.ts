/** Consumers, their cursors and leases on SQLite. The epoch is the fence: a stale owner moves nothing (P4, P5). */

import type { Environment } from '../../core/environment.ts'
import { PabalError } from '../../core/errors.ts'
import type { ConsumerRow, CursorRow, Cursors, LaneHolder } from '../store.ts'
import { on } from './connection.ts'
import { isGone } from './owner.ts'

const consumerOf = (row: Record<string, unknown>): ConsumerRow =>
  ({ ...row, types: JSON.parse(String(row['types'])) as string[] }) as unknown as ConsumerRow

/** The tables that name a consumer. */
const consumerTables = ['cursor', 'edition', 'member', 'inbox', 'parked', 'skipped'] as const

export const createCursors = (p: string, owner: string, environment: Environment): Cursors => {
  const where = 'WHERE consumer = ? AND source = ? AND lane = ?'
  const get = `SELECT * FROM ${p}cursor ${where}`
  return {
    consumers: (session) => on(session).prepare(`SELECT * FROM ${p}consumer ORDER BY name`).all().map(consumerOf),

    consumer: (session, name) => {
      const row = on(session).prepare(`SELECT * FROM ${p}consumer WHERE name = ?`).get(name)
      return row === undefined ? undefined : consumerOf(row)
    },

    register: (session, { name, effects, lanes, types }) =>
      consumerOf(
        on(session)
          .prepare(
            `INSERT INTO ${p}consumer (name, effects, lanes, types, created_ms) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT (name) DO UPDATE SET effects = excluded.effects, types = excluded.types RETURNING *`,
          )
          .get(name, effects, lanes, JSON.stringify(types), environment.now())!,
      ),

    update: (session, name, change) => {
      const entries = Object.entries(change)
      if (entries.length === 0) return
      on(session)
        .prepare(`UPDATE ${p}consumer SET ${entries.map(([column]) => `${column} = ?`).join(', ')} WHERE name = ?`)
        .run(...entries.map(([, value]) => value), name)
    },

    rename: (session, from, to) => {
      const connection = on(session)
      if (connection.prepare(`SELECT 1 FROM ${p}consumer WHERE name = ?`).get(to) !== undefined)
        throw new PabalError('PABAL_CONSUMER_NAME_TAKEN', `a consumer '${to}' is registered already`)
      connection.prepare(`UPDATE ${p}consumer SET name = ? WHERE name = ?`).run(to, from)
      for (const table of consumerTables)
        connection.prepare(`UPDATE ${p}${table} SET consumer = ? WHERE consumer = ?`).run(to, from)
    },

    cursors: (session, consumer) =>
      (consumer === undefined
        ? on(session).prepare(`SELECT * FROM ${p}cursor ORDER BY consumer, source, lane`).all()
        : on(session)
            .prepare(`SELECT * FROM ${p}cursor WHERE consumer = ? ORDER BY source, lane`)
            .all(consumer)) as unknown as CursorRow[],

    create: (session, { consumer, source, lane }, start) =>
      void on(session)
        .prepare(
          `INSERT OR IGNORE INTO ${p}cursor (consumer, source, lane, position, start_position, late, event_id, incarnation) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
        )
        .run(consumer, source, lane, start.position, start.position, start.position, start.eventId, start.incarnation),

    late: (session, { consumer, source, lane }, position) =>
      void on(session).prepare(`UPDATE ${p}cursor SET late = ? ${where}`).run(position, consumer, source, lane),

    claim: (session, { consumer, source, lane }, leaseMs) => {
      const connection = on(session)
      const row = connection.prepare(get).get(consumer, source, lane) as CursorRow | undefined
      if (row === undefined) return undefined
      const nowMs = environment.now()
      const free = row.owner === null || row.until_ms < nowMs || isGone(row.owner)
      const promised = row.wisher !== null && row.wisher !== owner && row.wish_until_ms >= nowMs
      if (row.owner !== owner && (!free || promised)) return undefined
      return connection
        .prepare(
          `UPDATE ${p}cursor SET owner = ?, until_ms = ?, epoch = epoch + 1, stalls = stalls + 1,
             wisher = NULL, wish_until_ms = 0 ${where} RETURNING *`,
        )
        .get(owner, nowMs + leaseMs, consumer, source, lane) as unknown as CursorRow
    },

    move: (session, { consumer, source }, moves, { leaseMs, stalls }) => {
      const statement = on(session).prepare(
        `UPDATE ${p}cursor SET position = ?, event_id = ?, incarnation = ?, until_ms = ?, stalls = ? ${where} AND epoch = ? AND owner = ? AND position = ? RETURNING wish_until_ms`,
      )
      const nowMs = environment.now()
      const wished: number[] = []
      for (const { lane, epoch, from, to } of moves) {
        const place = [to.position, to.eventId, to.incarnation, nowMs + leaseMs, stalls]
        const row = statement.get(...place, consumer, source, lane, epoch, owner, from)
        if (row === undefined) return undefined
        if (Number(row['wish_until_ms']) >= nowMs) wished.push(lane)
      }
      return wished
    },

    hold: (session, { consumer, source, lane }, epoch, leaseMs) => {
      const row = on(session)
        .prepare(`UPDATE ${p}cursor SET until_ms = ? ${where} AND epoch = ? AND owner = ? RETURNING position`)
        .get(environment.now() + leaseMs, consumer, source, lane, epoch, owner)
      return row === undefined ? undefined : Number(row['position'])
    },

    holders: (session, { consumer, source }) => {
      const nowMs = environment.now()
      return on(session)
        .prepare(
          `SELECT lane, CASE WHEN owner = ? OR max(until_ms) OVER (PARTITION BY owner) >= ? THEN owner END AS owner,
             CASE WHEN wish_until_ms >= ? THEN wisher END AS wisher
           FROM ${p}cursor WHERE consumer = ? AND source = ? ORDER BY lane`,
        )
        .all(owner, nowMs, nowMs, consumer, source) as unknown as LaneHolder[]
    },

    wish: (session, { consumer, source }, lanes, wishMs) => {
      const nowMs = environment.now()
      const statement = on(session).prepare(
        `UPDATE ${p}cursor SET wisher = ?, wish_until_ms = ? ${where} AND owner IS NOT ?
           AND (wisher IS NULL OR wisher = ? OR wish_until_ms < ?)`,
      )
      for (const lane of lanes) statement.run(owner, nowMs + wishMs, consumer, source, lane, owner, owner, nowMs)
    },

    release: (session, { consumer, source, lane }, epoch, stalls = 0) =>
      void on(session)
        .prepare(`UPDATE ${p}cursor SET owner = NULL, until_ms = 0, stalls = ? ${where} AND epoch = ? AND owner = ?`)
        .run(stalls, consumer, source, lane, epoch, owner),

    revoke: (session, consumer) =>
      void on(session)
        .prepare(`UPDATE ${p}cursor SET owner = NULL, until_ms = 0, epoch = epoch + 1 WHERE consumer = ?`)
        .run(consumer),

    reset: (session, consumer, source, to) => {
      const connection = on(session)
      connection
        .prepare(
          `UPDATE ${p}cursor SET position = ?, start_position = min(start_position, ?), event_id = ?, incarnation = ?,
             owner = NULL, until_ms = 0, stalls = 0, epoch = epoch + 1 WHERE consumer = ? AND source = ?`,
        )
        .run(to.position, to.position, to.eventId, to.incarnation, consumer, source)
      for (const table of ['parked', 'inbox'])
        connection.prepare(`DELETE FROM ${p}${table} WHERE consumer = ? AND source = ?`).run(consumer, source)
    },

    remove: (session, consumer) => {
      for (const table of consumerTables)
        on(session).prepare(`DELETE FROM ${p}${table} WHERE consumer = ?`).run(consumer)
      on(session).prepare(`DELETE FROM ${p}consumer WHERE name = ?`).run(consumer)
    },
  }
}
