/** Postgres as the contract suite of stores runs it: a database of its own for each test, and a pool for each process. */

import { systemEnvironment } from '../../src/core/environment.ts'
import { postgres, type PostgresOptions } from '../../src/store/postgres/index.ts'
import type { Database } from '../../src/store/store.ts'
import type { StoreHarness } from '../../src/testing/index.ts'
import { freshDatabase } from './postgres.ts'

export const onPostgres = (
  pool: { readonly pipeline?: boolean } = {},
  options: PostgresOptions = {},
): StoreHarness => ({
  create: async () => {
    const database = await freshDatabase()
    const opened: Database[] = []
    return {
      open: async () => {
        const handle = await postgres(database.pool(pool), options).database.open(systemEnvironment)
        opened.push(handle)
        return handle
      },
      [Symbol.asyncDispose]: async () => {
        for (const handle of opened) await handle.close()
        await database.drop()
      },
    }
  },
})
