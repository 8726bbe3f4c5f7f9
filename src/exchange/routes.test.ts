/** Public events over several transports at once: apart, side by side, and from one to another. */

import { type App, defineContext, definePublicEvent, type Exchange, inProcess, over, publish, routes } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { kind, NastyBroker } from 'pabal/testing'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { eventually } from '../../test/support/eventually.ts'
import { testFolder } from '../../test/support/folder.ts'
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
  rowsOf,
  shipping,
  testApp,
  withCode,
} from '../../test/support/shop.ts'

const broker = (faults = kind) => new NastyBroker({ random: Math.random, faults })
const withDuplicates = { ...kind, duplicates: 0.5, lostAcks: 0.3 }

const all = { ordering: [OrderPlacedV1, OrderPaidV1] }
const consume = () =>
  shipping.consume([OrderPlacedV1, OrderPaidV1], 'ship', (event, { tx }) => enter(tx, 'ship', event))

/** Ordering and shipping in folders, over whatever exchange each has just then. */
const world = async () => {
  const folder = await testFolder()
  const [orderingPath, shippingPath] = [`${folder}/ordering.db`, `${folder}/shipping.db`]
  const orderingPart = () => ordering.with({ store: sqlite(orderingPath) })
  const shippingPart = () =>
    shipping.with({ store: sqlite(shippingPath), prepare: prepareLedger, handlers: [consume()] })
  return {
    producer: (exchange: Exchange) => testApp([orderingPart()], { exchange }),
    consumer: (exchange: Exchange) => testApp([shippingPart()], { exchange }),
    monolith: () => testApp([orderingPart(), shippingPart()]),
    shipped: () => ledgerOf(shippingPath),
    published: () => logOf(orderingPath),
    early: () => rowsOf(shippingPath, 'SELECT source, stream, key FROM pabal_shipping_early'),
  }
}
type World = Awaited<ReturnType<typeof world>>

const day = async (app: App, from: number, to: number): Promise<void> => {
  for (let n = from; n < to; n++)
    await app.context(ordering).transaction(({ raise }) => {
      raise(OrderPlaced, order(`k${n % 7}`, n))
      raise(OrderPaid, order(`k${n % 7}`, n))
    })
}

/** Each event once, those of one type in the order of their key. */
const expectWhole = ({ shipped, published, early }: World): void => {
  const typeOf = new Map(published().map(({ id, type }) => [id, type]))
  expect(
    shipped()
      .map(({ event_id }) => event_id)
      .toSorted(),
  ).toEqual([...typeOf.keys()].toSorted())
  const last = new Map<string, number>()
  for (const { event_id, key, sequence } of shipped()) {
    const stream = `${typeOf.get(event_id)} ${key}`
    expect(sequence).toBeGreaterThan(last.get(stream) ?? 0)
    last.set(stream, sequence)
  }
  expect(early()).toEqual([])
}
const whole = async (of: World): Promise<void> => {
  await eventually('all is shipped', () => of.shipped().length >= of.published().length).catch(() => {})
  expectWhole(of)
}

/** Payments over `aside`, all else over `main`. */
const apart = (main: NastyBroker, aside: NastyBroker, isConsumer = false): Exchange =>
  routes(over(main.transport, isConsumer ? { from: { ordering: [OrderPlacedV1] } } : {}), {
    stream: 'payments',
    events: [OrderPaidV1],
    over: over(aside.transport, isConsumer ? { from: { ordering: [OrderPaidV1] } } : {}),
  })

