/** The code of the README: what a user writes, type-checked and run by the tests. */

import { createApp, defineCommand, defineContext, defineEvent, definePublicEvent, inProcess, publish } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { z } from 'zod'

export const OrderPlacedV1 = definePublicEvent('shop.order-placed.v1', {
  kind: 'domain',
  schema: z.object({ orderId: z.string(), total: z.number() }),
  key: (o) => o.orderId,
})

const Order = z.object({ orderId: z.string(), total: z.number(), card: z.string() })
const key = (o: { orderId: string }) => o.orderId
export const OrderPlaced = defineEvent('ordering.order-placed', { schema: Order, key })
export const OrderPaid = defineEvent('ordering.order-paid', {
  schema: z.object({ orderId: z.string(), chargeId: z.string() }),
  key,
})
export const OrderCancelled = defineEvent('ordering.order-cancelled', {
  schema: z.object({ orderId: z.string() }),
  key,
})
export const PlaceOrder = defineCommand('ordering.place-order', {
  schema: Order,
  refusals: { 'over-limit': z.object({ limit: z.number() }) },
})

export const ordering = defineContext('ordering', {
  store: sqlite,
  events: [OrderPlaced, OrderPaid, OrderCancelled],
  publishes: [publish(OrderPlaced, OrderPlacedV1, ({ data }) => ({ orderId: data.orderId, total: data.total }))],
})

export const placeOrder = ordering.handle(PlaceOrder, ({ data }, { tx, raise, refuse }) => {
  if (data.total > 5_000) throw refuse('over-limit', { limit: 5_000 })
  tx.run('insert into orders (id, total) values (?, ?)', data.orderId, data.total)
  raise(OrderPlaced, data)
})
export const orderList = ordering.on([OrderPlaced, OrderCancelled], 'order-list', ({ type, data }, { tx }) => {
  if (type === 'ordering.order-placed')
    tx.run('insert into order_list (id, total) values (?, ?)', data.orderId, data.total)
  else tx.run('delete from order_list where id = ?', data.orderId)
})
export interface Psp {
  charge(card: string, total: number, o: { idempotencyKey: string; signal: AbortSignal }): Promise<{ chargeId: string }>
}
export const charge = (psp: Psp) =>
  ordering.on(
    OrderPlaced,
    'charge',
    ({ data }, { idempotencyKey, signal }) => psp.charge(data.card, data.total, { idempotencyKey, signal }),
    {
      effects: 'external',
      startAt: 'now',
      retry: { attempts: 2, first: 1, max: 5 },
      record: ({ chargeId }, { key: orderId }, { raise }) => raise(OrderPaid, { orderId, chargeId }),
      onExhausted: (_error, { key: orderId }, { raise }) => raise(OrderCancelled, { orderId }),
    },
  )

export const shipping = defineContext('shipping', { store: sqlite, events: [] })
export const openShipment = shipping.consume(OrderPlacedV1, 'open-shipment', ({ data }, { tx }) =>
  tx.run('insert into shipment (order_id, total) values (?, ?)', data.orderId, data.total),
)

export const createShop = (dir: string, psp: Psp) =>
  createApp({
    contexts: [
      ordering.with({
        store: sqlite(`${dir}/ordering.db`),
        handlers: [placeOrder, orderList, charge(psp)],
        prepare: (tx) => {
          tx.run('create table if not exists orders (id text primary key, total integer)')
          tx.run('create table if not exists order_list (id text primary key, total integer)')
        },
      }),
      shipping.with({
        store: sqlite(`${dir}/shipping.db`),
        handlers: [openShipment],
        prepare: (tx) => tx.run('create table if not exists shipment (order_id text primary key, total integer)'),
      }),
    ],
    exchange: inProcess(),
  })
