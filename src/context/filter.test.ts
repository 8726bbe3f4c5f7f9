/** Filters where the producer's log is read, in one process or over the shared store: exactly the wanted events, once, in order. */

import fc from 'fast-check'
import { type Bound, inProcess, sharedStore } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { describe, expect, test } from 'vitest'
import { eventually } from '../../test/support/eventually.ts'
import {
  asia,
  consumerOf,
  filteringBy,
  OrderPaid,
  OrderPlaced,
  OrderPlacedV1,
  orderOf,
  ordering,
  pathOf,
  producerOf,
  producing,
  type ShopFilter,
  shipping,
  wantedOf,
} from '../../test/support/filtered-shop.ts'
import { testFolder } from '../../test/support/folder.ts'
import { enter, ledgerOf, parkedIn, prepareLedger, sequencesOf, testApp } from '../../test/support/shop.ts'

const exchanges = {
  'in process': (folder: string, consumer: Bound) => consumerOf(inProcess(), producing(folder), consumer),
  'over the shared store': (folder: string, consumer: Bound) => consumerOf(sharedStore(producing(folder)), consumer),
}
const anyFilter = fc.constantFrom<ShopFilter | undefined>(
  undefined,
  { country: ['KR'] },
  asia,
  { large: ['yes'] },
  { country: ['US'], large: ['no'] },
  { country: ['DE'] },
)

describe.each(Object.entries(exchanges))('%s', (_, open) => {
  test('what is wanted is handled, in order, once; what a filter wants from now on has no gap', async () => {
    const orders = fc.array(fc.tuple(fc.constantFrom('a', 'b', 'c', 'd', 'e'), fc.nat(200)), { maxLength: 30 })
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(orders, anyFilter), { maxLength: 3 }), async (deployments) => {
        const folder = await testFolder()
        const expected: { key: string; sequence: number }[] = []
        let before = 0
        for (const [placed, filter] of deployments) {
          const producer = producerOf(folder)
          await producer.context(ordering).transaction(({ raise }) => {
            for (const [id, n] of placed) raise(n % 2 === 0 ? OrderPlaced : OrderPaid, orderOf(id, n))
          })
          await producer.stop()
          const consumer = open(folder, filteringBy(folder, shipping, filter))
          await consumer.settle({ withinMs: 10_000 })
          await consumer.stop()
          expected.push(...wantedOf(folder, filter).filter(({ position }) => position > before))
          before += placed.length
        }
        const applied = deployments.length === 0 ? [] : ledgerOf(pathOf(folder, 'shipping'))
        expect(sequencesOf(applied)).toEqual(sequencesOf(expected))
        if (deployments.length > 0) expect(parkedIn(pathOf(folder, 'shipping'), 'shipping')).toEqual([])
      }),
      { numRuns: 15, seed: 290_001 },
    )
  })
})

describe('each phase', () => {
  /** Of three events one is wanted, `b` of the United States. */
  const open = async (handler: (seen: string[]) => Parameters<typeof shipping.with>[0]['handlers']) => {
    const path = `${await testFolder()}/shop.db`
    const store = sqlite(path)
    const seen: string[] = []
    const app = testApp([
      ordering.with({ store }),
      shipping.with({ store, prepare: prepareLedger, handlers: handler(seen)! }),
    ])
    await app.start()
    const place = () =>
      app.context(ordering).transaction(({ raise }) => {
        raise(OrderPlaced, { orderId: 'a', country: 'KR', n: 1 })
        raise(OrderPlaced, { orderId: 'b', country: 'US', n: 1 })
        raise(OrderPlaced, { orderId: 'c', n: 1 })
      })
    return { app, path, seen, place }
  }
  const filter = { country: ['US'] }

  test('before commit', async () => {
    const { path, place } = await open(() => [
      shipping.consume(
        OrderPlacedV1,
        'strict',
        ({ id, key }, { tx }) => {
          enter(tx, 'strict', { id, key, sequence: 0 })
        },
        { phase: 'before-commit', filter },
      ),
    ])
    await place()
    expect(ledgerOf(path).map(({ key }) => key)).toEqual(['b'])
  })

  test('in every instance', async () => {
    const { seen, place } = await open((told) => [
      shipping.consume(OrderPlacedV1, 'cache', ({ key }) => told.push(key), { phase: 'every-instance', filter }),
      shipping.consume(OrderPlacedV1, 'all', ({ key }) => told.push(`all-${key}`), { phase: 'every-instance' }),
    ])
    await place()
    await eventually('all are told', () => seen.includes('all-c') && seen.includes('b'))
    expect(seen.toSorted()).toEqual(['all-a', 'all-b', 'all-c', 'b'])
  })

  test('with effects outside: neither run nor recorded, nor late', async () => {
    const { app, seen, place } = await open((told) => [
      shipping.consume(OrderPlacedV1, 'mail', ({ key }) => key, {
        effects: 'external',
        startAt: 'beginning',
        record: (result, { key }) => told.push(`${result} recorded for ${key}`),
        filter,
      }),
      shipping.consume(
        OrderPlacedV1,
        'slow',
        () => {
          throw new Error('not today')
        },
        { filter, retry: 'none', within: { time: 1, onLate: ({ key }) => void told.push(`${key} is late`) } },
      ),
    ])
    await place()
    await eventually('both have come', () => seen.length === 2)
    await app.settle({ withinMs: 10_000 }).catch(() => {})
    expect(seen.toSorted()).toEqual(['b is late', 'b recorded for b'])
  })
})