describe('a route', () => {
  test('takes its events apart: they come over its transport, all others over the other', async () => {
    const [main, aside] = [broker(withDuplicates), broker(withDuplicates)]
    const of = await world()
    const [producer, consumer] = [of.producer(apart(main, aside)), of.consumer(apart(main, aside, true))]
    await Promise.all([producer.start(), consumer.start()])
    await day(producer, 0, 40)
    await whole(of)
    // Had one of them carried the other's events as well, each had met twice as many.
    const cursors = (await producer['~pabal'].open()).subscriptions.map(({ name }) => name)
    expect(cursors).toEqual(['relay-nasty', 'relay-nasty-payments'])
  })

  test('begins while old processes of both sides run beside new ones', async () => {
    const [main, aside] = [broker(withDuplicates), broker(withDuplicates)]
    const of = await world()
    const older = {
      producer: of.producer(over(main.transport)),
      consumer: of.consumer(over(main.transport, { from: all })),
    }
    const newer = { producer: of.producer(apart(main, aside)), consumer: of.consumer(apart(main, aside, true)) }
    await Promise.all([older.producer.start(), older.consumer.start()])
    await day(older.producer, 0, 30)
    const starting = [newer.producer.start(), newer.consumer.start()]
    await day(older.producer, 30, 60)
    await Promise.all(starting)
    await day(newer.producer, 60, 90)
    await older.consumer.stop()
    await day(older.producer, 90, 120)
    await older.producer.stop()
    await day(newer.producer, 120, 150)
    await whole(of)
  })

  test('whose broker is away holds up nothing but itself', async () => {
    const [main, aside] = [broker(), broker()]
    const away = { ...aside.transport, open: () => Promise.reject(new Error('away')) }
    const of = await world()
    const producer = of.producer(
      routes(over(main.transport), { stream: 'payments', events: [OrderPaidV1], over: over(away) }),
    )
    const consumer = of.consumer(apart(main, aside, true))
    await Promise.all([producer.start(), consumer.start()])
    await day(producer, 0, 20)
    await eventually('all orders are shipped', () => of.shipped().length === 20)
    await producer.stop()
    const healed = of.producer(apart(main, aside))
    await healed.start()
    await whole(of)
  })

  test('carries another version of an event that goes over the others too', async () => {
    const Terse = z.object({ orderId: z.string() })
    const OrderPlacedV2 = definePublicEvent('shop.order-placed.v2', {
      kind: 'notification',
      schema: Terse,
      key: ({ orderId }) => orderId,
    })
    const both = defineContext('ordering', {
      store: sqlite,
      events: [OrderPlaced],
      publishes: [
        publish(OrderPlaced, OrderPlacedV1, ({ data }) => data),
        publish(OrderPlaced, OrderPlacedV2, ({ data: { orderId } }) => ({ orderId })),
      ],
    })
    const [main, aside] = [broker(), broker()]
    const folder = await testFolder()
    const versions = (from?: 'from'): Exchange =>
      routes(over(main.transport, from ? { from: { ordering: [OrderPlacedV1] } } : {}), {
        stream: 'terse',
        events: [OrderPlacedV2],
        over: over(aside.transport, from ? { from: { ordering: [OrderPlacedV2] } } : {}),
      })
    const producer = testApp([both.with({ store: sqlite(`${folder}/ordering.db`) })], { exchange: versions() })
    const seen: string[] = []
    const see = (name: string, event: typeof OrderPlacedV1 | typeof OrderPlacedV2) => {
      const context = defineContext(name, { store: sqlite, events: [] })
      const handler = context.consume(
        event,
        'see',
        ({ type, data }) => void seen.push(`${name} ${type} ${JSON.stringify(data)}`),
      )
      return context.with({ store: sqlite(`${folder}/${name}.db`), handlers: [handler] })
    }
    const contexts = [see('old', OrderPlacedV1), see('young', OrderPlacedV2)]
    const consumer = testApp(contexts, { exchange: versions('from') })
    await Promise.all([producer.start(), consumer.start()])
    await producer.context(both).transaction(({ raise }) => raise(OrderPlaced, order('a', 5)))
    await eventually('both have come', () => seen.length >= 2)
    expect(seen.toSorted()).toEqual([
      'old shop.order-placed.v1 {"orderId":"a","n":5}',
      'young shop.order-placed.v2 {"orderId":"a"}',
    ])

    // In one context as well: two handlers, one fact, told twice.
    const greedy = defineContext('greedy', { store: sqlite, events: [] })
    const told: string[] = []
    const handlers = [
      greedy.consume(OrderPlacedV1, 'see-1', ({ type }) => void told.push(type)),
      greedy.consume(OrderPlacedV2, 'see-2', ({ type }) => void told.push(type)),
    ]
    const eager = testApp([greedy.with({ store: sqlite(`${folder}/greedy.db`), handlers })], {
      exchange: versions('from'),
    })
    await eager.start()
    await eventually('both are told', () => told.length >= 2)
    expect(told.toSorted()).toEqual([OrderPlacedV1.type, OrderPlacedV2.type])
  })

  test('begins for a handler where it stood when it read everything from one stream', async () => {
    const of = await world()
    const before = of.monolith()
    await day(before, 0, 10)
    await before.settle()
    await day(before, 10, 15) // a backlog that waits while they part
    await before.stop()
    const [main, aside] = [broker(), broker()]
    const [producer, consumer] = [of.producer(apart(main, aside)), of.consumer(apart(main, aside, true))]
    await Promise.all([producer.start(), consumer.start()])
    await day(producer, 15, 25)
    await whole(of)
  })

  test.each([
    ['the consumer', ['consumer', 'producer']],
    ['the producer', ['producer', 'consumer']],
  ] as const)(
    'begins for who has received all in one stream where it stood there, %s deployed first',
    async (_, sequence) => {
      const [main, aside] = [broker(withDuplicates), broker(withDuplicates)]
      const of = await world()
      const running = {
        producer: of.producer(over(main.transport)),
        consumer: of.consumer(over(main.transport, { from: all })),
      }
      await Promise.all([running.producer.start(), running.consumer.start()])
      await day(running.producer, 0, 10)
      await whole(of)
      for (const [n, which] of sequence.entries()) {
        await running[which].stop()
        running[which] = which === 'producer' ? of.producer(apart(main, aside)) : of.consumer(apart(main, aside, true))
        await running[which].start()
        await day(running.producer, 10 + n * 10, 20 + n * 10)
        // Only what has not parted gets there while one of the two is the older one.
        if (n === 0) await eventually('the orders are there', () => of.shipped().length === 30)
      }
      await whole(of)
      // What parted has come again from the beginning, and was known.
      await day(running.producer, 30, 35)
      await whole(of)
    },
  )

  test.each([
    ['a part of it', 13],
    ['all of it', 20],
  ])('begins behind what retention has dropped of the stream that it was in, %s', async (_, through) => {
    const [main, aside] = [broker(), broker()]
    const of = await world()
    const producer = of.producer(over(main.transport))
    const consumer = of.consumer(over(main.transport, { from: all }))
    await Promise.all([producer.start(), consumer.start()])
    await day(producer, 0, 10)
    await whole(of)
    const { database, contextStore } = (await consumer['~pabal'].open()).runtimes.get('shipping')!
    await database.transaction((session) => contextStore.log.dropThrough(session, through))
    await Promise.all([producer.stop(), consumer.stop()])
    const [parted, apartNow] = [of.producer(apart(main, aside)), of.consumer(apart(main, aside, true))]
    await Promise.all([parted.start(), apartNow.start()])
    await day(parted, 10, 20)
    await whole(of)
  })

  test('over two transports: what comes over both is applied once', async () => {
    const brokers = [broker(withDuplicates), broker(withDuplicates)]
    const twice = (from = {}): Exchange =>
      routes(inProcess(), {
        stream: 'orders',
        events: all.ordering,
        over: brokers.map(({ transport }, n) => over(transport, { from, name: `broker-${n + 1}` })),
      })
    const of = await world()
    const [producer, consumer] = [of.producer(twice()), of.consumer(twice(all))]
    await Promise.all([producer.start(), consumer.start()])
    await day(producer, 0, 30)
    await whole(of)
    await producer.settle()
    expectWhole(of)
  })
})

