/** Kysely's view of one unit of work: one connection, already inside its transaction. */

import type { CompiledQuery, DatabaseConnection, Driver, QueryResult } from 'kysely'
import { PabalError } from '../../core/errors.ts'

/** Runs one query in the unit. */
export type Execute = <Row>(query: CompiledQuery) => Promise<QueryResult<Row>>

const refuse = (): Promise<never> =>
  Promise.reject(
    new PabalError(
      'PABAL_TRANSACTION_CONTROL',
      'a Kysely transaction was begun inside a unit of work; the unit is the transaction',
    ),
  )

export class UnitDriver implements Driver {
  readonly #connection: DatabaseConnection

  constructor(execute: Execute) {
    this.#connection = {
      executeQuery: execute,
      async *streamQuery<Row>(query: CompiledQuery): AsyncIterableIterator<QueryResult<Row>> {
        yield await execute<Row>(query)
      },
    }
  }

  async init(): Promise<void> {}
  async acquireConnection(): Promise<DatabaseConnection> {
    return this.#connection
  }
  readonly beginTransaction: () => Promise<never> = refuse
  readonly commitTransaction: () => Promise<never> = refuse
  readonly rollbackTransaction: () => Promise<never> = refuse
  async releaseConnection(): Promise<void> {}
  async destroy(): Promise<void> {}
}
