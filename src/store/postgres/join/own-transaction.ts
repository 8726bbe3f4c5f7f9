/** A transaction of the caller's, whatever library it was begun with: the face that the store sees of it. */

import { PabalError } from '../../../core/errors.ts'

/** A transaction that the caller began, whatever its library: runs one statement in it. */
export interface OwnTransaction {
  /**
   * `$1`, `$2` … stand for the values. Resolves with all rows, as objects by column name. What fails has the SQLSTATE as `code`,
   * also where the library hides it.
   */
  query(
    sql: string,
    values: readonly unknown[],
  ): Promise<{ readonly rows: readonly Record<string, unknown>[]; readonly rowCount: number }>
}

/** What the given thing is instead of a transaction, in the library's own words. */
export const notATransaction = (what: string): PabalError => new PabalError('PABAL_NOT_A_TRANSACTION', what)
