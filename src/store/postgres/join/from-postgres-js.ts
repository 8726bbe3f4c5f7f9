/** Joins a transaction of Postgres.js. */

import { notATransaction, type OwnTransaction } from './own-transaction.ts'

interface Connection {
  unsafe(sql: string, values: never[]): PromiseLike<PostgresJsRows>
  typed(value: never, type: number): unknown
}

interface PostgresJsRows extends ReadonlyArray<Record<string, unknown>> {
  readonly count: number | null
}

/** The `sql` of `sql.begin` and `sql.savepoint`, or one of `sql.reserve` after `BEGIN`. */
export type PostgresJsTransaction = Connection & ({ savepoint: unknown } | { release: unknown })

// Leaves the type to the server, like no type at all. Without it the driver asks the server and then converts: a text that is
// meant for a boolean becomes false, one for a jsonb is encoded twice.
const unknownType = 705

/**
 * The `sql` that `sql.begin` gives, not the `sql` that it is called on, which does not compile. When a statement fails in it,
 * Postgres.js rolls `begin` back even where the error is caught: join within `sql.savepoint` to catch and go on.
 * @throws PABAL_NOT_A_TRANSACTION for the `sql` of the pool
 */
export const fromPostgresJs = (sql: PostgresJsTransaction): OwnTransaction => {
  if (!('savepoint' in sql) && !('release' in sql))
    throw notATransaction('fromPostgresJs was given the sql of the pool; pass the one that sql.begin gives')
  const asParameter = (value: unknown) => (typeof value === 'string' ? sql.typed(value as never, unknownType) : value)
  return {
    query: async (text, values) => {
      const rows = await sql.unsafe(text, values.map(asParameter) as never[])
      return { rows: [...rows], rowCount: rows.count ?? 0 }
    },
  }
}
