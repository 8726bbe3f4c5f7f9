/** Logistics as a function that others call. */

import type { DatabaseSync } from 'node:sqlite'
import type { CompletedOrder } from '../contract.ts'

export const pickGoods = (db: DatabaseSync, order: CompletedOrder): void => {
  db.prepare('insert into picking (order_id, item) values (?, ?)').run(order.orderId, order.item)
}
