/** What reporting shows. */

import type { Kysely } from 'kysely'
import type { ReportingTables } from './tables.ts'

const sums = ['orders', 'units', 'revenue_pence', 'refund_pence'] as const

export const listSales = (tx: Kysely<ReportingTables>, by: 'day' | 'country') =>
  tx
    .selectFrom('sales')
    .select(by)
    .select(({ fn }) => sums.map((column) => fn.sum<number>(column).as(column)))
    .groupBy(by)
    .orderBy(by === 'day' ? 'day' : 'revenue_pence', by === 'day' ? 'asc' : 'desc')
    .execute()

export async function sumSales(tx: Kysely<ReportingTables>) {
  const { orders, units, revenue_pence, refund_pence } = await tx
    .selectFrom('sales')
    .select(({ fn }) => sums.map((column) => fn.sum<number | null>(column).as(column)))
    .executeTakeFirstOrThrow()
  return {
    orders: orders ?? 0,
    units: units ?? 0,
    revenuePence: revenue_pence ?? 0,
    refundedPence: refund_pence ?? 0,
  }
}
