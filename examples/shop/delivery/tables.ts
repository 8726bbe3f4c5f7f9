/** The tables of delivery. */

import type { Kysely } from 'kysely'

export interface DeliveryTables {
  shipments: { order_id: string; customer_id: string; status: 'shipped' | 'recalled' }
  /** What the external delivery service has last taken. */
  addresses: { order_id: string; address: string; sequence: number }
}

export async function createDeliveryTables({ schema }: Kysely<DeliveryTables>): Promise<void> {
  const table = (name: keyof DeliveryTables) => schema.createTable(name).ifNotExists()
  await table('shipments')
    .addColumn('order_id', 'text', (column) => column.primaryKey())
    .addColumn('customer_id', 'text', (column) => column.notNull())
    .addColumn('status', 'text', (column) => column.notNull())
    .execute()
  await table('addresses')
    .addColumn('order_id', 'text', (column) => column.primaryKey())
    .addColumn('address', 'text', (column) => column.notNull())
    .addColumn('sequence', 'bigint', (column) => column.notNull())
    .execute()
}
