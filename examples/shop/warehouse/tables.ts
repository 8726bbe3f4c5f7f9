/** The table of the warehouse. */

import { type Kysely, sql } from 'kysely'

export interface WarehouseTables {
  /**
   * on_hand = bought_in − allocated + released + restocked, and never below zero: the retail file tells sales and no purchases,
   * so the warehouse starts empty and buys in what an order lacks.
   */
  stock: {
    stock_code: string
    on_hand: number
    bought_in: number
    /** Taken off the shelf for orders. */
    allocated: number
    /** Put back because an order was cancelled. */
    released: number
    /** Put back because it was returned. */
    restocked: number
  }
}

export async function createWarehouseTables({ schema }: Kysely<WarehouseTables>): Promise<void> {
  await schema
    .createTable('stock')
    .ifNotExists()
    .addColumn('stock_code', 'text', (column) => column.primaryKey())
    .addColumn('on_hand', 'bigint', (column) => column.notNull().check(sql`on_hand >= 0`))
    .addColumn('bought_in', 'bigint', (column) => column.notNull())
    .addColumn('allocated', 'bigint', (column) => column.notNull())
    .addColumn('released', 'bigint', (column) => column.notNull())
    .addColumn('restocked', 'bigint', (column) => column.notNull())
    .execute()
}
