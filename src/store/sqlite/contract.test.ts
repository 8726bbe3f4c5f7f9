import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { inFile, inMemory } from '../../../test/support/sqlite-harness.ts'
import {
  type Cannot,
  checkHistory,
  type HistoryUnit,
  plan,
  storeContract,
  type StoreHarness,
} from '../../testing/index.ts'

const oneHandle = 'a database in memory belongs to one connection of one process; there is no second handle on it'
const cannotInMemory: Cannot = {
  'a committed event is in the log, for every process': oneHandle,
  'of two transactions that append to one key, the second waits for the first': oneHandle,
  'a read waits for no writer, of its own process or another': 'readers share the one connection with the writer',
  'a context that is opened twice, or by two processes at once, is one': oneHandle,
  'closing waits for the transaction that is open, and refuses those that wait for it': oneHandle,
  'of two who expect the same sequence one wins': oneHandle,
  'who reads while several processes append misses nothing and sees nothing twice': oneHandle,
  'of two processes that claim one lane, one gets it': oneHandle,
  'a lease that has not run out is not taken over': oneHandle,
  'a lease that has run out is taken over, and its old owner moves nothing any more': oneHandle,
  'a move stores the place and renews the lease': oneHandle,
  'holding a lease renews it without a move, and tells the position': oneHandle,
  'a released lease is free at once, and keeps its epoch': oneHandle,
  'an owner is told by its next moves which of the lanes in them somebody wishes for': oneHandle,
  'a wish changes nothing of the fence: only its owner moves a lane, and it does': oneHandle,
  'a wish that has run out is told to nobody': oneHandle,
  'a lane that is given back goes to the one that wished for it, and the wish ends with that': oneHandle,
  'a lane that is given back to one that does not come is free when its wish has run out': oneHandle,
  'an owner claims its own lane anew, whoever wishes for it': oneHandle,
  'a wish is made for lanes of others that nobody else wishes for, and may be repeated': oneHandle,
  'an owner is one as long as one of its leases lasts; for itself it always is': oneHandle,
  'an edition keeps its number, whoever joins it and how often': oneHandle,
  'the first of a newer edition has the lanes of those that run an older one taken away': oneHandle,
  'where effects are outside such a lane is fenced, and stays with its owner until that has given it back': oneHandle,
  'whoever joins the edition that runs takes nothing away': oneHandle,
  'an older edition that joins is superseded, and takes nothing away, until the newer one has left': oneHandle,
  'what is wanted of a source is what those want who are there': oneHandle,
  'who locks heads sees those of whoever had them before, also where there were none': oneHandle,
  'the answer of a unit is found by its idempotency key, in any process': oneHandle,
  'a log is what its units have committed, over any history of three processes': oneHandle,
}

const suites: [string, StoreHarness, Cannot][] = [
  ['a SQLite file', inFile, {}],
  ['SQLite in memory', inMemory, cannotInMemory],
]

describe.each(suites)('%s', (adapter, harness, cannot) => {
  const planned = plan(storeContract, cannot)

  test.each(planned.filter((rule) => rule.cannot === undefined))('$name', ({ run }) => run(harness))

  // A declaration that has become untrue fails.
  test.each(planned.filter((rule) => rule.cannot !== undefined))('cannot: $name ($cannot)', async ({ run }) => {
    await expect(run(harness)).rejects.toBeInstanceOf(Error)
  })

  afterAll(() => {
    const byReason = Map.groupBy(planned, (rule) => rule.cannot)
    byReason.delete(undefined)
    for (const [reason, rules] of byReason)
      console.info(`${adapter} cannot, because ${reason}:${rules.map(({ name }) => `\n  ${name}`).join('')}`)
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
