/**
 * P2 A position is given after commit, is gapless from 1, never changes, is the same for every reader; reading beyond a cursor
 * misses nothing. P3 Per key the sequence is 1, 2, 3 … and positions agree with it.
 */

import { array as many, assert, asyncProperty, integer, nat, record } from 'fast-check'
import { createApp } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { expect, test } from 'vitest'
import { testFolder } from '../support/folder.ts'
import { logOf, OrderPlaced, order, ordering } from '../support/shop.ts'
import { expectGapless, realOrders } from './world.ts'

const open = (path: string) => createApp({ onWarning: () => {}, contexts: [ordering.with({ store: sqlite(path) })] })

/** Turns of the event loop that a unit waits before, within and after its raising. */
const unit = record({
  writer: nat(2),
  before: nat(3),
  within: nat(3),
  events: integer({ min: 1, max: 5 }),
  rollsBack: integer({ min: 0, max: 9 }),
})

const turns = async (count: number): Promise<void> => {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve))
}

test('with several writers and rollbacks, a reader that follows its cursor sees every event once, in place', async () => {
  const orders = await realOrders(300)
  await assert(
    asyncProperty(many(unit, { minLength: 1, maxLength: 25 }), async (units) => {
      const path = `${await testFolder()}/ordering.db`
      const apps = [open(path), open(path), open(path)]
      let next = 0
      const writing = units.map(async ({ writer, before, within, events, rollsBack }) => {
        const mine = Array.from({ length: events }, () => orders[next++ % orders.length]!)
        await turns(before)
        await apps[writer]!.context(ordering)
          .transaction(async ({ raise }) => {
            for (const { orderId, n } of mine) {
              raise(OrderPlaced, order(orderId, n))
              await turns(within)
            }
            if (rollsBack === 0) throw new Error('rolled back')
          })
          .catch(() => {})
      })
      const { logs } = await apps[0]!['~pabal'].open()
      const { database, store } = logs.get('ordering')!
      const seen: { position: number; id: string; key: string; sequence: number }[] = []
      const follow = async (): Promise<void> => {
        for (;;) {
          const after = seen.at(-1)?.position ?? 0
          const { events } = await database.read((session) => store.log.readAfter(session, { after, limit: 7 }))
          if (events.length === 0) return
          seen.push(...events)
        }
      }
      const state = { done: false }
      const all = Promise.all(writing).then(() => {
        state.done = true
      })
      while (!state.done) {
        await follow()
        await turns(1)
      }
      await all
      await follow()
      for (const app of apps) await app.stop()
      const log = logOf(path)
      expect(seen.map(({ id }) => id)).toEqual(log.map(({ id }) => id))
      expect(seen.map(({ position }) => position)).toEqual(log.map(({ position }) => position))
      expectGapless(log)
      const committed = units.filter(({ rollsBack }) => rollsBack !== 0)
      expect(log).toHaveLength(committed.reduce((sum, { events }) => sum + events, 0))
    }),
    { numRuns: 40 },
  )
})

test('positions and sequences go on where they were after retention has dropped everything', async () => {
  const path = `${await testFolder()}/ordering.db`
  const orders = await realOrders(60)
  const app = open(path)
  const placeAll = (from: number, to: number) =>
    app.context(ordering).transaction(({ raise }) => {
      for (const { orderId, n } of orders.slice(from, to)) raise(OrderPlaced, order(orderId, n))
    })
  await placeAll(0, 30)
  const before = logOf(path)
  const { logs } = await app['~pabal'].open()
  const { database, store } = logs.get('ordering')!
  await database.transaction((session) => store.log.dropThrough(session, 30))
  expect(logOf(path)).toEqual([])
  await placeAll(30, 60)
  await app.stop()
  expectGapless([...before, ...logOf(path)])
})