test('a broker is replaced by another while events flow: none is lost, none applied twice', async () => {
  const [old, next] = [broker(withDuplicates), broker(withDuplicates)]
  const of = await world()
  const onlyOld = (from = {}) => over(old.transport, { from, name: 'old' })
  const onlyNext = (from = {}) => over(next.transport, { from, name: 'next' })
  const both = (from = {}) => routes(onlyOld(from), onlyNext(from))
  const exchanges = [onlyOld, both, both, onlyNext] as const
  // First who receives, then who sends: what goes over the new one has somebody who listens.
  const deployments = [
    [exchanges[0], exchanges[0]],
    [exchanges[0], exchanges[1]],
    [exchanges[1], exchanges[2]],
    [exchanges[3], exchanges[3]],
  ] as const
  for (const [n, [sends, receives]] of deployments.entries()) {
    const [consumer, producer] = [of.consumer(receives(all)), of.producer(sends())]
    await Promise.all([consumer.start(), producer.start()])
    await day(producer, n * 10, n * 10 + 10)
    // Before a transport is left, what it was given has come.
    await producer.settle()
    await whole(of)
    await Promise.all([consumer.stop(), producer.stop()])
  }
})

describe('routes are refused', () => {
  const { transport } = broker()
  const route = { stream: 'payments', events: [OrderPaidV1], over: over(transport) }
  test.each([
    ['with one event in two of them', () => routes(route, { ...route, stream: 'more' }), /in two routes/],
    ['with one stream twice', () => routes(route, { ...route, events: [OrderPlacedV1] }), /same stream/],
    ['with a name that is none', () => routes({ ...route, stream: 'Pay-ments' }), /not a stream's name/],
    ["with the others' name", () => routes({ ...route, stream: 'public' }), /not a stream's name/],
    ['over what carries nothing', () => routes({ ...route, over: inProcess() }), /carries nothing/],
    ['over two transports of one name', () => routes(over(transport), over(transport)), /another `name`/],
    [
      'with names that would make one',
      () => routes(over(transport, { name: 'nasty-payments' }), route),
      /relay-nasty-payments/,
    ],
    [
      'where an event is expected over the wrong one',
      () =>
        testApp([shipping.with({ store: sqlite('x.db') })], {
          exchange: routes(over(transport, { from: all }), route),
        }),
      /not of the stream 'public'/,
    ],
  ])('%s', (_, make, reason) => {
    expect(make).toThrow(withCode('PABAL_COMPOSITION_INVALID', reason))
  })
})
