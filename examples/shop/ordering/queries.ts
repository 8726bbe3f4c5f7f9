/** What ordering shows: its orders, what it refused, and what it could not match. */

import type { Kysely } from 'kysely'
import type { OrderingTables } from './tables.ts'

type Tables = Kysely<OrderingTables>

export const listOrders = (tx: Tables, filter: { customerId?: string | undefined; limit: number }) =>
  tx
    .selectFrom('orders')
    .select(['order_id as invoice', 'day', 'customer_id as customer', 'country', 'units', 'total_pence as totalPence'])
    .select(['status', 'address'])
    .$if(filter.customerId !== undefined, (query) => query.where('customer_id', '=', filter.customerId!))
    .orderBy('day', 'desc')
    .orderBy('order_id', 'desc')
    .limit(filter.limit)
    .execute()

/** Orders on their way, the first ones first. */
export async function listShipped(tx: Tables, limit: number): Promise<string[]> {
  const rows = await tx
    .selectFrom('orders')
    .select('order_id')
    .where('status', '=', 'shipped')
    .orderBy('day')
    .orderBy('order_id')
    .limit(limit)
    .execute()
  return rows.map((row) => row.order_id)
}

export const listRefused = (tx: Tables, filter: { reason?: string | undefined; limit: number }) =>
  tx
    .selectFrom('refused_invoices')
    .select(['invoice_no as invoice', 'day', 'reason', 'customer_id as customer', 'country', 'lines'])
    .$if(filter.reason !== undefined, (query) => query.where('reason', '=', filter.reason!))
    .orderBy('day', 'desc')
    .orderBy('invoice_no', 'desc')
    .limit(filter.limit)
    .execute()

export const listRefusedRows = (tx: Tables, filter: { limit: number }) =>
  tx
    .selectFrom('refused_rows')
    .select(['line', 'invoice_no as invoice', 'reason', 'text'])
    .orderBy('line')
    .limit(filter.limit)
    .execute()

/** What no earlier order covers, line by line. */
export const listUnmatched = (tx: Tables, filter: { limit: number }) =>
  tx
    .selectFrom('uncovered_lines')
    .innerJoin('returns', 'returns.return_id', 'uncovered_lines.return_id')
    .select(['returns.return_id as invoice', 'day', 'customer_id as customer', 'country'])
    .select(['stock_code as stockCode', 'quantity', 'refund_pence as refundedPence'])
    .orderBy('day', 'desc')
    .orderBy('invoice', 'desc')
    .limit(filter.limit)
    .execute()

export async function countReturns(tx: Tables): Promise<{ returns: number; returnsUnmatched: number }> {
  const { returns } = await tx
    .selectFrom('returns')
    .select(({ fn }) => fn.countAll<number>().as('returns'))
    .executeTakeFirstOrThrow()
  const { returnsUnmatched } = await tx
    .selectFrom('returns')
    .select(({ fn }) => fn.countAll<number>().as('returnsUnmatched'))
    .where('uncovered_units', '>', 0)
    .executeTakeFirstOrThrow()
  return { returns, returnsUnmatched }
}

export async function countRefused(tx: Tables): Promise<Record<string, number>> {
  const invoices = await tx
    .selectFrom('refused_invoices')
    .select(['reason', ({ fn }) => fn.countAll<number>().as('count')])
    .groupBy('reason')
    .execute()
  const { rows } = await tx
    .selectFrom('refused_rows')
    .select(({ fn }) => fn.countAll<number>().as('rows'))
    .executeTakeFirstOrThrow()
  const none = { 'no-customer': 0, 'return-without-customer': 0, 'no-valid-line': 0, adjustment: 0 }
  const counted = Object.fromEntries(invoices.map(({ reason, count }) => [reason, count]))
  return { ...none, ...counted, ...(rows > 0 ? { 'bad-row': rows } : {}) }
}
