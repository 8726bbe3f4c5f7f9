/** The rows that were there before a capture begins, as the exported snapshot of its slot shows them. */

import type { PgPool } from '../driver.ts'
import { literal } from './replication-connection.ts'
import type { Row, RowChange } from './source-transaction.ts'
import { tooMany } from './source-transaction.ts'

/** While nothing else is done on the connection that has exported it. @throws when there are more than `changesMax` */
export const readSnapshot = async <T extends string>(
  pool: PgPool,
  snapshot: string,
  tables: ReadonlyMap<number, T>,
  changesMax: number,
): Promise<readonly RowChange<T>[]> => {
  const changes: RowChange<T>[] = []
  const client = await pool.connect()
  try {
    await client.query({
      text: `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT ${literal(snapshot)}`,
    })
    for (const [oid, table] of tables) {
      const { rows: named } = await client.query({ text: `SELECT ${oid}::regclass::text AS name` })
      const { rows } = await client.query({
        text: `SELECT * FROM ${(named[0] as { name: string }).name} LIMIT ${changesMax - changes.length + 1}`,
      })
      for (const after of rows as Row[])
        changes.push({ operation: 'read', table, before: undefined, after, unchanged: [] })
      if (changes.length > changesMax) throw tooMany('the snapshot', changesMax)
    }
    await client.query({ text: 'COMMIT' })
  } catch (error) {
    client.release(true)
    throw error
  }
  client.release()
  return changes
}
