/**
 * P9 Between contexts the same as P4 and P5, whether they run in one process or in two, and when one of them moves out while a
 * backlog waits: no line of the two contexts changes.
 */

import { createApp } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { expect, test } from 'vitest'
import { type Child, startChild } from '../support/child.ts'
import { eventually } from '../support/eventually.ts'
import { testFolder } from '../support/folder.ts'
import {
  enter,
  ledgerOf,
  logOf,
  OrderPaid,
  OrderPaidV1,
  OrderPlaced,
  OrderPlacedV1,
  order,
  ordering,
  prepareLedger,
  shipping,
} from '../support/shop.ts'
import { none, paths, realOrders, violations } from './world.ts'

const together = (folder: string) =>
  createApp({
    onWarning: () => {},
    contexts: [
      ordering.with({ store: sqlite(paths(folder).ordering) }),
      shipping.with({
        store: sqlite(paths(folder).shipping),
        prepare: prepareLedger,
        handlers: [shipping.consume([OrderPlacedV1, OrderPaidV1], 'ship', (event, { tx }) => enter(tx, 'ship', event))],
      }),
    ],
  })

const producerAlone = (folder: string) =>
  createApp({ onWarning: () => {}, contexts: [ordering.with({ store: sqlite(paths(folder).ordering) })] })

type Producer = ReturnType<typeof together>

/** Some are paid, and of those some are nobody else's business: not published, and no gap. */
const placeAll = async (app: Producer, orders: readonly { orderId: string; n: number }[]): Promise<void> => {
  for (const [index, { orderId }] of orders.entries())
    await app.context(ordering).transaction(({ raise }) => {
      raise(OrderPlaced, order(orderId, index))
      if (index % 2 === 0) raise(OrderPaid, order(orderId, index % 4 === 0 ? -1 : index))
    })
}

const published = (folder: string) =>
  logOf(paths(folder).ordering).filter(({ data }) => (JSON.parse(data) as { n: number }).n >= 0)

const expectAllShipped = (folder: string): void =>
  expect(violations(ledgerOf(paths(folder).shipping, 'ship'), published(folder))).toEqual(none)

const shippedAll = (folder: string) => (): boolean =>
  ledgerOf(paths(folder).shipping, 'ship').length >= published(folder).length

const moveOut = async (folder: string): Promise<Child> => {
  const child = startChild({ file: 'test/guarantees/shipping-service.ts' }, folder)
  await child.said('started')
  return child
}

test('two contexts in one process', async () => {
  const folder = await testFolder()
  await using app = together(folder)
  await app.start()
  await placeAll(app, await realOrders(120))
  await app.settle({ withinMs: 20_000 })
  expectAllShipped(folder)
})

test('the same two in two processes, the consumer killed and started again in between', async () => {
  const folder = await testFolder()
  const orders = await realOrders(120)
  await using app = producerAlone(folder)
  await placeAll(app, orders.slice(0, 40))
  const first = await moveOut(folder)
  await placeAll(app, orders.slice(40, 80))
  await first.kill()
  await placeAll(app, orders.slice(80))
  await moveOut(folder)
  await eventually('everything is shipped', shippedAll(folder), 20_000)
  expectAllShipped(folder)
})

test('the consumer moved out while a backlog waits, and back again', async () => {
  const folder = await testFolder()
  const orders = await realOrders(120)
  {
    await using app = together(folder)
    await app.start()
    await placeAll(app, orders.slice(0, 40))
  }
  {
    await using app = producerAlone(folder)
    await placeAll(app, orders.slice(40, 60))
    const service = await moveOut(folder)
    await placeAll(app, orders.slice(60, 90))
    await eventually(
      'some of the backlog is shipped',
      () => ledgerOf(paths(folder).shipping, 'ship').length > 60,
      20_000,
    )
    await service.kill()
    await placeAll(app, orders.slice(90))
  }
  await using app = together(folder)
  await app.settle({ withinMs: 20_000 })
  expectAllShipped(folder)
})
