/** Delivery books a courier for each completed order, and fails where none drives to. */

import { defineContext } from 'pabal'
import { type SqliteTx, sqlite } from 'pabal/sqlite'
import { type CompletedOrder, OrderCompletedV1 } from './contract.ts'

export const delivery = defineContext('delivery', { store: sqlite, events: [] })

const bookCourier = ({ data }: { readonly data: CompletedOrder }, { tx }: { readonly tx: SqliteTx }): void => {
  const courier = tx.get<{ name: string }>('select name from courier where region = ?', data.region)
  if (courier === undefined) throw new Error(`no courier drives to ${data.region}`)
  tx.run('insert into booking (order_id, courier) values (?, ?)', data.orderId, courier.name)
}

/** The same handler, once per phase. An application would have one of the two. */
export const handlers = {
  'before-commit': [delivery.consume(OrderCompletedV1, 'book-courier', bookCourier, { phase: 'before-commit' })],
  durable: [delivery.consume(OrderCompletedV1, 'book-courier', bookCourier, { phase: 'durable' })],
}

export const tables = (tx: SqliteTx): void => {
  tx.run('create table if not exists courier (region text primary key, name text not null)')
  tx.run('create table if not exists booking (order_id text primary key, courier text not null)')
  tx.run("insert or ignore into courier (region, name) values ('Seoul', 'Kim')")
}

export const hireCourier = (tx: SqliteTx, region: string, name: string): unknown =>
  tx.run('insert into courier (region, name) values (?, ?)', region, name)
