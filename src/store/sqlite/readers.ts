/** Readers of a log in other databases, on SQLite. */

import type { Environment } from '../../core/environment.ts'
import type { Reader, Readers } from '../store.ts'
import { on } from './connection.ts'

export const createReaders = (p: string, environment: Environment): Readers => ({
  report: (session, name, position) =>
    void on(session)
      .prepare(
        `INSERT INTO ${p}reader (name, position, seen_ms) VALUES (?, ?, ?)
         ON CONFLICT (name) DO UPDATE SET position = excluded.position, seen_ms = excluded.seen_ms`,
      )
      .run(name, position, environment.now()),

  list: (session) => on(session).prepare(`SELECT * FROM ${p}reader ORDER BY name`).all() as unknown as Reader[],

  forget: (session, name) => void on(session).prepare(`DELETE FROM ${p}reader WHERE name = ?`).run(name),
})
