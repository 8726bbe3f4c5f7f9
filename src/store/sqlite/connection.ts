/** One SQLite connection with its prepared statements, and a session on it. */

import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { type Awaitable, isPromise } from '../../core/awaitable.ts'
import { PabalError } from '../../core/errors.ts'
import type { Session } from '../store.ts'

const statementsMax = 500

export class Connection {
  readonly db: DatabaseSync
  readonly #statements = new Map<string, StatementSync>()
  /** Statements executed, for counting what an idle app costs. */
  queries = 0

  constructor(db: DatabaseSync) {
    this.db = db
  }

  prepare(sql: string): StatementSync {
    this.queries++
    let statement = this.#statements.get(sql)
    if (statement === undefined) {
      statement = this.db.prepare(sql)
      if (this.#statements.size >= statementsMax) this.#statements.delete(this.#statements.keys().next().value!)
      this.#statements.set(sql, statement)
    }
    return statement
  }

  /** Its rows come as arrays: no object per row, no name per value. A statement is prepared this way or the other, not both. */
  prepareArrays(sql: string): StatementSync {
    const statement = this.prepare(sql)
    statement.setReturnArrays(true)
    return statement
  }

  exec(sql: string): void {
    this.queries++
    this.db.exec(sql)
  }
}

export class SqliteSession implements Session {
  readonly connection: Connection
  open = true
  #savepoints = 0

  constructor(connection: Connection) {
    this.connection = connection
  }

  savepoint<R>(fn: () => Awaitable<R>): Awaitable<R> {
    const name = `pabal_${++this.#savepoints}`
    const undo = (): void => {
      // A user's statement may have ended the transaction; then there is nothing left to undo.
      if (this.connection.db.isTransaction) this.connection.exec(`ROLLBACK TO ${name}; RELEASE ${name}`)
    }
    this.connection.exec(`SAVEPOINT ${name}`)
    let result: Awaitable<R>
    try {
      result = fn()
    } catch (error) {
      undo()
      throw error
    }
    if (isPromise(result))
      return result.then(
        (value) => {
          this.connection.exec(`RELEASE ${name}`)
          return value
        },
        (error: unknown) => {
          undo()
          throw error
        },
      )
    this.connection.exec(`RELEASE ${name}`)
    return result
  }
}

/** The connection behind a session of this adapter. */
export const on = (session: Session): Connection => {
  const { connection, open } = session as SqliteSession
  if (!open) throw new PabalError('PABAL_UNIT_CLOSED', 'the unit of work has ended')
  return connection
}
