/** Purchase completes orders and says so. It knows nobody who listens. */

import { defineCommand, defineContext, defineEvent, publish } from 'pabal'
import { type SqliteTx, sqlite } from 'pabal/sqlite'
import { Order, OrderCompletedV1 } from './contract.ts'

export const CompleteOrder = defineCommand('purchase.complete-order', { schema: Order })

export const OrderCompleted = defineEvent('purchase.order-completed', {
  schema: Order,
  key: ({ orderId }) => orderId,
  title: '주문완료됨',
})

export const purchase = defineContext('purchase', {
  store: sqlite,
  events: [OrderCompleted],
  publishes: [publish(OrderCompleted, OrderCompletedV1, ({ data }) => data)],
})

export const completeOrder = purchase.handle(CompleteOrder, ({ data }, { tx, raise }) => {
  tx.run('insert into purchase (order_id, item) values (?, ?)', data.orderId, data.item)
  raise(OrderCompleted, data)
})

export const tables = (tx: SqliteTx): unknown =>
  tx.run('create table if not exists purchase (order_id text primary key, item text not null)')
