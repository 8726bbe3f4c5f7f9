/** Delivery as a function that others call. */

import type { DatabaseSync } from 'node:sqlite'
import type { CompletedOrder } from '../contract.ts'

export const bookCourier = (db: DatabaseSync, order: CompletedOrder): void => {
  const courier = db.prepare('select name from courier where region = ?').get(order.region)
  if (courier === undefined) throw new Error(`no courier drives to ${order.region}`)
  db.prepare('insert into booking (order_id, courier) values (?, ?)').run(order.orderId, courier['name'] ?? '')
}
