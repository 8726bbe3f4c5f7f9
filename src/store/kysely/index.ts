/** `pabal/kysely`: Kysely as the handle on a context's transactions, over the context's own store. */

import type { DatabaseSync } from 'node:sqlite'
import {
  type CompiledQuery,
  type DatabaseConnection,
  type Driver,
  Kysely,
  type QueryResult,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
} from 'kysely'
import { PabalError } from '../../core/errors.ts'
import { on } from '../sqlite/connection.ts'
import type { SqliteTx, SqliteValue } from '../sqlite/tx.ts'
import type { Session, Store } from '../store.ts'

const refuse = (): Promise<never> =>
  Promise.reject(
    new PabalError(
      'PABAL_TRANSACTION_CONTROL',
      'a Kysely transaction was begun inside a unit of work; the unit is the transaction',
    ),
  )

/** Kysely's view of one unit of work: one connection, already inside its transaction. */
class UnitDriver implements Driver {
  readonly #connection: DatabaseConnection

  constructor(base: Store<SqliteTx, DatabaseSync>, session: Session) {
    const tx = base.tx(session)
    this.#connection = {
      executeQuery: async <Row>({ sql, parameters }: CompiledQuery): Promise<QueryResult<Row>> => {
        const values = parameters as SqliteValue[]
        if (on(session).prepare(sql).columns().length > 0) return { rows: tx.all<Row>(sql, ...values) }
        const { changes, lastInsertRowid } = tx.run(sql, ...values)
        return { rows: [], numAffectedRows: BigInt(changes), insertId: BigInt(lastInsertRowid) }
      },
      async *streamQuery<Row>({ sql, parameters }: CompiledQuery): AsyncIterableIterator<QueryResult<Row>> {
        yield { rows: tx.all<Row>(sql, ...(parameters as SqliteValue[])) }
      },
    }
  }

  async init(): Promise<void> {}
  async acquireConnection(): Promise<DatabaseConnection> {
    return this.#connection
  }
  beginTransaction = refuse
  commitTransaction = refuse
  rollbackTransaction = refuse
  async releaseConnection(): Promise<void> {}
  async destroy(): Promise<void> {}
}

/**
 * The given store with `Kysely<Tables>` as `tx`, so that a context can move to another database with its queries unchanged.
 * `tx` is bound to its unit: no transactions of its own, unusable after the unit's end (PABAL_UNIT_CLOSED).
 */
export const kysely = <Tables>(base: Store<SqliteTx, DatabaseSync>): Store<Kysely<Tables>, DatabaseSync> => {
  const tx = (session: Session): Kysely<Tables> =>
    new Kysely<Tables>({
      dialect: {
        createAdapter: () => new SqliteAdapter(),
        createDriver: () => new UnitDriver(base, session),
        createIntrospector: (db) => new SqliteIntrospector(db),
        createQueryCompiler: () => new SqliteQueryCompiler(),
      },
    })
  return { '~pabal': {}, database: base.database, tx, reader: tx }
}
