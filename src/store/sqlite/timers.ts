/** Timers on SQLite. */

import type { Timer, Timers } from '../store.ts'
import { on } from './connection.ts'

export const createTimers = (p: string): Timers => ({
  set: (session, { id, due_ms, owner, key, payload }) =>
    void on(session)
      .prepare(
        `INSERT INTO ${p}timer (id, due_ms, owner, key, payload) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET due_ms = excluded.due_ms, owner = excluded.owner, key = excluded.key, payload = excluded.payload`,
      )
      .run(id, due_ms, owner, key, payload),

  cancel: (session, id) => on(session).prepare(`DELETE FROM ${p}timer WHERE id = ?`).run(id).changes === 1,

  due: (session, owner, nowMs, limit) =>
    on(session)
      .prepare(`SELECT * FROM ${p}timer WHERE owner = ? AND due_ms <= ? ORDER BY due_ms, id LIMIT ?`)
      .all(owner, nowMs, limit) as unknown as Timer[],

  nextDueMs: (session, owner) => {
    const row = on(session).prepare(`SELECT min(due_ms) AS next FROM ${p}timer WHERE owner = ?`).get(owner)
    return row?.['next'] === null ? undefined : Number(row?.['next'])
  },
})
