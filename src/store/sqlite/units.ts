/** Answers of units with an idempotency key, on SQLite. */

import type { Environment } from '../../core/environment.ts'
import type { Units } from '../store.ts'
import { on } from './connection.ts'

export const createUnits = (p: string, environment: Environment): Units => ({
  get: (session, key) =>
    on(session).prepare(`SELECT what, result FROM ${p}unit WHERE key = ?`).get(key) as
      | { what: string; result: string }
      | undefined,

  put: (session, key, what, result) =>
    void on(session)
      .prepare(`INSERT INTO ${p}unit (key, what, result, at_ms) VALUES (?, ?, ?, ?)`)
      .run(key, what, result, environment.now()),

  countBefore: (session, atMs) =>
    Number(on(session).prepare(`SELECT count(*) AS n FROM ${p}unit WHERE at_ms < ?`).get(atMs)?.['n']),

  dropBefore: (session, atMs) => Number(on(session).prepare(`DELETE FROM ${p}unit WHERE at_ms < ?`).run(atMs).changes),
})
