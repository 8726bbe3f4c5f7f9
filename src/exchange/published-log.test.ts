/** The published log: what is filtered is no gap, what is missing is one, and what cannot be mapped parks its key. */

import fc from 'fast-check'
import { defineContext, publish } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { describe, expect, test } from 'vitest'
import { testFolder } from '../../test/support/folder.ts'
import {
  enter,
  impatient,
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
  sequencesOf,
  shipping,
  testApp,
} from '../../test/support/shop.ts'
import { VirtualClock } from '../../test/support/virtual-clock.ts'
import { hiding } from '../../test/support/lossy-store.ts'

const kinds = { placed: OrderPlaced, paid: OrderPaid, cancelled: OrderCancelled, unpublished: OrderPaid } as const
type Kind = keyof typeof kinds

const open = (folder: string, only: readonly ('placed' | 'paid')[], lanes = 1) => {
  const wanted = only.map((kind) => (kind === 'placed' ? OrderPlacedV1 : OrderPaidV1))
  return testApp(
    [
      ordering.with({ store: sqlite(`${folder}/ordering.db`) }),
      shipping.with({
        store: sqlite(`${folder}/shipping.db`),
        prepare: prepareLedger,
        handlers: [shipping.consume(wanted, 'ship', (event, { tx }) => enter(tx, 'ship', event), { lanes, batch: 3 })],
      }),
    ],
    { environment: impatient() },
  )
}

test('whatever is filtered or not published between them, the events of a key are applied in order, once, without a gap', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.tuple(fc.constantFrom<Kind>('placed', 'paid', 'cancelled', 'unpublished'), fc.constantFrom('a', 'b', 'c')),
        { maxLength: 40 },
      ),
      fc.constantFrom<readonly ('placed' | 'paid')[]>(['placed'], ['paid'], ['placed', 'paid']),
      fc.constantFrom(1, 3),
      async (events, only, lanes) => {
        const folder = await testFolder()
        const half = Math.floor(events.length / 2)
        for (const part of [events.slice(0, half), events.slice(half)]) {
          const app = open(folder, only, lanes)
          await app.context(ordering).transaction(({ raise }) => {
            for (const [kind, key] of part) raise(kinds[kind], order(key, kind === 'unpublished' ? -1 : 1))
          })
          await app.settle({ withinMs: 10_000 })
          await app.stop()
        }
        const expected = logOf(`${folder}/ordering.db`).filter(
          ({ type, data }) =>
            (only.includes('placed') && type === OrderPlaced.type) ||
            (only.includes('paid') && type === OrderPaid.type && !data.includes('-1')),
        )
        expect(sequencesOf(ledgerOf(`${folder}/shipping.db`))).toEqual(sequencesOf(expected))
        expect(parkedIn(`${folder}/shipping.db`, 'shipping')).toEqual([])
      },
    ),
    { numRuns: 30, seed: 536_365 },
  )
})

test('a consumer that takes more types from now on handles what its keys have had of them, in order', async () => {
  const folder = await testFolder()
  const first = open(folder, ['placed'])
  await first.context(ordering).transaction(({ raise }) => {
    raise(OrderPlaced, order('a'))
    raise(OrderPaid, order('a'))
  })
  await first.settle({ withinMs: 10_000 })
  await first.stop()
  const second = open(folder, ['placed', 'paid'])
  await second.context(ordering).transaction(({ raise }) => raise(OrderPlaced, order('a')))
  await second.settle({ withinMs: 10_000 })
  expect(sequencesOf(ledgerOf(`${folder}/shipping.db`))).toEqual({ a: [1, 2, 3] })
})

