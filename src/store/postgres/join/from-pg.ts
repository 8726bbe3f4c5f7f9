/** Joins a transaction of node-postgres. */

import { notATransaction, type OwnTransaction } from './own-transaction.ts'

/** `Client` and `PoolClient` of `pg`, after `BEGIN`. A `Pool` counts its clients, which tells it apart. */
export interface PgTransaction {
  query(
    sql: string,
    values: unknown[],
  ): Promise<{ readonly rows: Record<string, unknown>[]; readonly rowCount: number | null }>
  readonly totalCount?: never
}

/** The client that `BEGIN` was awaited on. A pool does not compile. @throws PABAL_NOT_A_TRANSACTION for a pool and an idle client */
export const fromPg = (client: PgTransaction): OwnTransaction => {
  // Older releases of the driver do not tell whether the client is idle; there SAVEPOINT fails.
  const told = client as { totalCount?: number; getTransactionStatus?(): string | null }
  if (told.totalCount !== undefined) throw notATransaction('fromPg was given a pool; pass the client that BEGIN ran on')
  if (told.getTransactionStatus?.() === 'I')
    throw notATransaction('fromPg was given a client with no transaction open; await its BEGIN first')
  return {
    query: async (sql, values) => {
      const { rows, rowCount } = await client.query(sql, [...values])
      return { rows, rowCount: rowCount ?? 0 }
    },
  }
}
