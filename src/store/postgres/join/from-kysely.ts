/** Joins a transaction of Kysely. */

import { notATransaction, type OwnTransaction } from './own-transaction.ts'

/** As `CompiledQuery.raw` makes it. */
interface CompiledQuery {
  readonly sql: string
  readonly parameters: readonly unknown[]
  readonly query: { readonly kind: 'RawNode'; readonly sqlFragments: readonly string[]; readonly parameters: never[] }
  readonly queryId: { readonly queryId: string }
}

/** The `trx` of `db.transaction().execute`, or of `db.startTransaction().execute()`. */
export interface KyselyTransaction {
  readonly isTransaction: true
  withoutPlugins(): KyselyTransaction
  executeQuery(
    query: CompiledQuery,
  ): Promise<{ readonly rows: unknown[]; readonly numAffectedRows?: bigint | undefined }>
}

/** The transaction; `db` does not compile. @throws PABAL_NOT_A_TRANSACTION for `db` */
export const fromKysely = (trx: KyselyTransaction): OwnTransaction => {
  // A check of its own: at run time it may be a database.
  const { isTransaction } = trx as { readonly isTransaction: boolean }
  if (!isTransaction)
    throw notATransaction('fromKysely was given the database; pass the trx of db.transaction().execute')
  // A plugin may rename columns.
  const plain = trx.withoutPlugins()
  return {
    query: async (sql, values) => {
      const { rows, numAffectedRows } = await plain.executeQuery({
        sql,
        parameters: values,
        query: { kind: 'RawNode', sqlFragments: [sql], parameters: [] },
        queryId: { queryId: 'pabal' },
      })
      return { rows: rows as Record<string, unknown>[], rowCount: Number(numAffectedRows ?? rows.length) }
    },
  }
}
