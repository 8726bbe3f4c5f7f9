/** Joins a transaction of Drizzle, over node-postgres or Postgres.js. */

import { notATransaction, type OwnTransaction } from './own-transaction.ts'

/** The part of Drizzle's `SQL` that an execution needs: the statement, ready. */
interface Statement {
  getSQL(): { toQuery(config: never): { readonly sql: string; readonly params: unknown[] } }
}

/** The `tx` of `db.transaction`; a database cannot roll back. */
export interface DrizzleTransaction {
  execute(statement: Statement | string): PromiseLike<unknown>
  rollback(): never
}

/**
 * The `tx` that `db.transaction` gives; `db` does not compile. Over Postgres.js, when a statement fails, the transaction is
 * rolled back even where the error is caught: join within `tx.transaction` to catch and go on.
 * @throws PABAL_NOT_A_TRANSACTION for `db`
 */
export const fromDrizzle = (tx: DrizzleTransaction): OwnTransaction => {
  if (typeof tx.rollback !== 'function')
    throw notATransaction('fromDrizzle was given the database; pass the tx that db.transaction gives')
  return {
    query: async (sql, values) => {
      const statement = { getSQL: () => ({ toQuery: () => ({ sql, params: [...values] }) }) }
      return resultOf(await unwrapped(tx.execute(statement)))
    },
  }
}

/** Postgres.js gives an array that counts, node-postgres an object. */
const resultOf = (given: unknown): Awaited<ReturnType<OwnTransaction['query']>> => {
  const { rows = given, count, rowCount = count } = given as Partial<Record<'rows' | 'count' | 'rowCount', unknown>>
  return { rows: [...(rows as Record<string, unknown>[])], rowCount: Number(rowCount ?? 0) }
}

/** Drizzle wraps what the driver throws. */
const unwrapped = async <R>(running: PromiseLike<R>): Promise<R> => {
  try {
    return await running
  } catch (error) {
    throw error instanceof Error && error.cause instanceof Error ? error.cause : error
  }
}
