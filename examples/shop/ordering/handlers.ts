/** What ordering does when it is asked, and when payment and delivery have done their part. */

import type { Kysely } from 'kysely'
import {
  AcceptReturn,
  CancelOrder,
  ChangeAddress,
  PlaceOrder,
  RefuseInvoice,
  RefuseRow,
} from '../contracts/ordering.ts'
import { OrderShippedV1 } from '../contracts/delivery.ts'
import { PaymentAcceptedV1, PaymentDeclinedV1 } from '../contracts/payment.ts'
import { inChunks } from '../in-chunks.ts'
import { retry } from '../retry.ts'
import { ordering } from './context.ts'
import { OrderRedirected, InvoiceRefused, OrderCancelled, OrderPlaced, ReturnAccepted } from './events.ts'
import { matchReturn, type OpenLine } from './match-return.ts'
import type { OrderingTables, OrderStatus } from './tables.ts'

export const placeOrder = ordering.handle(PlaceOrder, async ({ data }, { tx, raise, refuse }) => {
  const { orderId, customerId, country, day, lines } = data
  let units = 0
  let totalPence = 0
  for (const { quantity, unitPence } of lines) {
    units += quantity
    totalPence += quantity * unitPence
  }
  const { numInsertedOrUpdatedRows } = await tx
    .insertInto('orders')
    .values({
      order_id: orderId,
      customer_id: customerId,
      country,
      day,
      units,
      total_pence: totalPence,
      status: 'placed',
      address: null,
    })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirstOrThrow()
  if (numInsertedOrUpdatedRows === 0n) throw refuse('already-placed', { orderId })
  for (const chunk of inChunks(lines))
    await tx
      .insertInto('order_lines')
      .values(
        chunk.map(({ stockCode, quantity, unitPence }) => ({
          order_id: orderId,
          customer_id: customerId,
          stock_code: stockCode,
          quantity,
          open_quantity: quantity,
          unit_pence: unitPence,
        })),
      )
      .execute()
  raise(OrderPlaced, { ...data, units, totalPence })
})

export const acceptReturn = ordering.handle(AcceptReturn, async ({ data }, { tx, raise, refuse }) => {
  const { returnId, customerId, country, day, lines } = data
  const open: (OpenLine & { readonly lineId: number; readonly orderId: string })[] = []
  for (const stockCodes of inChunks([...new Set(lines.map(({ stockCode }) => stockCode))]))
    open.push(
      ...(await lockOpenLines(tx)
        .where('customer_id', '=', customerId)
        .where('stock_code', 'in', stockCodes)
        .returning(['line_id as lineId', 'order_id as orderId', 'stock_code as stockCode'])
        .returning(['open_quantity as openQuantity', 'unit_pence as unitPence'])
        .execute()),
    )
  open.sort((a, b) => b.lineId - a.lineId)
  const { taken, uncovered, refundPence } = matchReturn(lines, open)
  const { numInsertedOrUpdatedRows } = await tx
    .insertInto('returns')
    .values({
      return_id: returnId,
      customer_id: customerId,
      country,
      day,
      refund_pence: refundPence,
      uncovered_units: uncovered.reduce((sum, { quantity }) => sum + quantity, 0),
    })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirstOrThrow()
  if (numInsertedOrUpdatedRows === 0n) throw refuse('already-returned', { returnId })
  for (const { line, quantity } of taken)
    await tx
      .updateTable('order_lines')
      .set({ open_quantity: line.openQuantity - quantity })
      .where('line_id', '=', line.lineId)
      .execute()
  for (const chunk of inChunks(uncovered))
    await tx
      .insertInto('uncovered_lines')
      .values(chunk.map(({ stockCode, quantity }) => ({ return_id: returnId, stock_code: stockCode, quantity })))
      .execute()
  raise(ReturnAccepted, {
    returnId,
    customerId,
    country,
    day,
    lines: taken.map(({ line: { orderId, stockCode, unitPence }, quantity }) => ({
      orderId,
      stockCode,
      quantity,
      unitPence,
    })),
    refundPence,
    uncovered: [...uncovered],
  })
})

/**
 * By the customer, at any time: what has not been returned goes back on the shelf, and its price back to the customer if it was
 * paid. The lines are closed with it, so that no later return takes from them again.
 */
