/** How much a relay hands over at once, and what it leaves out. */

import { defineContext, publish } from 'pabal'
import { operate, skipAll } from 'pabal/operate'
import { sqlite } from 'pabal/sqlite'
import { kind, NastyBroker } from 'pabal/testing'
import { expect, test } from 'vitest'
import { eventually } from '../../test/support/eventually.ts'
import { testFolder } from '../../test/support/folder.ts'
import {
  enter,
  ledgerOf,
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
