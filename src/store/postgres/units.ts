/** Answers of units with an idempotency key, on Postgres. */

import type { Environment } from '../../core/environment.ts'
import { PabalError } from '../../core/errors.ts'
import type { Units } from '../store.ts'
import { on, statement, writing } from './connection.ts'
import { codeOf } from './errors.ts'

const uniqueViolation = '23505'

export const createUnits = (s: string, environment: Environment): Units => ({
  get: async (session, key) => {
    const row = await on(session).row(statement(`SELECT what, result FROM ${s}.unit WHERE key = $1`), [key])
    return row === undefined ? undefined : { what: String(row[0]), result: String(row[1]) }
  },

  put: async (session, key, what, result) => {
    try {
      await writing(session).run(
        statement(`INSERT INTO ${s}.unit (key, what, result, at_ms) VALUES ($1, $2, $3, $4::text::bigint)`),
        [key, what, result, String(environment.now())],
      )
    } catch (error) {
      if (codeOf(error) !== uniqueViolation) throw error
      // Two requests with one key at once: this one is undone, and finds the other's answer when it is repeated.
      throw new PabalError('PABAL_STORE_CONFLICT', `a unit with the key ${JSON.stringify(key)} has just committed`, {
        cause: error,
      })
    }
  },

  countBefore: async (session, atMs) =>
    Number(
      (await on(session).row(statement(`SELECT count(*) FROM ${s}.unit WHERE at_ms < $1::text::bigint`), [
        String(atMs),
      ]))![0],
    ),

  dropBefore: async (session, atMs) =>
    (await writing(session).run(statement(`DELETE FROM ${s}.unit WHERE at_ms < $1::text::bigint`), [String(atMs)]))
      .count,
})
