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
  /** Contexts whose logs were appended to. */
  readonly appended: Set<string> = new Set()
  readonly #isTransaction: boolean
  #lost: unknown
  #savepoints = 0

  constructor(connection: Connection, kind: 'transaction' | 'view') {
    this.connection = connection
    this.#isTransaction = kind === 'transaction'
  }

  /**
   * SQLite ends a transaction by itself: a full disk, `INSERT OR ROLLBACK`, a trigger's `RAISE(ROLLBACK)`. Every statement after
   * that would commit alone, so nothing may be run any more. @throws PABAL_ROLLED_BACK, PABAL_UNIT_CLOSED
   */
  check(): void {
    if (!this.open) throw new PabalError('PABAL_UNIT_CLOSED', 'the unit of work has ended')
    if (this.#isTransaction && !this.connection.db.isTransaction)
      throw new PabalError(
        'PABAL_ROLLED_BACK',
        `SQLite has rolled the whole transaction back${this.#lost instanceof Error ? `: ${this.#lost.message}` : ''}`,
        { cause: this.#lost },
      )
  }

  savepoint<R>(fn: () => Awaitable<R>): Awaitable<R> {
    const name = `pabal_${++this.#savepoints}`
    const undo = (error: unknown): void => {
      // A savepoint that outlives its unit: by now this may be somebody else's transaction, with a savepoint of the same name.
      if (!this.open) return
      if (this.connection.db.isTransaction) this.connection.exec(`ROLLBACK TO ${name}; RELEASE ${name}`)
      else this.#lost ??= error
    }
    this.check()
    this.connection.exec(`SAVEPOINT ${name}`)
    let result: Awaitable<R>
    try {
      result = fn()
    } catch (error) {
      undo(error)
      throw error
    }
    if (isPromise(result))
      return result.then(
        (value) => {
          this.check()
          this.connection.exec(`RELEASE ${name}`)
          return value
        },
        (error: unknown) => {
          undo(error)
          throw error
        },
      )
    this.check()
    this.connection.exec(`RELEASE ${name}`)
    return result
  }
}

/** The connection behind a session of this adapter. */
export const on = (session: Session): Connection => {
  const sqlite = session as SqliteSession
  sqlite.check()
  return sqlite.connection
}
