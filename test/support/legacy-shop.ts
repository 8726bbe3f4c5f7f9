/** An old shop that raises no events: real orders in tables, a context that captures them, and the translator between. */

import { type App, createApp, defineContext, defineEvent } from 'pabal'
import { type Capture, type CaptureOptions, captureChanges, postgres, type SourceTransaction } from 'pabal/postgres'
import type { Pool } from 'pg'
import { z } from 'zod'
import { groupInvoices } from '../../examples/shop/retail/invoices.ts'
import { readRetailRows } from '../../examples/shop/retail/rows.ts'

const keyOf = ({ orderId }: { orderId: string }): string => orderId
export const OrderPlaced = defineEvent('sales.order-placed', {
  schema: z.object({ orderId: z.string(), customer: z.string(), total: z.string(), lines: z.int() }),
  key: keyOf,
})
export const OrderPaid = defineEvent('sales.order-paid', { schema: z.object({ orderId: z.string() }), key: keyOf })
export const sales = defineContext('sales', { store: postgres, events: [OrderPlaced, OrderPaid] })

/** As such tables are found. */
export const legacyTables = `
  CREATE TABLE orders (
    id text PRIMARY KEY, customer text NOT NULL, status text NOT NULL DEFAULT 'open', total numeric(12, 2) NOT NULL,
    placed_at timestamptz NOT NULL, comment text
  );
  CREATE TABLE order_line (
    order_id text REFERENCES orders, line integer, stock_code text NOT NULL, quantity integer NOT NULL,
    unit_price numeric(10, 2) NOT NULL, PRIMARY KEY (order_id, line)
  );
  ALTER TABLE orders REPLICA IDENTITY FULL`

export interface LegacyOrder {
  readonly id: string
  readonly customer: string
  readonly placedAt: string
  readonly total: string
  readonly lines: readonly { readonly stockCode: string; readonly quantity: number; readonly unitPrice: string }[]
}

const pounds = (pence: number): string => (pence / 100).toFixed(2)

/** The first real orders of customers. */
export const legacyOrders = async (count: number): Promise<LegacyOrder[]> => {
  const orders: LegacyOrder[] = []
  const file = 'examples/shop/data/online-retail-2010-12_2011-05.csv.gz'
  for await (const invoice of groupInvoices(readRetailRows(file))) {
    if (invoice.kind !== 'invoice' || invoice.customerId === undefined) continue
    orders.push({
      id: invoice.invoiceNo,
      customer: invoice.customerId,
      placedAt: `${invoice.at}Z`,
      total: pounds(invoice.rows.reduce((sum, { quantity, unitPence }) => sum + quantity * unitPence, 0)),
      lines: invoice.rows.map(({ stockCode, quantity, unitPence }) => ({
        stockCode,
        quantity,
        unitPrice: pounds(unitPence),
      })),
    })
    if (orders.length === count) break
  }
  return orders
}

/** The old code: an order with its lines in one transaction. */
export const placeLegacyOrder = async (pool: Pool, order: LegacyOrder): Promise<void> => {
  const client = await pool.connect()
  try {
    await client.query('BEGIN')
    await client.query('INSERT INTO orders (id, customer, total, placed_at) VALUES ($1, $2, $3, $4)', [
      order.id,
      order.customer,
      order.total,
      order.placedAt,
    ])
    await client.query(
      `INSERT INTO order_line SELECT $1, n, s, q, p FROM unnest($2::text[], $3::int[], $4::numeric[]) WITH ORDINALITY AS l (s, q, p, n)`,
      [
        order.id,
        order.lines.map(({ stockCode }) => stockCode),
        order.lines.map(({ quantity }) => quantity),
        order.lines.map(({ unitPrice }) => unitPrice),
      ],
    )
    await client.query('COMMIT')
  } finally {
    client.release()
  }
}

const Order = z.object({ id: z.string(), customer: z.string(), status: z.string(), total: z.string() })

export type Raise = Parameters<CaptureOptions<SalesUnit, 'orders' | 'order_line', unknown>['translate']>[1]['raise']
type SalesUnit = Parameters<Parameters<ReturnType<typeof runningSales>['transaction']>[0]>[0]
const runningSales = (app: App) => app.context(sales)

/** What happened is read from what changed: a status that becomes 'paid' is news, a comment is not. */
export const translate = (
  { changes }: SourceTransaction<'orders' | 'order_line'>,
  { raise }: Pick<SalesUnit, 'raise'>,
): void => {
  for (const { table, operation, before, after } of changes) {
    if (table !== 'orders' || after === undefined) continue
    const order = Order.parse(after)
    const lines = changes.filter((line) => line.table === 'order_line' && line.after?.['order_id'] === order.id).length
    if (operation === 'insert' || operation === 'read')
      raise(OrderPlaced, { orderId: order.id, customer: order.customer, total: order.total, lines })
    if (order.status === 'paid' && before?.['status'] !== 'paid') raise(OrderPaid, { orderId: order.id })
  }
}

/** In the database of the old tables, as most would have it. */
export const salesApp = (pool: Pool): App =>
  createApp({ contexts: [sales.with({ store: postgres(pool) })], onWarning: () => {} })

export type LegacyCaptureOptions = Partial<CaptureOptions<SalesUnit, 'orders' | 'order_line', unknown>>

export const captureLegacyOrders = (app: App, pool: Pool, options: LegacyCaptureOptions = {}): Capture =>
  captureChanges(runningSales(app), {
    name: 'legacy-orders',
    pool,
    tables: ['orders', 'order_line'],
    startAt: 'now',
    translate,
    onWarning: () => {},
    ...options,
  })
