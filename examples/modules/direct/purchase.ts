/** Purchase that calls the others: it names each of them, waits for each of them, and fails with each of them. */

import type { DatabaseSync } from 'node:sqlite'
import type { CompletedOrder } from '../contract.ts'
import { bookCourier } from './delivery.ts'
import { pickGoods } from './logistics.ts'

export const completeOrder = (db: DatabaseSync, order: CompletedOrder): void => {
  db.exec('begin immediate')
  try {
    db.prepare('insert into purchase (order_id, item) values (?, ?)').run(order.orderId, order.item)
    pickGoods(db, order)
    bookCourier(db, order)
    db.exec('commit')
  } catch (error) {
    db.exec('rollback')
    throw error
  }
}
