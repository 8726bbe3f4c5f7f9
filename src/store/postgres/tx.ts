/** The handle on a transaction that user code sees: one call, dead with its unit. */

import { PabalError } from '../../core/errors.ts'
import type { PostgresSession } from './connection.ts'

/**
 * Statements inside the unit's transaction, with the result types of the caller's pool. Unusable after the unit
 * (PABAL_UNIT_CLOSED); BEGIN, COMMIT, ROLLBACK, SAVEPOINT, PREPARE TRANSACTION, LISTEN and the like are refused
 * (PABAL_TRANSACTION_CONTROL), and so is a text of several statements (PABAL_SEVERAL_STATEMENTS). A statement that fails makes
 * the whole transaction fail, as Postgres has it: catch its error inside of a nested `transaction` or not at all.
 */
export interface PostgresTx {
  /** `$1`, `$2` … stand for the values. Statements of one unit run one after the other. */
  query<Row = Record<string, unknown>>(
    sql: string,
    values?: readonly unknown[],
  ): Promise<{ readonly rows: Row[]; readonly rowCount: number }>
}

// What stands before a statement: space, empty statements, comments (block comments nest; one level is enough to refuse).
const skipped = String.raw`(?:[\s;]|--[^\n]*(?:\n|$)|/\*(?:[^*]|\*(?!/))*(?:\*/|$))*`
const control = new RegExp(
  `^${skipped}(?:begin|start\\s+transaction|commit|end|rollback|abort|savepoint|release|prepare\\s+transaction|set\\s+(?:session\\s+)?(?:transaction|characteristics)|listen|unlisten|discard|vacuum)\\b`,
  'i',
)
const allowed = new Set<string>()

const check = (sql: string): void => {
  if (allowed.has(sql)) return
  if (control.test(sql))
    throw new PabalError('PABAL_TRANSACTION_CONTROL', `a unit of work ran ${JSON.stringify(sql.trim().slice(0, 40))}`)
  if (allowed.size > 1_000) allowed.clear()
  allowed.add(sql)
}

const several = /cannot insert multiple commands into a prepared statement/

export class GuardedTx implements PostgresTx {
  readonly #session: PostgresSession

  constructor(session: PostgresSession) {
    this.#session = session
  }

  async query<Row = Record<string, unknown>>(
    sql: string,
    values: readonly unknown[] = [],
  ): Promise<{ rows: Row[]; rowCount: number }> {
    this.#session.check()
    check(sql)
    try {
      return (await this.#session.user(sql, values)) as { rows: Row[]; rowCount: number }
    } catch (error) {
      if (several.test((error as Error).message))
        throw new PabalError(
          'PABAL_SEVERAL_STATEMENTS',
          `a unit of work ran ${JSON.stringify(sql.trim().slice(0, 40))} with another statement behind it`,
          { cause: error },
        )
      throw error
    }
  }
}
