/** Logistics picks the goods of each completed order. */

import { defineContext } from 'pabal'
import { type SqliteTx, sqlite } from 'pabal/sqlite'
import { type CompletedOrder, OrderCompletedV1 } from './contract.ts'

export const logistics = defineContext('logistics', { store: sqlite, events: [] })

const pickGoods = ({ data }: { readonly data: CompletedOrder }, { tx }: { readonly tx: SqliteTx }): void => {
  tx.run('insert into picking (order_id, item) values (?, ?)', data.orderId, data.item)
}

/** The same handler, once per phase. An application would have one of the two. */
export const handlers = {
  'before-commit': [logistics.consume(OrderCompletedV1, 'pick-goods', pickGoods, { phase: 'before-commit' })],
  durable: [logistics.consume(OrderCompletedV1, 'pick-goods', pickGoods, { phase: 'durable' })],
}

export const tables = (tx: SqliteTx): unknown =>
  tx.run('create table if not exists picking (order_id text primary key, item text not null)')
