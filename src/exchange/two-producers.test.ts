/** A consumer of two producers: each source keeps its own order, its own parked keys and its own lateness. */

import { defineContext, defineEvent, definePublicEvent, publish } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { testFolder } from '../../test/support/folder.ts'
import {
  enter,
  ledgerOf,
  logOf,
  OrderPlaced,
  OrderPlacedV1,
  order,
  ordering,
  parkedIn,
  prepareLedger,
  sequencesOf,
  shipping,
  ShipmentOpened,
  testApp,
} from '../../test/support/shop.ts'
import { VirtualClock } from '../../test/support/virtual-clock.ts'

const Paid = z.object({ orderId: z.string(), n: z.int() })
const PaidV1 = definePublicEvent('payment.paid.v1', { kind: 'domain', schema: Paid, key: ({ orderId }) => orderId })
const WasPaid = defineEvent('payment.was-paid', { schema: Paid, key: ({ orderId }) => orderId })
const payment = defineContext('payment', {
  store: sqlite,
  events: [WasPaid],
  publishes: [publish(WasPaid, PaidV1, ({ data }) => data)],
})

const open = async (fails: (source: string, key: string) => boolean) => {
  const folder = await testFolder()
  const clock = new VirtualClock()
  const app = testApp(
    [
      ordering.with({ store: sqlite(`${folder}/ordering.db`) }),
      payment.with({ store: sqlite(`${folder}/payment.db`) }),
      shipping.with({
        store: sqlite(`${folder}/shipping.db`),
        prepare: prepareLedger,
        handlers: [
          shipping.consume(
            [OrderPlacedV1, PaidV1],
            'ship',
            (event, { tx }) => {
              enter(tx, event.source, event)
              if (fails(event.source, event.key)) throw new Error('no')
            },
            {
              retry: { attempts: 3, first: '1h', max: '1h' },
              within: { time: '10m', onLate: ({ data }, { raise }) => raise(ShipmentOpened, data) },
            },
          ),
        ],
      }),
    ],
    { environment: clock },
  )
  const placed = (...ids: string[]) =>
    app.context(ordering).transaction(({ raise }) => {
      for (const id of ids) raise(OrderPlaced, order(id))
    })
  const paid = (...ids: string[]) =>
    app.context(payment).transaction(({ raise }) => {
      for (const id of ids) raise(WasPaid, order(id))
    })
  await app.start()
  return { app, clock, placed, paid, path: `${folder}/shipping.db` }
}

test('the same key of both is two keys', async () => {
  const { app, clock, placed, paid, path } = await open((source, key) => source === 'payment' && key === 'a')
  await placed('a', 'b', 'a')
  await paid('a', 'b', 'a', 'b')
  await clock.drive(app.settle())
  expect(sequencesOf(ledgerOf(path, 'ordering'))).toEqual({ a: [1, 2], b: [1] })
  expect(sequencesOf(ledgerOf(path, 'payment'))).toEqual({ b: [1, 2] })
  expect(parkedIn(path, 'shipping')).toMatchObject([{ source: 'payment', key: 'a', status: 'dead', waiting: 1 }])
})

test('what is late of one is seen, however far the other has come', async () => {
  const { clock, placed, paid, path } = await open((_source, key) => key === 'slow')
  await placed('a', 'b', 'c', 'd', 'e')
  await clock.advance(1_000)
  await paid('slow')
  await placed('f', 'g')
  await clock.advance(30 * 60_000)
  expect(logOf(path, 'shipping').map(({ type, key }) => `${type} ${key}`)).toEqual(['shipping.shipment-opened slow'])
})
