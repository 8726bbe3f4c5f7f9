/** Consumers, their cursors and leases on Postgres. Epoch, owner and place are the fence: a stale owner moves nothing (P4, P5). */

import type { Environment } from '../../core/environment.ts'
import { PabalError } from '../../core/errors.ts'
import type { ConsumerRow, CursorId, CursorRow, Cursors } from '../store.ts'
import { plainArray, textArray } from './arrays.ts'
import { on, type Row, statement, type Value, writing } from './connection.ts'
import { goneSql } from './owner.ts'

const consumerColumns =
  'name, effects, state, reason, lanes, types, created_ms, skipped, breaker_until_ms, breaker_error'
const cursorColumns =
  'consumer, source, lane, position, start_position, event_id, incarnation, epoch, owner, until_ms, stalls, late, wisher, wish_until_ms'

const textOf = (value: Value | undefined): string | null =>
  value === null || value === undefined ? null : String(value)
const numberOf = (value: Value | undefined): number | null =>
  value === null || value === undefined ? null : Number(value)

const consumerOf = (row: Row): ConsumerRow => ({
  name: String(row[0]),
  effects: row[1] as ConsumerRow['effects'],
  state: row[2] as ConsumerRow['state'],
  reason: textOf(row[3]),
  lanes: Number(row[4]),
  types: JSON.parse(String(row[5])) as string[],
  created_ms: Number(row[6]),
  skipped: Number(row[7]),
  breaker_until_ms: numberOf(row[8]),
  breaker_error: textOf(row[9]),
})

const cursorOf = (row: Row): CursorRow => ({
  consumer: String(row[0]),
  source: String(row[1]),
  lane: Number(row[2]),
  position: Number(row[3]),
  start_position: Number(row[4]),
  event_id: textOf(row[5]),
  incarnation: String(row[6]),
  epoch: Number(row[7]),
  owner: textOf(row[8]),
  until_ms: Number(row[9]),
  stalls: Number(row[10]),
  late: Number(row[11]),
  wisher: textOf(row[12]),
  wish_until_ms: Number(row[13]),
})

/** The tables that name a consumer. */
const consumerTables = ['cursor', 'edition', 'member', 'inbox', 'parked', 'skipped'] as const

/** The server's clock decides leases. */
const nowMs = `(extract(epoch FROM clock_timestamp()) * 1000)::bigint`

/** Of the rows that were moved, the lanes that somebody wishes for; undefined when there are fewer than there should be. */
const wishedOf = (moved: readonly Row[], all: number): readonly number[] | undefined =>
  moved.length === all ? moved.flatMap(([lane]) => (lane === null ? [] : [Number(lane)])) : undefined

const settable = new Set(['state', 'reason', 'breaker_until_ms', 'breaker_error'])

