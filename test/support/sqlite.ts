/** Open SQLite databases for tests of the adapter itself, closed when the test ends. */

import type { DatabaseSync } from 'node:sqlite'
import { onTestFinished } from 'vitest'
import { type Environment, systemEnvironment } from '../../src/core/environment.ts'
import { sqlite, type SqliteOptions, type SqliteTx } from '../../src/store/sqlite/index.ts'
import type { Session, Store } from '../../src/store/store.ts'
import { type Process, processOn } from '../../src/testing/store-contract/fixture.ts'

export interface OpenSqlite extends Process {
  readonly store: Store<SqliteTx, DatabaseSync>
  /** The handle that user code has on a transaction. */
  readonly tx: (session: Session) => SqliteTx
}

/** The context 'ordering' on a file, or ':memory:'. */
export const openSqlite = async (
  path: string,
  options: SqliteOptions & { readonly environment?: Environment } = {},
): Promise<OpenSqlite> => {
  const { environment = systemEnvironment, ...rest } = options
  const store = sqlite(path, rest)
  const database = await store.database.open(environment)
  onTestFinished(() => database.close())
  return { ...(await processOn(database)), store, tx: (session) => store.tx(session) }
}
