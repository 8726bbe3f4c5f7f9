/** Joins a transaction of Knex. */

import { notATransaction, type OwnTransaction } from './own-transaction.ts'

interface Raw extends PromiseLike<{ readonly rows: Record<string, unknown>[]; readonly rowCount: number | null }> {
  options(options: { readonly text: string; readonly values: unknown[] }): this
}

/** The `trx` of `knex.transaction`. */
export interface KnexTransaction {
  raw(sql: string): Raw
  isCompleted(): boolean
}

/** The transaction; `knex` does not compile. @throws PABAL_NOT_A_TRANSACTION for `knex` and for a transaction that has ended */
export const fromKnex = (trx: KnexTransaction): OwnTransaction => {
  if (typeof trx.isCompleted !== 'function')
    throw notATransaction('fromKnex was given knex itself; pass the trx of knex.transaction')
  if (trx.isCompleted()) throw notATransaction('fromKnex was given a transaction that has ended')
  return {
    query: async (sql, values) => {
      // As options of the driver: Knex takes each `?` in the text for a placeholder, also those in strings and operators.
      const { rows, rowCount } = await trx.raw(sql).options({ text: sql, values: [...values] })
      return { rows, rowCount: rowCount ?? 0 }
    },
  }
}
