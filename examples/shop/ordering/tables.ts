/** The tables of ordering. */

import type { Generated, Kysely } from 'kysely'
import { growingId } from '../growing-id.ts'

export type OrderStatus = 'placed' | 'paid' | 'shipped' | 'declined' | 'cancelled'

export interface OrderingTables {
  orders: {
    order_id: string
    customer_id: string
    country: string
    day: string
    units: number
    total_pence: number
    status: OrderStatus
    address: string | null
  }
  order_lines: {
    /** Grows in the order of receipt: the latest line of a customer has the highest. */
    line_id: Generated<number>
    order_id: string
    customer_id: string
    stock_code: string
    quantity: number
    /** What has not been returned. */
    open_quantity: number
    unit_pence: number
  }
  returns: {
    return_id: string
    customer_id: string
    country: string
    day: string
    refund_pence: number
    uncovered_units: number
  }
  uncovered_lines: { return_id: string; stock_code: string; quantity: number }
  refused_invoices: {
    invoice_no: string
    reason: string
    customer_id: string | null
    country: string
    day: string
    /** The lines as they came, JSON. */
    lines: string
  }
  refused_rows: { row_id: string; line: number; invoice_no: string | null; reason: string; text: string }
}

export async function createOrderingTables(tx: Kysely<OrderingTables>): Promise<void> {
  const { schema } = tx
  const table = (name: keyof OrderingTables) => schema.createTable(name).ifNotExists()
  await table('orders')
    .addColumn('order_id', 'text', (column) => column.primaryKey())
    .addColumn('customer_id', 'text', (column) => column.notNull())
    .addColumn('country', 'text', (column) => column.notNull())
    .addColumn('day', 'text', (column) => column.notNull())
    .addColumn('units', 'bigint', (column) => column.notNull())
    .addColumn('total_pence', 'bigint', (column) => column.notNull())
    .addColumn('status', 'text', (column) => column.notNull())
    .addColumn('address', 'text')
    .execute()
  await table('order_lines')
    .addColumn('line_id', ...growingId(tx))
    .addColumn('order_id', 'text', (column) => column.notNull())
    .addColumn('customer_id', 'text', (column) => column.notNull())
    .addColumn('stock_code', 'text', (column) => column.notNull())
    .addColumn('quantity', 'integer', (column) => column.notNull())
    .addColumn('open_quantity', 'integer', (column) => column.notNull())
    .addColumn('unit_pence', 'integer', (column) => column.notNull())
    .execute()
  await table('returns')
    .addColumn('return_id', 'text', (column) => column.primaryKey())
    .addColumn('customer_id', 'text', (column) => column.notNull())
    .addColumn('country', 'text', (column) => column.notNull())
    .addColumn('day', 'text', (column) => column.notNull())
    .addColumn('refund_pence', 'bigint', (column) => column.notNull())
    .addColumn('uncovered_units', 'bigint', (column) => column.notNull())
    .execute()
  await table('uncovered_lines')
    .addColumn('return_id', 'text', (column) => column.notNull())
    .addColumn('stock_code', 'text', (column) => column.notNull())
    .addColumn('quantity', 'bigint', (column) => column.notNull())
    .addPrimaryKeyConstraint('uncovered_lines_key', ['return_id', 'stock_code'])
    .execute()
  await table('refused_invoices')
    .addColumn('invoice_no', 'text', (column) => column.primaryKey())
    .addColumn('reason', 'text', (column) => column.notNull())
    .addColumn('customer_id', 'text')
    .addColumn('country', 'text', (column) => column.notNull())
    .addColumn('day', 'text', (column) => column.notNull())
    .addColumn('lines', 'text', (column) => column.notNull())
    .execute()
  await table('refused_rows')
    .addColumn('row_id', 'text', (column) => column.primaryKey())
    .addColumn('line', 'integer', (column) => column.notNull())
    .addColumn('invoice_no', 'text')
    .addColumn('reason', 'text', (column) => column.notNull())
    .addColumn('text', 'text', (column) => column.notNull())
    .execute()

  const index = (name: string) => schema.createIndex(name).ifNotExists()
  await index('order_lines_of_customer').on('order_lines').columns(['customer_id', 'stock_code']).execute()
  await index('order_lines_of_order').on('order_lines').column('order_id').execute()
}
