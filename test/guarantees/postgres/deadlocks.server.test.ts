/** Keys are locked in one order, so that a flush waits for others and never in a circle; where units bring one about, it is resolved. */

import { array as many, assert, asyncProperty, shuffledSubarray } from 'fast-check'
import { describe, expect, onTestFailed, test } from 'vitest'
import { gate } from '../../support/eventually.ts'
import { missingPostgres, testDatabase } from '../../support/postgres.ts'
import { titled } from '../../support/require-server.ts'
import { deadline, testChance, timeout } from './chance.ts'
import {
  committedIn,
  createState,
  faultsOf,
  Follower,
  idsOf,
  insertState,
  none,
  openProcess,
  ordersOf,
} from './workload.ts'

const missing = missingPostgres()
describe.skipIf(missing)(titled('several keys in one unit', missing), () => {
  test('locked in opposite order by two units, in savepoints: one is run again, both are done once', async () => {
    const database = await testDatabase()
    await database.sql(`ALTER DATABASE ${database.name} SET deadlock_timeout = '20ms'`)
    const processes = [await openProcess(database), await openProcess(database)] as const
    await createState(database)
    const orders = await ordersOf(2)
    const keys = [orders.customers, orders.customers.toReversed()] as const
    const holding = [gate(), gate()] as const
    let runs = 0
    const unit = async (n: 0 | 1): Promise<string[]> => {
      const { database: own, log, tx } = processes[n]
      const events = keys[n].map((key) => orders.event(key))
      await own.transaction(async (session) => {
        runs++
        for (const [part, event] of events.entries()) {
          await session.savepoint(async () => {
            await tx(session).query(insertState, [[event.id]])
            await log.append(session, [event])
          })
          if (part > 0) continue
          // Each has its first key: now both want the other's.
          holding[n].open()
          await Promise.all(holding.map(({ opened }) => opened))
        }
      })
      return idsOf(events)
    }
    const done = (await Promise.all([unit(0), unit(1)])).flat()
    // Run again, it may meet the other one again.
    expect(runs).toBeGreaterThanOrEqual(3)
    expect((await committedIn(database)).toSorted()).toEqual(done.toSorted())
    expect(faultsOf(await new Follower(processes[0]).end(), done)).toEqual(none)
  })

  test('appended at once, by eight clients in any order: no circle comes about', timeout, async () => {
    const database = await testDatabase()
    // Whoever does wait in a circle is found at once.
    await database.sql(`ALTER DATABASE ${database.name} SET deadlock_timeout = '1ms'`)
    const process = await openProcess(database, { pool: { max: 8 } })
    const orders = await ordersOf(6)
    const committed: string[] = []
    const seed = testChance().below(2 ** 31)
    onTestFailed(() => console.error(`the key sets had the seed ${seed}`))
    const keySets = many(shuffledSubarray([...orders.customers], { minLength: 2 }), { minLength: 8, maxLength: 8 })
    for (const end = deadline(1_000); ; ) {
      await assert(
        asyncProperty(keySets, async (sets) => {
          let runs = 0
          await Promise.all(
            sets.map(async (keys) => {
              const events = keys.map((key) => orders.event(key))
              await process.database.transaction(async (session) => {
                runs++
                await process.log.append(session, events)
              })
              committed.push(...idsOf(events))
            }),
          )
          expect(runs).toBe(sets.length)
        }),
        { numRuns: 25, seed: seed + committed.length },
      )
      if (end.passed()) break
    }
    expect(faultsOf(await new Follower(process, 100).end(), committed)).toEqual(none)
  })
})
