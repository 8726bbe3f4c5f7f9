/** The oldest Postgres that pabal supports keeps the rules of appending; the newest runs all of the contract beside the store. */

import type { Pool } from 'pg'
import { afterAll, beforeAll, describe, test } from 'vitest'
import { systemEnvironment } from '../../../src/core/environment.ts'
import { postgres } from '../../../src/store/postgres/index.ts'
import type { Database } from '../../../src/store/store.ts'
import type { StoreHarness } from '../../../src/testing/index.ts'
import { appendRules } from '../../../src/testing/store-contract/append.ts'
import { freshDatabase, missingPostgres, type TestDatabase } from '../../support/postgres.ts'
import { type PostgresServer, startPostgres } from '../../support/postgres-server.ts'
import { titled } from '../../support/require-server.ts'

const missing = missingPostgres(14)

let server: PostgresServer
let database: TestDatabase
beforeAll(async () => {
  if (missing !== undefined) return
  server = await startPostgres({ version: 14 })
  database = await freshDatabase(server)
})
afterAll(() => server?.[Symbol.asyncDispose]())

let created = 0
/** Schemas of its own for each test: a new database costs this version two checkpoints. */
const harness: StoreHarness = {
  create: async () => {
    const number = ++created
    const opened: { database: Database; pool: Pool }[] = []
    return {
      open: async () => {
        const pool = database.pool()
        const options = { schema: (context: string) => `pabal_${context}_${number}` }
        const handle = await postgres(pool, options).database.open(systemEnvironment)
        opened.push({ database: handle, pool })
        return handle
      },
      [Symbol.asyncDispose]: async () => {
        for (const handle of opened) {
          await handle.database.close()
          await handle.pool.end()
        }
      },
    }
  },
}

describe.skipIf(missing)(titled('Postgres 14', missing), () => {
  test.each(appendRules)('$name', ({ run }) => run(harness))
})
