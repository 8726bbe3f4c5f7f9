/** Timers on Postgres. */

import type { Timers } from '../store.ts'
import { on, statement, writing } from './connection.ts'

export const createTimers = (s: string): Timers => ({
  set: async (session, { id, due_ms, owner, key, payload }) => {
    await writing(session).run(
      statement(
        `INSERT INTO ${s}.timer (id, due_ms, owner, key, payload) VALUES ($1, $2::text::bigint, $3, $4, $5)
         ON CONFLICT (id) DO UPDATE SET due_ms = excluded.due_ms, owner = excluded.owner, key = excluded.key, payload = excluded.payload`,
      ),
      [id, String(due_ms), owner, key, payload],
    )
  },

  cancel: async (session, id) =>
    (await writing(session).run(statement(`DELETE FROM ${s}.timer WHERE id = $1`), [id])).count === 1,

  due: async (session, owner, nowMs, limit) => {
    const rows = await on(session).rows(
      statement(
        `SELECT id, due_ms, owner, key, payload FROM ${s}.timer WHERE owner = $1 AND due_ms <= $2::text::bigint
         ORDER BY due_ms, id LIMIT $3::text::integer`,
      ),
      [owner, String(nowMs), String(limit)],
    )
    return rows.map((row) => ({
      id: String(row[0]),
      due_ms: Number(row[1]),
      owner: String(row[2]),
      key: String(row[3]),
      payload: String(row[4]),
    }))
  },

  nextDueMs: async (session, owner) => {
    const row = await on(session).row(statement(`SELECT min(due_ms) FROM ${s}.timer WHERE owner = $1`), [owner])
    return row === undefined || row[0] === null ? undefined : Number(row[0])
  },
})
