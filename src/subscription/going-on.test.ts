/** How a parked key goes on, under the interleavings that lose events when the rule is wrong. */

import { sqlite } from 'pabal/sqlite'
import { expect, test } from 'vitest'
import { eventually } from '../../test/support/eventually.ts'
import { testFolder } from '../../test/support/folder.ts'
import {
  enter,
  impatient,
  ledgerOf,
  OrderPlaced,
  ordering,
  parkedIn,
  prepareLedger,
  rowsOf,
  testApp,
} from '../../test/support/shop.ts'

const order = (orderId: string, n = 0) => ({ orderId, n })

test('an event that queues up while its key is being redriven is handled too', async () => {
  const path = `${await testFolder()}/ordering.db`
  let broken = true
  const list = ordering.on(
    OrderPlaced,
    'list',
    (event, { tx }) => {
      if (broken && event.key === 'a') throw new Error('broken')
      enter(tx, 'list', event)
    },
    { retry: 'none' },
  )
  const app = testApp([ordering.with({ store: sqlite(path), handlers: [list], prepare: prepareLedger })], {
    environment: impatient(),
  })
  const place = (orderId: string) =>
    app.context(ordering).transaction(({ raise }) => raise(OrderPlaced, order(orderId)))
  await place('a')
  await app.start()
  await eventually('the key is dead', () => parkedIn(path)[0]?.status === 'dead')
  broken = false

  // Between the reading of the key and its transaction another event of it comes, and the cursor passes it.
  const opened = await app['~pabal'].open()
  const source = opened.subscriptions[0]!.source
  const readKey = source.readKey.bind(source)
  const passed = () =>
    Number(rowsOf<{ position: number }>(path, 'SELECT position FROM pabal_ordering_cursor')[0]?.position)
  source.readKey = async (...args) => {
    source.readKey = readKey
    const events = await readKey(...args)
    await place('a')
    await eventually('the cursor has passed the second event', () => passed() === 2)
    return events
  }
  const { contextStore, database } = opened.runtimes.get('ordering')!
  await database.transaction(async (session) => contextStore.parking.retry(session, {}, Date.now()))
  opened.subscriptions[0]!.ring()

  await app.settle({ withinMs: 10_000 })
  expect(ledgerOf(path).map(({ sequence }) => sequence)).toEqual([1, 2])
  expect(parkedIn(path)).toEqual([])
})
