/** Kysely's dialect for a unit of work on Postgres. */

import {
  type CompiledQuery,
  type Dialect,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  type QueryResult,
} from 'kysely'
import type { PostgresTx } from '../postgres/tx.ts'
import { UnitDriver } from './unit-driver.ts'

export const postgresDialect = (tx: PostgresTx): Dialect => {
  const execute = async <Row>({ sql, parameters, query }: CompiledQuery): Promise<QueryResult<Row>> => {
    const { rows, rowCount } = await tx.query<Row>(sql, parameters)
    // The server counts the rows of a SELECT too, and to Kysely these are no affected ones.
    return query.kind === 'SelectQueryNode' ? { rows } : { rows, numAffectedRows: BigInt(rowCount) }
  }
  return {
    createAdapter: () => new PostgresAdapter(),
    createDriver: () => new UnitDriver(execute),
    createIntrospector: (db) => new PostgresIntrospector(db),
    createQueryCompiler: () => new PostgresQueryCompiler(),
  }
}
