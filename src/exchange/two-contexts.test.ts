/** Two contexts in one process, in two, and moved from one to two while a backlog waits: the same effects. */

import { DatabaseSync } from 'node:sqlite'
import { sharedStore } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { describe, expect, test } from 'vitest'
import { startChild } from '../../test/support/child.ts'
import { eventually } from '../../test/support/eventually.ts'
import { testFolder } from '../../test/support/folder.ts'
import {
  enter,
  ledgerOf,
  logOf,
  OrderCancelled,
  OrderPaid,
  OrderPaidV1,
  OrderPlaced,
  OrderPlacedV1,
  order,
  ordering,
  parkedIn,
  prepareLedger,
  shipping,
  ShipmentOpened,
  testApp,
} from '../../test/support/shop.ts'

const consume = () =>
  shipping.consume([OrderPlacedV1, OrderPaidV1], 'ship', (event, { tx }) => enter(tx, 'ship', event))

const paths = async () => {
  const folder = await testFolder()
  return { orderingPath: `${folder}/ordering.db`, shippingPath: `${folder}/shipping.db` }
}
type Paths = Awaited<ReturnType<typeof paths>>

const together = ({ orderingPath, shippingPath }: Paths, handlers = [consume()]) =>
  testApp([
    ordering.with({ store: sqlite(orderingPath) }),
    shipping.with({ store: sqlite(shippingPath), prepare: prepareLedger, handlers }),
  ])
const orderingAlone = ({ orderingPath }: Paths) => testApp([ordering.with({ store: sqlite(orderingPath) })])
const shippingAlone = ({ orderingPath, shippingPath }: Paths) =>
  testApp([shipping.with({ store: sqlite(shippingPath), prepare: prepareLedger, handlers: [consume()] })], {
    exchange: sharedStore(ordering.with({ store: sqlite(orderingPath) })),
  })
const serviceOf = ({ orderingPath, shippingPath }: Paths) =>
  startChild({ file: 'test/support/shipping-process.ts' }, orderingPath, shippingPath)

/** Orders of a day; what is published of them is what is told, in the order of each key. */
const day = async (app: ReturnType<typeof orderingAlone>, from: number, to: number): Promise<void> => {
  for (let i = from; i < to; i++)
    await app.context(ordering).transaction(({ raise }) => {
      const id = `k${i % 5}`
      raise(OrderPlaced, order(id, i))
      if (i % 3 === 0) raise(OrderCancelled, order(id, i))
      raise(OrderPaid, order(id, i % 2 === 0 ? i : -1))
    })
}
const published = (path: string) =>
  logOf(path).filter(
    ({ type, data }) => type === OrderPlaced.type || (type === OrderPaid.type && !data.includes('"n":-')),
  )
const byKey = (rows: readonly { key: string; sequence: number }[]) =>
  rows.map(({ key, sequence }) => `${key}/${String(sequence).padStart(4, '0')}`).toSorted()

const expectSame = ({ orderingPath, shippingPath }: Paths): void => {
  const ledger = ledgerOf(shippingPath)
  expect(byKey(ledger)).toEqual(byKey(published(orderingPath)))
  expect(ledger.map(({ event_id }) => event_id).toSorted()).toEqual(
    published(orderingPath)
      .map(({ id }) => id)
      .toSorted(),
  )
  const last = new Map<string, number>()
  for (const { key, sequence } of ledger) {
    expect(sequence).toBeGreaterThan(last.get(key) ?? 0)
    last.set(key, sequence)
  }
  expect(parkedIn(shippingPath, 'shipping')).toEqual([])
}

test('in one process', async () => {
  const both = await paths()
  const app = together(both)
  await day(app, 0, 40)
  await app.settle({ withinMs: 10_000 })
  expectSame(both)
})

test('in two processes, the consumer is woken by the producer’s commits', { timeout: 180_000 }, async () => {
  const both = await paths()
  const producer = orderingAlone(both)
  await day(producer, 0, 20)
  const service = serviceOf(both)
  await service.said('started')
  await day(producer, 20, 40)
  await eventually(
    'the other process to have applied everything',
    () => ledgerOf(both.shippingPath).length === published(both.orderingPath).length,
  )
  service.tell('stop')
  await service.said('stopped')
  expectSame(both)
})

test('moved out while a backlog waits, and back', { timeout: 180_000 }, async () => {
  const both = await paths()
  const monolith = together(both)
  await day(monolith, 0, 20)
  await monolith.settle({ withinMs: 10_000 })
  await day(monolith, 20, 30)
  await monolith.stop()
  const service = serviceOf(both)
  await service.said('started')
  const producer = orderingAlone(both)
  await day(producer, 30, 50)
  service.tell('settle')
  await service.said('settled')
  await service.kill()
  await day(producer, 50, 60)
  await producer.stop()
  const again = together(both)
  await day(again, 60, 70)
  await again.settle({ withinMs: 10_000 })
  expectSame(both)
})

test('in both at once, by mistake: nothing twice, nothing lost', async () => {
  const both = await paths()
  const monolith = together(both)
  const service = shippingAlone(both)
  await Promise.all([monolith.start(), service.start()])
  await day(monolith, 0, 40)
  await monolith.settle({ withinMs: 10_000 })
  await service.settle({ withinMs: 10_000 })
  expectSame(both)
})

describe('a public event', () => {
  test('keeps id, key, sequence, time and cause of the private one, and nothing else of it', async () => {
    const both = await paths()
    const seen: {
      data: unknown
      type: string
      source: string
      id: string
      sequence: number
      correlationId: string
      metadata: unknown
    }[] = []
    const app = together(both, [
      shipping.consume(OrderPlacedV1, 'ship', (event, { raise }) => {
        seen.push(event)
        raise(ShipmentOpened, event.data)
      }),
    ])
    await app.context(ordering).transaction(({ raise }) => {
      raise(OrderPlaced, order('a', 1))
      raise(OrderPlaced, order('a', 2))
    })
    await app.settle({ withinMs: 10_000 })
    const [first, second] = logOf(both.orderingPath)
    expect(seen).toMatchObject([
      {
        type: 'shop.order-placed.v1',
        source: 'ordering',
        id: first?.id,
        key: 'a',
        sequence: 1,
        correlationId: first?.id,
        data: order('a', 1),
      },
      { id: second?.id, sequence: 2, correlationId: first?.id },
    ])
    expect(seen[0]?.metadata).toBeUndefined()
    const opened = logOf(both.shippingPath, 'shipping')
    expect(opened.map(({ causation_id, correlation_id, hops }) => [causation_id, correlation_id, hops])).toEqual([
      [first?.id, first?.id, 1],
      [second?.id, first?.id, 1],
    ])
  })

  test('of a stored version that the producer’s code does not know parks its key', async () => {
    const both = await paths()
    const first = together(both)
    await day(first, 0, 2)
    await first.stop()
    const db = new DatabaseSync(both.orderingPath)
    db.exec('UPDATE pabal_ordering_event SET version = 2 WHERE position = 1')
    db.close()
    const app = together(both, [
      shipping.consume(OrderPlacedV1, 'ship', (event, { tx }) => enter(tx, 'ship', event), { retry: 'none' }),
    ])
    await app.settle({ withinMs: 10_000 })
    expect(ledgerOf(both.shippingPath).map(({ key }) => key)).toEqual(['k1'])
    expect(parkedIn(both.shippingPath, 'shipping')).toMatchObject([
      { key: 'k0', status: 'dead', error: expect.stringContaining('PABAL_UNKNOWN_EVENT_VERSION') },
    ])
  })
})