export const createCursors = (s: string, owner: string, environment: Environment): Cursors => {
  const at = (first: number) =>
    `consumer = $${first} AND source = $${first + 1} AND lane = $${first + 2}::text::integer`
  const idOf = ({ consumer, source, lane }: CursorId): [string, string, string] => [consumer, source, String(lane)]

  const claim = statement(
    `WITH free AS (
       SELECT consumer, source, lane FROM ${s}.cursor WHERE ${at(1)}
         AND (owner = $4 OR (owner IS NULL OR until_ms < ${nowMs} OR ${goneSql('owner')})
           AND (wisher IS NULL OR wisher = $5 OR wish_until_ms < ${nowMs}))
       FOR UPDATE SKIP LOCKED
     )
     UPDATE ${s}.cursor c SET owner = $6, until_ms = ${nowMs} + $7::text::bigint, epoch = epoch + 1, stalls = stalls + 1,
       wisher = NULL, wish_until_ms = 0
     FROM free WHERE c.consumer = free.consumer AND c.source = free.source AND c.lane = free.lane RETURNING ${cursorColumns.replaceAll(/(\w+)/g, 'c.$1')}`,
  )
  const moveOne = statement(
    `UPDATE ${s}.cursor SET position = $1::text::bigint, event_id = $2, incarnation = $3, until_ms = ${nowMs} + $4::text::bigint, stalls = $5::text::integer
     WHERE ${at(6)} AND epoch = $9::text::bigint AND owner = $10 AND position = $11::text::bigint
     RETURNING CASE WHEN wish_until_ms >= ${nowMs} THEN lane END`,
  )
  const moveAll = statement(
    `UPDATE ${s}.cursor c SET position = m.position, event_id = m.event_id, incarnation = m.incarnation,
       until_ms = ${nowMs} + $1::text::bigint, stalls = $2::text::integer
     FROM unnest($3::text::integer[], $4::text::bigint[], $5::text::bigint[], $6::text::bigint[], $7::text::text[], $8::text::text[])
       AS m (lane, epoch, at, position, event_id, incarnation)
     WHERE c.consumer = $9 AND c.source = $10 AND c.lane = m.lane AND c.epoch = m.epoch AND c.owner = $11 AND c.position = m.at
     RETURNING CASE WHEN c.wish_until_ms >= ${nowMs} THEN c.lane END`,
  )
  const hold = statement(
    `UPDATE ${s}.cursor SET until_ms = ${nowMs} + $1::text::bigint WHERE ${at(2)} AND epoch = $5::text::bigint AND owner = $6 RETURNING position`,
  )
  const holders = statement(
    `SELECT lane, CASE WHEN owner = $1 OR max(until_ms) OVER (PARTITION BY owner) >= ${nowMs} THEN owner END,
       CASE WHEN wish_until_ms >= ${nowMs} THEN wisher END
     FROM ${s}.cursor WHERE consumer = $2 AND source = $3 ORDER BY lane`,
  )
  // An owner is at its rows with each batch: it is not waited for, and the next wish will find them.
  const wish = statement(
    `WITH others AS (
       SELECT consumer, source, lane FROM ${s}.cursor
       WHERE consumer = $1 AND source = $2 AND lane = ANY ($3::text::integer[]) AND owner IS DISTINCT FROM $4
         AND (wisher IS NULL OR wisher = $5 OR wish_until_ms < ${nowMs})
       FOR UPDATE SKIP LOCKED
     )
     UPDATE ${s}.cursor c SET wisher = $6, wish_until_ms = ${nowMs} + $7::text::bigint
     FROM others WHERE c.consumer = others.consumer AND c.source = others.source AND c.lane = others.lane`,
  )
  const consumers = statement(`SELECT ${consumerColumns} FROM ${s}.consumer ORDER BY name`)
  const consumer = statement(`SELECT ${consumerColumns} FROM ${s}.consumer WHERE name = $1`)
  const cursors = statement(`SELECT ${cursorColumns} FROM ${s}.cursor ORDER BY consumer, source, lane`)
  const cursorsOf = statement(`SELECT ${cursorColumns} FROM ${s}.cursor WHERE consumer = $1 ORDER BY source, lane`)

  return {
    consumers: async (session) => (await on(session).rows(consumers, [])).map(consumerOf),

    consumer: async (session, name) => {
      const row = await on(session).row(consumer, [name])
      return row === undefined ? undefined : consumerOf(row)
    },

    register: async (session, { name, effects, lanes, types }) =>
      consumerOf(
        (await writing(session).row(
          statement(
            `INSERT INTO ${s}.consumer AS c (name, effects, lanes, types, created_ms) VALUES ($1, $2, $3::text::integer, $4, $5::text::bigint)
             ON CONFLICT (name) DO UPDATE SET effects = excluded.effects, types = excluded.types RETURNING ${consumerColumns}`,
          ),
          [name, effects, String(lanes), JSON.stringify(types), String(environment.now())],
        ))!,
      ),

    update: async (session, name, change) => {
      const entries = Object.entries(change).filter(([column]) => settable.has(column))
      if (entries.length === 0) return
      const sets = entries.map(
        ([column], n) => `${column} = $${n + 1}${column.endsWith('_ms') ? '::text::bigint' : ''}`,
      )
      await writing(session).run(
        statement(`UPDATE ${s}.consumer SET ${sets.join(', ')} WHERE name = $${entries.length + 1}`),
        [...entries.map(([, value]) => (value === null || value === undefined ? null : String(value))), name],
      )
    },

    rename: async (session, from, to) => {
      const own = writing(session)
      if ((await own.row(consumer, [to])) !== undefined)
        throw new PabalError('PABAL_CONSUMER_NAME_TAKEN', `a consumer '${to}' is registered already`)
      await own.run(statement(`UPDATE ${s}.consumer SET name = $1 WHERE name = $2`), [to, from])
      for (const table of consumerTables)
        await own.run(statement(`UPDATE ${s}.${table} SET consumer = $1 WHERE consumer = $2`), [to, from])
    },

    cursors: async (session, name) =>
      (name === undefined ? await on(session).rows(cursors, []) : await on(session).rows(cursorsOf, [name])).map(
        cursorOf,
      ),

    create: async (session, id, start) => {
      const position = String(start.position)
      await writing(session).run(
        statement(
          `INSERT INTO ${s}.cursor (consumer, source, lane, position, start_position, late, event_id, incarnation)
           VALUES ($1, $2, $3::text::integer, $4::text::bigint, $5::text::bigint, $6::text::bigint, $7, $8) ON CONFLICT DO NOTHING`,
        ),
        [...idOf(id), position, position, position, start.eventId, start.incarnation],
      )
    },

    late: async (session, id, position) => {
      await writing(session).run(statement(`UPDATE ${s}.cursor SET late = $1::text::bigint WHERE ${at(2)}`), [
        String(position),
        ...idOf(id),
      ])
    },

    claim: async (session, id, leaseMs) => {
      const row = await writing(session).row(claim, [...idOf(id), owner, owner, owner, String(leaseMs)])
      // For this process by its own clock.
      return row === undefined ? undefined : { ...cursorOf(row), until_ms: environment.now() + leaseMs }
    },

    move: async (session, { consumer: name, source }, moves, { leaseMs, stalls }) => {
      const own = writing(session)
      const [only] = moves
      if (moves.length === 1 && only !== undefined) {
        const { lane, epoch, from, to } = only
        const values = [String(to.position), to.eventId, to.incarnation, String(leaseMs), String(stalls)]
        const fence = [name, source, String(lane), String(epoch), owner, String(from)]
        return wishedOf(await own.rows(moveOne, [...values, ...fence]), 1)
      }
      const moved = await own.rows(moveAll, [
        String(leaseMs),
        String(stalls),
        plainArray(moves.map(({ lane }) => lane)),
        plainArray(moves.map(({ epoch }) => epoch)),
        plainArray(moves.map(({ from }) => from)),
        plainArray(moves.map(({ to }) => to.position)),
        textArray(moves.map(({ to }) => to.eventId)),
        textArray(moves.map(({ to }) => to.incarnation)),
        name,
        source,
        owner,
      ])
      return wishedOf(moved, moves.length)
    },

    hold: async (session, id, epoch, leaseMs) => {
      const row = await writing(session).row(hold, [String(leaseMs), ...idOf(id), String(epoch), owner])
      return row === undefined ? undefined : Number(row[0])
    },

    holders: async (session, { consumer: name, source }) =>
      (await on(session).rows(holders, [owner, name, source])).map(([lane, holder, wisher]) => ({
        lane: Number(lane),
        owner: textOf(holder),
        wisher: textOf(wisher),
      })),

    wish: (session, { consumer: name, source }, lanes, wishMs) =>
      // COMMIT travels with it: a process that is frozen behind it holds up nobody's rows.
      writing(session).defer(wish, [name, source, plainArray(lanes), owner, owner, owner, String(wishMs)], () => {}),

    release: async (session, id, epoch, stalls = 0) => {
      await writing(session).run(
        statement(
          `UPDATE ${s}.cursor SET owner = NULL, until_ms = 0, stalls = $6::text::integer WHERE ${at(1)} AND epoch = $4::text::bigint AND owner = $5`,
        ),
        [...idOf(id), String(epoch), owner, String(stalls)],
      )
    },

    revoke: async (session, name) => {
      await writing(session).run(
        statement(`UPDATE ${s}.cursor SET owner = NULL, until_ms = 0, epoch = epoch + 1 WHERE consumer = $1`),
        [name],
      )
    },

    reset: async (session, name, source, to) => {
      const own = writing(session)
      await own.run(
        statement(
          `UPDATE ${s}.cursor SET position = $1::text::bigint, start_position = least(start_position, $2::text::bigint), event_id = $3, incarnation = $4,
             owner = NULL, until_ms = 0, stalls = 0, epoch = epoch + 1 WHERE consumer = $5 AND source = $6`,
        ),
        [String(to.position), String(to.position), to.eventId, to.incarnation, name, source],
      )
      for (const table of ['parked', 'inbox'])
        await own.run(statement(`DELETE FROM ${s}.${table} WHERE consumer = $1 AND source = $2`), [name, source])
    },

    remove: async (session, name) => {
      const own = writing(session)
      for (const table of consumerTables)
        await own.run(statement(`DELETE FROM ${s}.${table} WHERE consumer = $1`), [name])
      await own.run(statement(`DELETE FROM ${s}.consumer WHERE name = $1`), [name])
    },
  }
}
