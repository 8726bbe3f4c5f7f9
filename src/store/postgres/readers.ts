/** Readers of a log in other databases, on Postgres. */

import type { Environment } from '../../core/environment.ts'
import type { Readers } from '../store.ts'
import { on, statement, writing } from './connection.ts'

export const createReaders = (s: string, environment: Environment): Readers => ({
  report: async (session, name, position) => {
    await writing(session).run(
      statement(
        `INSERT INTO ${s}.reader (name, position, seen_ms) VALUES ($1, $2::text::bigint, $3::text::bigint)
         ON CONFLICT (name) DO UPDATE SET position = excluded.position, seen_ms = excluded.seen_ms`,
      ),
      [name, String(position), String(environment.now())],
    )
  },

  list: async (session) =>
    (await on(session).rows(statement(`SELECT name, position, seen_ms FROM ${s}.reader ORDER BY name`), [])).map(
      ([name, position, seen_ms]) => ({ name: String(name), position: Number(position), seen_ms: Number(seen_ms) }),
    ),

  forget: async (session, name) => {
    await writing(session).run(statement(`DELETE FROM ${s}.reader WHERE name = $1`), [name])
  },
})
