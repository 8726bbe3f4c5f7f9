/** The read model of reporting. */

import type { Kysely } from 'kysely'

export interface ReportingTables {
  /** Orders as they were placed, declined ones too; refunds on the day of their return or of their cancelled order. */
  sales: { day: string; country: string; orders: number; units: number; revenue_pence: number; refund_pence: number }
}

export async function createReportingTables({ schema }: Kysely<ReportingTables>): Promise<void> {
  await schema
    .createTable('sales')
    .ifNotExists()
    .addColumn('day', 'text', (column) => column.notNull())
    .addColumn('country', 'text', (column) => column.notNull())
    .addColumn('orders', 'bigint', (column) => column.notNull())
    .addColumn('units', 'bigint', (column) => column.notNull())
    .addColumn('revenue_pence', 'bigint', (column) => column.notNull())
    .addColumn('refund_pence', 'bigint', (column) => column.notNull())
    .addPrimaryKeyConstraint('sales_key', ['day', 'country'])
    .execute()
}
