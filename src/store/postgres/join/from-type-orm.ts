/** Joins a transaction of TypeORM. */

import { notATransaction, type OwnTransaction } from './own-transaction.ts'

export interface TypeOrmQueryRunner {
  readonly isTransactionActive: boolean
  query(
    sql: string,
    values: unknown[],
    useStructuredResult: true,
  ): Promise<{ readonly records: Record<string, unknown>[]; readonly affected?: number | null }>
}

/** Only the manager of a transaction, or of a query runner, has a query runner. */
export interface TypeOrmEntityManager {
  readonly queryRunner?: TypeOrmQueryRunner
}

/**
 * The manager that `dataSource.transaction` gives, or a query runner after `startTransaction`. A data source does not compile.
 * @throws PABAL_NOT_A_TRANSACTION for a manager or a query runner outside of a transaction
 */
export const fromTypeOrm = (managerOrQueryRunner: TypeOrmEntityManager | TypeOrmQueryRunner): OwnTransaction => {
  const given = managerOrQueryRunner
  const runner = 'isTransactionActive' in given ? given : given.queryRunner
  if (runner === undefined)
    throw notATransaction('fromTypeOrm was given a manager of the data source; pass the one that transaction gives')
  if (!runner.isTransactionActive)
    throw notATransaction('fromTypeOrm was given a query runner outside of a transaction')
  return {
    query: async (sql, values) => {
      const { records, affected } = await runner.query(sql, [...values], true)
      return { rows: records, rowCount: affected ?? 0 }
    },
  }
}