export const cancelOrder = ordering.handle(CancelOrder, async ({ data: { orderId } }, { tx, raise, refuse }) => {
  const order = await tx
    .updateTable('orders')
    .set({ status: 'cancelled' })
    .where('order_id', '=', orderId)
    .where('status', 'not in', over)
    .returning(['customer_id as customerId', 'country', 'day'])
    .executeTakeFirst()
  if (order === undefined) {
    const status = await statusOf(tx, orderId)
    if (status === undefined) throw refuse('unknown-order', { orderId })
    const reason = status === 'declined' ? 'its payment was declined' : 'by the customer'
    throw refuse('already-cancelled', { orderId, reason })
  }
  const open = await lockOpenLines(tx)
    .where('order_id', '=', orderId)
    .returning(['line_id as lineId', 'stock_code as stockCode', 'open_quantity as quantity', 'unit_pence as unitPence'])
    .execute()
  await tx.updateTable('order_lines').set({ open_quantity: 0 }).where('order_id', '=', orderId).execute()
  raise(OrderCancelled, {
    orderId,
    ...order,
    reason: 'customer',
    lines: open
      .toSorted((a, b) => a.lineId - b.lineId)
      .map(({ stockCode, quantity, unitPence }) => ({ stockCode, quantity, unitPence })),
    refundPence: open.reduce((sum, { quantity, unitPence }) => sum + quantity * unitPence, 0),
  })
})

export const changeAddress = ordering.handle(ChangeAddress, async ({ data }, { tx, raise, refuse }) => {
  const { orderId, address } = data
  const { numUpdatedRows } = await tx
    .updateTable('orders')
    .set({ address })
    .where('order_id', '=', orderId)
    .where('status', 'not in', over)
    .executeTakeFirstOrThrow()
  if (numUpdatedRows === 0n)
    throw (await statusOf(tx, orderId)) === undefined
      ? refuse('unknown-order', { orderId })
      : refuse('order-cancelled', { orderId })
  raise(OrderRedirected, { orderId, address })
})

/** An order that nothing more happens to. */
const over = ['cancelled', 'declined'] as const

async function statusOf(tx: Kysely<OrderingTables>, orderId: string): Promise<OrderStatus | undefined> {
  const order = await tx.selectFrom('orders').select('status').where('order_id', '=', orderId).executeTakeFirst()
  return order?.status
}

/** Lines with goods to give back, read by an update that changes nothing: on every database they stay as read until the commit. */
const lockOpenLines = (tx: Kysely<OrderingTables>) =>
  tx
    .updateTable('order_lines')
    .set((eb) => ({ open_quantity: eb.ref('open_quantity') }))
    .where('open_quantity', '>', 0)

export const refuseInvoice = ordering.handle(RefuseInvoice, async ({ data }, { tx, raise }) => {
  const { invoiceNo, reason, customerId, country, day, lines } = data
  const { numInsertedOrUpdatedRows } = await tx
    .insertInto('refused_invoices')
    .values({ invoice_no: invoiceNo, reason, customer_id: customerId, country, day, lines: JSON.stringify(lines) })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirstOrThrow()
  if (numInsertedOrUpdatedRows === 1n) raise(InvoiceRefused, { invoiceNo, reason, lines: lines.length })
})

export const refuseRow = ordering.handle(RefuseRow, async ({ data }, { tx }) => {
  const { rowId, line, invoiceNo, reason, text } = data
  await tx
    .insertInto('refused_rows')
    .values({ row_id: rowId, line, invoice_no: invoiceNo, reason, text })
    .onConflict((conflict) => conflict.doNothing())
    .execute()
})

/** Payment and delivery tell each at its own pace, so a status only moves forward. */
export const trackOrder = ordering.consume(
  [PaymentAcceptedV1, PaymentDeclinedV1, OrderShippedV1],
  'track-order',
  async ({ type, data: { orderId } }, { tx, raise }) => {
    if (type === 'shop.payment-accepted.v1')
      await tx
        .updateTable('orders')
        .set({ status: 'paid' })
        .where('order_id', '=', orderId)
        .where('status', '=', 'placed')
        .execute()
    else if (type === 'shop.order-shipped.v1')
      await tx
        .updateTable('orders')
        .set({ status: 'shipped' })
        .where('order_id', '=', orderId)
        .where('status', 'in', ['placed', 'paid'])
        .execute()
    else {
      const declined = await tx
        .updateTable('orders')
        .set({ status: 'declined' })
        .where('order_id', '=', orderId)
        .where('status', '=', 'placed')
        .returning(['customer_id as customerId', 'country', 'day'])
        .executeTakeFirst()
      // The customer was quicker: it is cancelled already.
      if (declined === undefined) return
      // All of it, also what was returned meanwhile: none of these goods has left, what a customer hands in comes on top.
      const lines = await tx
        .selectFrom('order_lines')
        .select(['stock_code as stockCode', 'quantity'])
        .where('order_id', '=', orderId)
        .orderBy('line_id')
        .execute()
      raise(OrderCancelled, { orderId, ...declined, reason: 'payment-declined', lines, refundPence: 0 })
    }
  },
  { retry },
)

export const orderingHandlers = [
  placeOrder,
  acceptReturn,
  cancelOrder,
  changeAddress,
  refuseInvoice,
  refuseRow,
  trackOrder,
]
