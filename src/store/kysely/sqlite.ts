/** Kysely's dialect for a unit of work on SQLite. */

import {
  type CompiledQuery,
  type Dialect,
  type QueryResult,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
} from 'kysely'
import { on } from '../sqlite/connection.ts'
import type { SqliteTx, SqliteValue } from '../sqlite/tx.ts'
import type { Session } from '../store.ts'
import { UnitDriver } from './unit-driver.ts'

export const sqliteDialect = (tx: SqliteTx, session: Session): Dialect => {
  const execute = async <Row>({ sql, parameters }: CompiledQuery): Promise<QueryResult<Row>> => {
    const values = parameters as SqliteValue[]
    if (on(session).prepare(sql).columns().length > 0) return { rows: tx.all<Row>(sql, ...values) }
    const { changes, lastInsertRowid } = tx.run(sql, ...values)
    return { rows: [], numAffectedRows: BigInt(changes), insertId: BigInt(lastInsertRowid) }
  }
  return {
    createAdapter: () => new SqliteAdapter(),
    createDriver: () => new UnitDriver(execute),
    createIntrospector: (db) => new SqliteIntrospector(db),
    createQueryCompiler: () => new SqliteQueryCompiler(),
  }
}
