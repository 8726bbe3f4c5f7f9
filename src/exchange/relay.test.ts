/** How much a relay hands over at once, and what it leaves out. */

import { defineContext, publish } from 'pabal'
import { operate, skipAll } from 'pabal/operate'
import { sqlite } from 'pabal/sqlite'
import { kind, NastyBroker } from 'pabal/testing'
import { describe, expect, test } from 'vitest'
import { eventually } from '../../test/support/eventually.ts'
import { testFolder } from '../../test/support/folder.ts'
import {
  enter,
  ledgerOf,
  logOf,
  OrderPaid,
  OrderPlaced,
  OrderPlacedV1,
  order,
  ordering,
  parkedIn,
  prepareLedger,
  shipping,
  testApp,
} from '../../test/support/shop.ts'
import { VirtualClock } from '../../test/support/virtual-clock.ts'
import { over } from './exchange.ts'
import type { Transport } from './transport.ts'

test('a batch that takes too long is not begun again whole for ever: the next one is smaller', async () => {
  const clock = new VirtualClock()
  const given: number[] = []
  const published: string[] = []
  // A tenth of a second for each, so that a whole batch does not fit in the relay's half minute.
  const slow: Transport = {
    name: 'slow',
    traits: { ordered: true, delivery: 'at-least-once', messageBytes: 1_048_576 },
    open: async () => ({
      publish: async (_channel, messages, signal) => {
        given.push(messages.length)
        await clock.sleep(messages.length * 100, signal)
        signal.throwIfAborted()
        published.push(...messages.map(({ id }) => id))
        return messages.map(() => undefined)
      },
      receive: () => Promise.reject(new Error('nothing comes from there')),
      [Symbol.asyncDispose]: async () => {},
    }),
  }
  const path = `${await testFolder()}/ordering.db`
  const app = testApp([ordering.with({ store: sqlite(path) })], { exchange: over(slow), environment: clock })
  await app.context(ordering).transaction(({ raise }) => {
    for (let n = 0; n < 1_500; n++) raise(OrderPaid, order(`k${n % 7}`, n))
  })
  await clock.drive(app.settle())
  expect(new Set(published).size).toBe(1_500)
  expect(published).toHaveLength(1_500)
  expect(given.slice(0, 3)).toEqual([1_000, 500, 250])
})

/** It refuses the first message that it is given of each of these keys, and then none. */
const refusingOnce = (keys: ReadonlySet<string>) => {
  const left = new Set(keys)
  const given: number[] = []
  const published: { readonly key: string; readonly id: string }[] = []
  let outage = 0
  const transport: Transport = {
    name: 'refusing',
    traits: { ordered: true, delivery: 'at-least-once', messageBytes: 1_048_576 },
    open: async () => ({
      publish: async (_channel, messages) => {
        given.push(messages.length)
        if (given.length > 1 && outage-- > 0) throw new Error('the broker is away')
        const refused = new Set(messages.map(({ key }) => key).filter((key) => left.has(key)))
        for (const key of refused) left.delete(key)
        published.push(...messages.filter(({ key }) => !refused.has(key)))
        return messages.map(({ key }) => (refused.has(key) ? { error: new Error('too many at once') } : undefined))
      },
      receive: () => Promise.reject(new Error('nothing comes from there')),
      [Symbol.asyncDispose]: async () => {},
    }),
  }
  return { transport, given, published, isAwayFor: (publishes: number) => void (outage = publishes) }
}

describe('keys of which a broker has refused a message', () => {
  const keys = Array.from({ length: 100 }, (_, n) => `k${n}`)
  const refused = new Set(keys.filter((_, n) => n % 2 === 0))
  const relaying = async (broker: ReturnType<typeof refusingOnce>, each: number) => {
    const clock = new VirtualClock()
    const path = `${await testFolder()}/ordering.db`
    const app = testApp([ordering.with({ store: sqlite(path) })], {
      exchange: over(broker.transport),
      environment: clock,
    })
    await app.context(ordering).transaction(({ raise }) => {
      for (let n = 0; n < each; n++) for (const key of keys) raise(OrderPaid, order(key, n))
    })
    return { app, clock, path }
  }

  test('go on together, each in order: what waits behind them is not published one by one', async () => {
    const broker = refusingOnce(refused)
    const { app, clock, path } = await relaying(broker, 30)
    await clock.drive(app.settle())
    const idsOf = (those: readonly { readonly key: string; readonly id: string }[], key: string) => [
      ...new Set(those.filter((one) => one.key === key).map(({ id }) => id)),
    ]
    for (const key of keys) expect(idsOf(broker.published, key)).toEqual(idsOf(logOf(path), key))
    expect(parkedIn(path)).toEqual([])
    // Three for the log, and a few for what was refused and what is behind that.
    expect(broker.given.length).toBeLessThan(12)
  })

  test('are not set back by a broker that is away when their turn comes', async () => {
    const broker = refusingOnce(refused)
    broker.isAwayFor(8)
    const { app, clock, path } = await relaying(broker, 1)
    const started = clock.now()
    await clock.drive(app.settle())
    expect(new Set(broker.published.map(({ id }) => id)).size).toBe(100)
    expect(parkedIn(path)).toEqual([])
    // Eight tries with the waits of a loop, and not of eight failures of each key, which are a minute and more.
    expect(clock.now() - started).toBeLessThan(30_000)
  })
})

test('an event that cannot be told, left out by a person, is missed by no receiver: its key goes on there too', async () => {
  const folder = await testFolder()
  const [orderingPath, shippingPath] = [`${folder}/ordering.db`, `${folder}/shipping.db`]
  const { transport } = new NastyBroker({ random: Math.random, traits: { ordered: true }, faults: kind })
  const told = defineContext('ordering', {
    store: sqlite,
    events: [OrderPlaced],
    publishes: [
      publish(OrderPlaced, OrderPlacedV1, ({ data }) => {
        if (data.n === 2) throw new Error('it cannot be told')
        return data
      }),
    ],
  })
  const start = async () => {
    const app = testApp([told.with({ store: sqlite(orderingPath) })], { exchange: over(transport) })
    await app.start()
    return app
  }
  const place = (app: Awaited<ReturnType<typeof start>>, n: number) =>
    app.context(told).transaction(({ raise }) => raise(OrderPlaced, order('a', n)))
  const ship = shipping.consume(OrderPlacedV1, 'ship', (event, { tx }) => enter(tx, 'ship', event))
  const consumer = testApp([shipping.with({ store: sqlite(shippingPath), prepare: prepareLedger, handlers: [ship] })], {
    exchange: over(transport, { from: { ordering: [OrderPlacedV1] } }),
  })
  await consumer.start()
  const producer = await start()
  for (const n of [1, 2, 3]) await place(producer, n)
  await eventually('its key waits', () => parkedIn(orderingPath).some(({ status }) => status === 'dead'))
  await skipAll(await operate(producer), {}, { by: 'the test', reason: 'nobody needs it' })
  const shipped = () => ledgerOf(shippingPath).map(({ sequence }) => sequence)
  await eventually('the one behind it is shipped', () => shipped().length === 2)
  // Nor by one that remembers nothing of it.
  await producer.stop()
  await place(await start(), 4)
  await eventually('and what comes later', () => shipped().length === 3)
  expect(shipped()).toEqual([1, 3, 4])
})
