/** How much a relay hands over at once, and what it leaves out. */

import { defineContext, over, publish, type Transport } from 'pabal'
import { operate, skipAll } from 'pabal/operate'
import { sqlite } from 'pabal/sqlite'
import { kind, NastyBroker } from 'pabal/testing'
import { expect, test } from 'vitest'
import { eventually } from '../../test/support/eventually.ts'
import { testFolder } from '../../test/support/folder.ts'
import {
  enter,
  impatient,
  ledgerOf,
  logOf,
  OrderPlaced,
  OrderPlacedV1,
  order,
  ordering,
  parkedIn,
  prepareLedger,
  shipping,
  testApp,
} from '../../test/support/shop.ts'

/** It needs time for each message, and tells nothing of what it was stopped in. */
const slow = (arrived: Map<string, number>): Transport => ({
  name: 'slow',
  traits: { ordered: true, delivery: 'at-least-once', messageBytes: 1_048_576 },
  open: async () => ({
    publish: async (_, messages, signal) => {
      for (const { id } of messages) {
        await new Promise((resolve) => setTimeout(resolve, 1))
        signal.throwIfAborted()
        arrived.set(id, (arrived.get(id) ?? 0) + 1)
      }
      return messages.map(() => undefined)
    },
    receive: () => Promise.reject(new Error('nobody receives')),
    [Symbol.asyncDispose]: async () => {},
  }),
})

test('what a broker is too slow for as a whole goes out in smaller parts, once it has gone out not at all', async () => {
  const path = `${await testFolder()}/ordering.db`
  const arrived = new Map<string, number>()
  // The time that a publish may take is over after 50 ms: too early for all, late enough for a few.
  const app = testApp([ordering.with({ store: sqlite(path) })], {
    exchange: over(slow(arrived)),
    environment: impatient(50),
  })
  await app.context(ordering).transaction(({ raise }) => {
    for (let n = 0; n < 500; n++) raise(OrderPlaced, order(`k${n % 3}`, n))
  })
  await app.start()
  await app.settle()
  expect([...arrived.keys()]).toEqual(logOf(path).map(({ id }) => id))
  expect(app.warnings.join()).toContain('PABAL_HANDLER_TIMEOUT')
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
