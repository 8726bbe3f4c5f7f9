/** The handle on a transaction that user code sees: three calls, dead with its unit. */

import type { SQLInputValue } from 'node:sqlite'
import { PabalError } from '../../core/errors.ts'
import { type Connection, on, type SqliteSession } from './connection.ts'

/** What can be bound to a `?` of a statement. */
export type SqliteValue = SQLInputValue | boolean | undefined

/**
 * Statements inside the unit's transaction. Unusable after the unit (PABAL_UNIT_CLOSED); BEGIN, COMMIT, ROLLBACK, SAVEPOINT,
 * ATTACH and PRAGMA are refused (PABAL_TRANSACTION_CONTROL), and so is a text of several statements, of which SQLite would run
 * the first alone (PABAL_SEVERAL_STATEMENTS). Booleans are stored as 1 and 0, undefined as null.
 */
export interface SqliteTx {
  /** Runs a statement; `changes` is the number of rows it changed. */
  run(sql: string, ...values: SqliteValue[]): { readonly changes: number; readonly lastInsertRowid: number }
  /** The first row, or undefined. */
  get<Row = Record<string, unknown>>(sql: string, ...values: SqliteValue[]): Row | undefined
  /** All rows. */
  all<Row = Record<string, unknown>>(sql: string, ...values: SqliteValue[]): Row[]
}

// What SQLite skips before a statement: space, empty statements, comments to the end of the line (a line feed alone ends it).
const skipped = String.raw`(?:[\s;]|--[^\n]*(?:\n|$)|/\*(?:[^*]|\*(?!/))*(?:\*/|$))*`
const control = new RegExp(
  `^${skipped}(?:begin|commit|end|rollback|savepoint|release|attach|detach|pragma|vacuum)\\b`,
  'i',
)
const nothing = new RegExp(`^${skipped}$`)
const checked = new WeakMap<Connection, Set<string>>()

const bind = (values: SqliteValue[]): SQLInputValue[] => {
  for (let i = 0; i < values.length; i++) {
    const value = values[i]
    if (value === undefined) values[i] = null
    else if (typeof value === 'boolean') values[i] = value ? 1 : 0
    // As the first value node:sqlite takes any object for a set of named ones, and a Date for an empty set.
    else if (typeof value === 'object' && value !== null && !ArrayBuffer.isView(value))
      throw new TypeError(`value ${i + 1} of a statement is an object; SQLite stores texts, numbers, bytes and null`)
  }
  return values as SQLInputValue[]
}

export class GuardedTx implements SqliteTx {
  readonly #session: SqliteSession

  constructor(session: SqliteSession) {
    this.#session = session
  }

  #prepare(sql: string) {
    const connection = on(this.#session)
    let known = checked.get(connection)
    if (known === undefined) checked.set(connection, (known = new Set()))
    if (!known.has(sql)) {
      if (control.test(sql))
        throw new PabalError(
          'PABAL_TRANSACTION_CONTROL',
          `a unit of work ran ${JSON.stringify(sql.trim().slice(0, 40))}`,
        )
      const statement = connection.prepare(sql)
      // SQLite compiles the first statement and leaves the rest of the text alone.
      if (!nothing.test(sql.slice(statement.sourceSQL.length)))
        throw new PabalError(
          'PABAL_SEVERAL_STATEMENTS',
          `a unit of work ran ${JSON.stringify(sql.trim().slice(0, 40))} with another statement behind it`,
        )
      if (known.size > 1_000) known.clear()
      known.add(sql)
      return statement
    }
    return connection.prepare(sql)
  }

  run(sql: string, ...values: SqliteValue[]): { changes: number; lastInsertRowid: number } {
    const { changes, lastInsertRowid } = this.#prepare(sql).run(...bind(values))
    return { changes: Number(changes), lastInsertRowid: Number(lastInsertRowid) }
  }

  get<Row = Record<string, unknown>>(sql: string, ...values: SqliteValue[]): Row | undefined {
    return this.#prepare(sql).get(...bind(values)) as Row | undefined
  }

  all<Row = Record<string, unknown>>(sql: string, ...values: SqliteValue[]): Row[] {
    return this.#prepare(sql).all(...bind(values)) as Row[]
  }
}
