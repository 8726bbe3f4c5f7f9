/** SQLite as the contract suite of stores runs it: a file of its own for each test, or a database in memory. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemEnvironment } from '../../src/core/environment.ts'
import { sqlite } from '../../src/store/sqlite/index.ts'
import type { Database } from '../../src/store/store.ts'
import type { StoreHarness } from '../../src/testing/index.ts'

export const inFile: StoreHarness = {
  create: async () => {
    const folder = mkdtempSync(join(tmpdir(), 'pabal-contract-'))
    const opened: Database[] = []
    return {
      open: async () => {
        const database = await sqlite(join(folder, 'shop.db')).database.open(systemEnvironment)
        opened.push(database)
        return database
      },
      [Symbol.asyncDispose]: async () => {
        for (const database of opened) await database.close()
        rmSync(folder, { recursive: true })
      },
    }
  },
}

export const inMemory: StoreHarness = {
  create: async () => {
    let opened: Database | undefined
    return {
      open: async () => {
        if (opened !== undefined) throw new Error('a database in memory has one handle')
        opened = await sqlite(':memory:').database.open(systemEnvironment)
        return opened
      },
      [Symbol.asyncDispose]: async () => opened?.close(),
    }
  },
}
