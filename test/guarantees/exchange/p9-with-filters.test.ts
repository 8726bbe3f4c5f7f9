/** P9 With filters, kept by the receiver or by the broker: exactly the wanted events, once, in order; what is lost still shows. */

import { type App, over } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import type { CarriedOptions } from '../../../src/exchange/exchange.ts'
import type { Transport } from '../../../src/exchange/transport.ts'
import { kind, nasty, NastyBroker, type NastyOptions } from '../../../src/testing/nasty-transport.ts'
import { eventually } from '../../support/eventually.ts'
import {
  asia,
  billing,
  carelessOrdering,
  consumerOf,
  countReceived,
  earlyIn,
  filteringBy,
  fromOrdering,
  large,
  OrderPaid,
  OrderPaidV1,
  OrderPlaced,
  OrderPlacedV1,
  ordering,
  pathOf,
  placeAll,
  producerOf,
  producing,
  type ShopFilter,
  shipping,
  wantedOf,
} from '../../support/filtered-shop.ts'
import { testFolder } from '../../support/folder.ts'
import { enter, ledgerOf, parkedIn, prepareLedger, sequencesOf, testApp } from '../../support/shop.ts'
import { seeded } from '../postgres-workers/seeded.ts'
import { realOrders } from '../world.ts'

const random = (): (() => number) => {
  const seed = Number(process.env['PABAL_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
  onTestFinished(() => console.error(`the faults were chosen with PABAL_SEED=${seed}`))
  return seeded(seed)
}

/** The guard taken out: what varies within a key is left to the broker too. */
const unguarded = vi.hoisted(() => ({ selection: false }))
vi.mock('../../../src/app/selection.ts', async (original) => {
  const real = await original<typeof import('../../../src/app/selection.ts')>()
  return {
    selectionFor: (wants: Parameters<typeof real.selectionFor>[0]) =>
      unguarded.selection ? wants[0]!.filter : real.selectionFor(wants),
  }
})

const real = realOrders(500)

const world = async (broken: Partial<NastyOptions> = {}) => {
  const folder = await testFolder()
  const broker = new NastyBroker({ random: random(), selects: true, ...broken })
  let receptions = 0
  const { transport } = broker
  const counted: Transport = {
    ...transport,
    open: async (opened) => {
      const open = await transport.open(opened)
      return {
        ...open,
        receive: async (...of) => {
          const receiving = await open.receive(...of)
          receptions++
          return receiving
        },
      }
    },
  }
  const carried = (more?: CarriedOptions) => over(counted, { from: fromOrdering, ...more })
  const origins = [producing(folder)]
  const producer = producerOf(folder, carried({ from: {} }))
  await producer.start()
  const place = async (from: number, to: number): Promise<void> => placeAll(producer, (await real).slice(from, to))
  /** One event after the other, each of its key. */
  const tell = (...orders: readonly (readonly [orderId: string, country: string])[]): Promise<void> =>
    producer.context(ordering).transaction(({ raise }) => {
      for (const [orderId, country] of orders) raise(OrderPlaced, { orderId, country, n: 1 })
    })
  const consumer = async (filter: ShopFilter | undefined, options: CarriedOptions = {}): Promise<App> => {
    const before = receptions
    const app = consumerOf(carried(options), filteringBy(folder, shipping, filter))
    await app.start()
    await eventually('the broker knows what it wants', () => receptions > before)
    return app
  }
  const ledger = (name: string) => ledgerOf(pathOf(folder, name))
  const early = (name: string) => earlyIn(folder, name)
  return {
    folder,
    broker,
    carried,
    origins,
    producer,
    place,
    tell,
    consumer,
    early,
    receptions: () => receptions,
    received: (name: string) => countReceived(folder, name),
    applied: (name = 'shipping') => sequencesOf(ledger(name)),
    until: (name: string, filter: ShopFilter | undefined) =>
      eventually(`${name} has what it wants`, () => ledger(name).length >= wantedOf(folder, filter).length, 30_000),
    /** Exactly what is wanted, and nothing left behind. */
    expectWhole: (name: string, filter: ShopFilter | undefined) => {
      expect(sequencesOf(ledger(name))).toEqual(sequencesOf(wantedOf(folder, filter)))
      expect(ledger(name).length).toBe(wantedOf(folder, filter).length)
      expect(early(name)).toEqual([])
      expect(parkedIn(pathOf(folder, name), name)).toEqual([])
    },
  }
}

describe('over a nasty broker', () => {
  test.each([
    [true, true],
    [true, false],
    [false, true],
    [false, false],
  ])(
    'nothing wanted is lost, doubled or out of order (it selects: %s, ordered: %s)',
    { timeout: 120_000 },
    async (selects, ordered) => {
      const { folder, broker, carried, place, until, expectWhole, received, applied } = await world({
        selects,
        traits: { ordered },
      })
      const open = async () => {
        const app = consumerOf(carried(), filteringBy(folder, shipping, asia), filteringBy(folder, billing, large))
        await app.start()
        return app
      }
      // Half of what is committed comes again, as after a crash between the commit and its acknowledgement. What is refused waits up
      // to a minute for its turn, so there is little of that.
      broker.faults = { ...nasty, lostAcks: 0.5, partialFailures: 0.03 }
      const first = await open()
      await place(0, 300)
      await eventually(
        'some is applied',
        () => Object.keys(applied()).length > 0 && Object.keys(applied('billing')).length > 0,
      )
      await first.stop({ graceMs: 0 })
      await open()
      await place(300, 500)
      // What the broker has kept back did not come; what varies within a key did.
      const all = wantedOf(folder, undefined).length
      const kept = (name: string, filter: ShopFilter) =>
        eventually(
          `${name} has no more and no less`,
          () => received(name) === (selects ? wantedOf(folder, filter).length : all),
          60_000,
        )
      await kept('shipping', asia)
      await kept('billing', { country: ['US'] })
      await until('shipping', asia)
      await until('billing', large)
      broker.faults = kind
      expectWhole('shipping', asia)
      expectWhole('billing', large)
    },
  )

  test('an old process that begins again keeps back nothing that new ones want', async () => {
    const { tell, consumer, until, expectWhole } = await world({ faults: kind })
    const [few, more] = [{ country: ['KR'] }, { country: ['KR', 'JP'] }] as const
    const older = await consumer(few)
    await consumer(more)
    await older.stop()
    await consumer(few)
    for (let n = 0; n < 20; n++) await tell([`kr-${n}`, 'KR'], [`jp-${n}`, 'JP'], [`us-${n}`, 'US'])
    await until('shipping', more)
    expectWhole('shipping', more)
  })

  test('an old process that begins again keeps back nothing that another handler of new ones wants', async () => {
    const { folder, carried, tell, receptions } = await world({ faults: kind })
    const start = async (...countries: string[]) => {
      const handlers = countries.map((country) =>
        shipping.consume(
          [OrderPlacedV1, OrderPaidV1],
          country.toLowerCase(),
          (event, { tx }) => enter(tx, country, event),
          { filter: { country: [country] } },
        ),
      )
      const bound = shipping.with({ store: sqlite(pathOf(folder, 'shipping')), prepare: prepareLedger, handlers })
      const app = testApp([bound], { exchange: carried() })
      const before = receptions()
      await app.start()
      await eventually('the broker knows what it wants', () => receptions() > before)
      return app
    }
    const older = await start('KR')
    await start('KR', 'JP')
    await older.stop()
    await start('KR')
    for (let n = 0; n < 10; n++) await tell([`kr-${n}`, 'KR'], [`jp-${n}`, 'JP'])
    await eventually('all is handled', () => ledgerOf(pathOf(folder, 'shipping')).length === 20)
  })

  test('that loses: what is wanted is read in the log of its producer', { timeout: 60_000 }, async () => {
    const { place, consumer, producer, origins, expectWhole } = await world({
      traits: { delivery: 'at-most-once' },
      faults: { ...nasty, lost: 0.3 },
    })
    const app = await consumer(asia, { origins })
    await place(0, 200)
    await producer.settle({ withinMs: 30_000 })
    await app.settle({ withinMs: 30_000 })
    expectWhole('shipping', asia)
  })
})

describe('what is lost shows', () => {
  test('between two that come, whatever the broker keeps back beside', async () => {
    const { broker, tell, consumer, applied, early, producer } = await world({
      traits: { delivery: 'at-most-once' },
      faults: kind,
    })
    await consumer(asia)
    await tell(['a', 'KR'], ['b', 'US'])
    await eventually('the first is there', () => applied()['a'] !== undefined)
    broker.faults = { ...kind, lost: 1 }
    await tell(['a', 'KR'])
    await producer.settle()
    broker.faults = kind
    await tell(['b', 'US'], ['a', 'KR'], ['c', 'JP'])
    await eventually('it waits', () => early('shipping').length > 0 && applied()['c'] !== undefined)
    expect(early('shipping')).toEqual([{ key: 'a', sequence: 3, reason: 'gap' }])
    expect(applied()).toEqual({ a: [1], c: [1] })
  })

  test('of a producer that lets a key change too', async () => {
    const { folder, carried, producer, consumer, applied, early } = await world({ faults: kind })
    await producer.stop()
    const careless = producerOf(folder, carried({ from: {} }), carelessOrdering)
    await careless.start()
    await consumer(asia)
    await careless.context(carelessOrdering).transaction(({ raise }) => {
      for (const country of ['KR', 'US', 'KR']) raise(OrderPlaced, { orderId: 'a', country, n: 1 })
    })
    await eventually('it waits', () => early('shipping').length > 0)
    expect(early('shipping')).toEqual([{ key: 'a', sequence: 3, reason: 'gap' }])
    expect(applied()).toEqual({ a: [1] })
  })
})

describe('a key that changes', () => {
  test('parks at the relay; one that has no value at first may get one', async () => {
    const { folder, producer, consumer, applied } = await world({ faults: kind })
    await consumer(undefined)
    await producer.context(ordering).transaction(({ raise }) => {
      raise(OrderPlaced, { orderId: 'late', n: 1 })
      raise(OrderPaid, { orderId: 'late', country: 'KR', n: 1 })
      raise(OrderPlaced, { orderId: 'moved', country: 'KR', n: 1 })
      raise(OrderPaid, { orderId: 'moved', country: 'US', n: 1 })
      raise(OrderPlaced, { orderId: 'gone', country: 'KR', n: 1 })
    })
    // Read anew: what was before it is looked up.
    await eventually('all that can be is sent', () => applied()['gone'] !== undefined)
    await producer.context(ordering).transaction(({ raise }) => raise(OrderPaid, { orderId: 'gone', n: 1 }))
    await eventually('both wait', () => parkedIn(pathOf(folder, 'ordering')).length === 2)
    expect(parkedIn(pathOf(folder, 'ordering'))).toMatchObject([
      { key: 'gone', sequence: 2, status: 'dead', error: expect.stringContaining("'country' is to stay the same") },
      { key: 'moved', sequence: 2, status: 'dead', error: expect.stringContaining("'country' is to stay the same") },
    ])
    expect(applied()).toEqual({ late: [1, 2], moved: [1], gone: [1] })
  })
})

describe('a filter that a deployment changes', () => {
  test('narrowed: what is still on its way is passed over', async () => {
    const { broker, tell, consumer, producer, applied, early } = await world({ faults: kind })
    const before = await consumer(undefined)
    await tell(['a', 'KR'], ['b', 'US'])
    await eventually('both are there', () => Object.keys(applied()).length === 2)
    await before.stop()
    await tell(['a', 'KR'], ['b', 'US'])
    await producer.settle()
    expect(broker.waiting).toBe(2)
    await consumer(asia)
    await tell(['b', 'US'], ['a', 'KR'])
    await eventually('the wanted ones are there', () => applied()['a']?.length === 3)
    expect(applied()).toEqual({ a: [1, 2, 3], b: [1] })
    expect(early('shipping')).toEqual([])
  })

  test.each(['widened', 'taken away'])(
    '%s: a key that was kept back waits for what was before, until that is read',
    { timeout: 60_000 },
    async (how) => {
      const { tell, consumer, applied, early, origins } = await world({ faults: kind })
      const wider = how === 'widened' ? { country: ['KR', 'JP', 'US'] } : undefined
      const before = await consumer(asia)
      await tell(['a', 'KR'], ['b', 'US'], ['b', 'US'])
      await eventually('what was wanted is there', () => applied()['a'] !== undefined)
      await before.stop()
      const blind = await consumer(wider)
      await tell(['b', 'US'], ['c', 'US'], ['a', 'KR'])
      await eventually('what begins now is there', () => applied()['c'] !== undefined && applied()['a']?.length === 2)
      expect(applied()).toEqual({ a: [1, 2], c: [1] })
      expect(early('shipping')).toEqual([{ key: 'b', sequence: 3, reason: 'gap' }])
      await blind.stop()
      await consumer(wider, { origins })
      await eventually('all is there', () => applied()['b']?.length === 3, 30_000)
      expect(applied()).toEqual({ a: [1, 2], b: [1, 2, 3], c: [1] })
      expect(early('shipping')).toEqual([])
    },
  )

  test("'now': a key that was kept back begins with what comes", async () => {
    const { tell, consumer, applied, early } = await world({ faults: kind, traits: { ordered: true } })
    const before = await consumer(asia, { startAt: 'now' })
    await tell(['a', 'KR'], ['b', 'US'])
    await eventually('what was wanted is there', () => applied()['a'] !== undefined)
    await before.stop()
    await consumer(undefined, { startAt: 'now' })
    await tell(['b', 'US'], ['b', 'US'], ['a', 'KR'])
    await eventually('all that comes is there', () => applied()['b']?.length === 2 && applied()['a']?.length === 2)
    expect(applied()).toEqual({ a: [1, 2], b: [2, 3] })
    expect(early('shipping')).toEqual([])
  })

  test('while processes of both deployments run: what both want is handled once, in order', {
    timeout: 60_000,
  }, async () => {
    const { place, consumer, producer, folder, broker, applied } = await world()
    const both = { country: ['KR'] }
    await consumer(both)
    await consumer(asia)
    await place(0, 300)
    await producer.settle({ withinMs: 30_000 })
    const wanted = wantedOf(folder, both)
    const keys = new Set(wanted.map(({ key }) => key))
    const handled = () => ledgerOf(pathOf(folder, 'shipping')).filter(({ key }) => keys.has(key))
    await eventually('what both want is there', () => handled().length >= wanted.length, 30_000)
    broker.faults = kind
    expect(sequencesOf(handled())).toEqual(sequencesOf(wanted))
    // Of Japan only what the second has asked the broker for.
    for (const [key, sequences] of Object.entries(applied()))
      expect([key, sequences]).toEqual([key, sequences.toSorted((a, b) => a - b)])
  })
})

test('an earlier producer, whose events say nothing, is heard in full', async () => {
  const { folder, producer, consumer, applied, received } = await world({ faults: kind })
  await consumer(asia)
  await producer.context(ordering).transaction(({ raise }) => {
    raise(OrderPlaced, { orderId: 'a', n: 1 })
    raise(OrderPlaced, { orderId: 'b', country: 'KR', n: 1 })
  })
  await eventually('the wanted one is there', () => applied()['b'] !== undefined)
  expect(wantedOf(folder, undefined)).toHaveLength(2)
  expect(received('shipping')).toBe(2)
  expect(applied()).toEqual({ b: [1] })
})

test.each([false, true])(
  'only what stays the same for a key is left to the broker (taken out: %s)',
  { timeout: 60_000 },
  async (isUnguarded) => {
    unguarded.selection = isUnguarded
    onTestFinished(() => {
      unguarded.selection = false
    })
    const { folder, place, consumer, producer, until, applied, early, broker } = await world({ faults: kind })
    await consumer(large)
    await place(0, 200)
    await producer.settle({ withinMs: 30_000 })
    if (!isUnguarded) await until('shipping', large)
    else await eventually('all has been taken', () => broker.waiting === 0 && early('shipping').length > 0)
    const isWhole = JSON.stringify(applied()) === JSON.stringify(sequencesOf(wantedOf(folder, large)))
    expect([isWhole, early('shipping').length > 0]).toEqual(isUnguarded ? [false, true] : [true, false])
  },
)
