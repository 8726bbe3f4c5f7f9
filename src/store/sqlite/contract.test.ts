import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { systemEnvironment } from '../../core/environment.ts'
import {
  type Cannot,
  checkHistory,
  type HistoryUnit,
  plan,
  storeContract,
  type StoreHarness,
} from '../../testing/index.ts'
import type { Database } from '../store.ts'
import { sqlite } from './index.ts'

const inFile: StoreHarness = {
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

const inMemory: StoreHarness = {
  create: async () => {
    let opened: Database | undefined
    return {
      open: async () => {
        if (opened !== undefined) throw new Error('a database in memory has one handle')
        opened = await sqlite(':memory:', { busyTimeoutMs: 100 }).database.open(systemEnvironment)
        return opened
      },
      [Symbol.asyncDispose]: async () => opened?.close(),
    }
  },
}

const oneHandle = 'a database in memory belongs to one connection of one process; there is no second handle on it'
const cannotInMemory: Cannot = {}

const suites: [string, StoreHarness, Cannot][] = [
  ['a SQLite file', inFile, {}],
  ['SQLite in memory', inMemory, cannotInMemory],
]

describe.each(suites)('%s', (adapter, harness, cannot) => {
  const planned = plan(storeContract, cannot)

  test.each(planned.filter((rule) => rule.cannot === undefined))('$name', ({ run }) => run(harness))

  // A declaration that has become untrue fails.
  test.each(planned.filter((rule) => rule.cannot !== undefined))('cannot: $name ($cannot)', async ({ run }) => {
    await expect(run(harness)).rejects.toThrow()
  })

  afterAll(() => {
    for (const { name, cannot: reason } of planned)
      if (reason !== undefined) console.info(`${adapter} cannot: ${name}, because ${reason}`)
  })
})

const key = fc.constantFrom('a', 'b', '주문')
const historyOver = (processes: number): fc.Arbitrary<HistoryUnit[][]> =>
  fc.array(
    fc.array(
      fc.record({
        process: fc.nat({ max: processes - 1 }),
        keys: fc.array(key, { maxLength: 4 }),
        undone: fc.array(key, { maxLength: 2 }),
        awaits: fc.boolean(),
        throws: fc.boolean(),
      }),
      { minLength: 1, maxLength: 4 },
    ),
    { maxLength: 6 },
  )

describe('any history of units, with rollbacks and savepoints, gives the log of the model', () => {
  test('over two processes on one file', async () => {
    await fc.assert(
      fc.asyncProperty(historyOver(2), (rounds) => checkHistory(inFile, rounds)),
      { numRuns: 40 },
    )
  })

  test('in memory', async () => {
    await fc.assert(
      fc.asyncProperty(historyOver(1), (rounds) => checkHistory(inMemory, rounds)),
      { numRuns: 100 },
    )
  })
})
