/** The tables of payment. */

import type { Kysely } from 'kysely'

export interface PaymentTables {
  payments: {
    order_id: string
    customer_id: string
    amount_pence: number
    status: 'accepted' | 'declined'
  }
  /** One for each return and for each cancelled order, which is what makes a second one impossible. */
  refunds: {
    refund_of: string
    reason: 'return' | 'order-cancelled'
    customer_id: string
    amount_pence: number
  }
}

export async function createPaymentTables({ schema }: Kysely<PaymentTables>): Promise<void> {
  const table = (name: keyof PaymentTables) => schema.createTable(name).ifNotExists()
  await table('payments')
    .addColumn('order_id', 'text', (column) => column.primaryKey())
    .addColumn('customer_id', 'text', (column) => column.notNull())
    .addColumn('amount_pence', 'bigint', (column) => column.notNull())
    .addColumn('status', 'text', (column) => column.notNull())
    .execute()
  await table('refunds')
    .addColumn('refund_of', 'text', (column) => column.primaryKey())
    .addColumn('reason', 'text', (column) => column.notNull())
    .addColumn('customer_id', 'text', (column) => column.notNull())
    .addColumn('amount_pence', 'bigint', (column) => column.notNull())
    .execute()
}
