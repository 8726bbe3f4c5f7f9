/** The one database that the directly calling modules need to share. */

import { DatabaseSync } from 'node:sqlite'
import type { Taken } from '../shop.ts'

export const openDatabase = (path: string): DatabaseSync => {
  const db = new DatabaseSync(path)
  db.exec(`
    create table if not exists purchase (order_id text primary key, item text not null);
    create table if not exists picking (order_id text primary key, item text not null);
    create table if not exists courier (region text primary key, name text not null);
    create table if not exists booking (order_id text primary key, courier text not null);
    insert or ignore into courier (region, name) values ('Seoul', 'Kim');
  `)
  return db
}

export const takenDirectly = (db: DatabaseSync): Taken => ({
  purchase: orderIds(db, 'purchase'),
  logistics: orderIds(db, 'picking'),
  delivery: orderIds(db, 'booking'),
})

const orderIds = (db: DatabaseSync, table: 'purchase' | 'picking' | 'booking'): string[] =>
  db
    .prepare(`select order_id from ${table} order by order_id`)
    .all()
    .map((row) => String(row['order_id']))