describe('an event that is not there', () => {
  const withClock = (folder: string, hidden: Set<string>, clock: VirtualClock) =>
    testApp(
      [
        ordering.with({ store: hiding(sqlite(`${folder}/ordering.db`), hidden) }),
        shipping.with({
          store: sqlite(`${folder}/shipping.db`),
          prepare: prepareLedger,
          handlers: [
            shipping.consume(OrderPlacedV1, 'ship', (event, { tx }) => enter(tx, 'ship', event), {
              retry: { attempts: 3, first: '1m' },
              onExhausted: 'skip',
            }),
          ],
        }),
      ],
      { environment: clock },
    )

  test('stops its key, named as missing; it is never skipped, not even by a policy; other keys go on', async () => {
    const folder = await testFolder()
    const hidden = new Set<string>()
    const clock = new VirtualClock()
    const app = withClock(folder, hidden, clock)
    await app.start()
    const place = (...keys: string[]) =>
      app.context(ordering).transaction(({ raise }) => {
        for (const key of keys) raise(OrderPlaced, order(key))
      })
    await place('a')
    await clock.drive(app.settle())
    hidden.add('a2')
    await place('a', 'a', 'b', 'a')
    await clock.drive(app.settle())
    expect(sequencesOf(ledgerOf(`${folder}/shipping.db`))).toEqual({ a: [1], b: [1] })
    expect(parkedIn(`${folder}/shipping.db`, 'shipping')).toMatchObject([
      { key: 'a', status: 'dead', sequence: 2, error: expect.stringContaining('PABAL_EVENT_MISSING') },
    ])
  })

  test('that comes into sight while its key is tried again fills its place, and the key goes on by itself', async () => {
    const folder = await testFolder()
    const hidden = new Set<string>()
    const clock = new VirtualClock()
    const app = withClock(folder, hidden, clock)
    await app.start()
    await app.context(ordering).transaction(({ raise }) => raise(OrderPlaced, order('a')))
    await clock.drive(app.settle())
    hidden.add('a2')
    await app.context(ordering).transaction(({ raise }) => {
      for (const key of ['a', 'b', 'a', 'a']) raise(OrderPlaced, order(key))
    })
    await clock.advance(50_000)
    expect(sequencesOf(ledgerOf(`${folder}/shipping.db`))).toEqual({ a: [1], b: [1] })
    expect(parkedIn(`${folder}/shipping.db`, 'shipping')).toMatchObject([{ key: 'a', status: 'retrying', sequence: 2 }])
    hidden.clear()
    await clock.drive(app.settle())
    expect(sequencesOf(ledgerOf(`${folder}/shipping.db`))).toEqual({ a: [1, 2, 3, 4], b: [1] })
    expect(parkedIn(`${folder}/shipping.db`, 'shipping')).toEqual([])
  })

  test('because the producer has dropped it unread is missing, not filtered', async () => {
    const folder = await testFolder()
    const clock = new VirtualClock()
    const app = withClock(folder, new Set(), clock)
    const place = (key: string) => app.context(ordering).transaction(({ raise }) => raise(OrderPlaced, order(key)))
    await place('a')
    await clock.drive(app.settle())
    await place('a')
    const { database, store } = (await app['~pabal'].open()).logs.get('ordering')!
    await database.transaction((session) => store.log.dropThrough(session, 2))
    await place('a')
    await place('b')
    await clock.drive(app.settle())
    expect(sequencesOf(ledgerOf(`${folder}/shipping.db`))).toEqual({ a: [1], b: [1] })
    expect(parkedIn(`${folder}/shipping.db`, 'shipping')).toMatchObject([
      { key: 'a', status: 'dead', error: expect.stringContaining('PABAL_EVENT_MISSING') },
    ])
  })
})

describe('a mapping that throws', () => {
  const mapped = (broken: () => boolean) =>
    defineContext('ordering', {
      store: sqlite,
      events: [OrderPlaced, OrderPaid, OrderCancelled],
      publishes: [
        publish(OrderPlaced, OrderPlacedV1, ({ data }) => {
          if (broken() && data.orderId === 'bad') throw new Error('cannot say that')
          return data.orderId === 'wrong' && broken() ? ({ ...data, n: 'x' } as never) : data
        }),
      ],
    })

  test('parks the key at the consumer; the producer and every other key go on; mended, the key goes on', async () => {
    const folder = await testFolder()
    let broken = true
    const producer = mapped(() => broken)
    const clock = new VirtualClock()
    const told: unknown[] = []
    const app = testApp(
      [
        producer.with({ store: sqlite(`${folder}/ordering.db`) }),
        shipping.with({
          store: sqlite(`${folder}/shipping.db`),
          prepare: prepareLedger,
          handlers: [
            shipping.consume(OrderPlacedV1, 'ship', (event, { tx }) => enter(tx, 'ship', event), {
              retry: { attempts: 5 },
            }),
            shipping.consume(OrderPlacedV1, 'watch', () => undefined, {
              retry: 'none',
              onExhausted: (_error, event) => {
                told.push(event.data)
              },
            }),
          ],
        }),
      ],
      { environment: clock },
    )
    await app.start()
    await app.context(producer).transaction(({ raise }) => {
      for (const key of ['bad', 'a', 'wrong', 'bad', 'a']) raise(OrderPlaced, order(key))
    })
    await clock.advance(100)
    const parked = parkedIn(`${folder}/shipping.db`, 'shipping')
    expect(sequencesOf(ledgerOf(`${folder}/shipping.db`))).toEqual({ a: [1, 2] })
    expect(parked.filter(({ consumer }) => consumer === 'ship')).toMatchObject([
      { key: 'bad', sequence: 1, waiting: 1, error: expect.stringContaining('PABAL_PUBLICATION_FAILED') },
      { key: 'wrong', sequence: 1, waiting: 0, error: expect.stringContaining('PABAL_PUBLICATION_FAILED') },
    ])
    // What could not be published is told to nobody: the private payload stays private.
    expect(told).toEqual([])
    expect(parked.filter(({ consumer }) => consumer === 'watch').map(({ status }) => status)).toEqual(['dead', 'dead'])
    broken = false
    await clock.drive(app.settle())
    expect(sequencesOf(ledgerOf(`${folder}/shipping.db`))).toEqual({ a: [1, 2], bad: [1, 2], wrong: [1] })
  })
})
