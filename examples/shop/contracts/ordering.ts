/** What `ordering` can be asked for, and what it tells the other contexts. Money is integer pence. */

import { defineCommand, definePublicEvent } from 'pabal/contract'
import { z } from 'zod'

const pieces = z.int().min(1)
const pence = z.int().min(0)

const ordered = {
  orderId: z.string(),
  customerId: z.string(),
  country: z.string(),
  /** Of trade: '2010-12-01'. */
  day: z.string(),
}
const returned = { returnId: z.string(), customerId: z.string(), country: z.string(), day: z.string() }

export const OrderLine = z.object({ stockCode: z.string(), quantity: pieces, unitPence: z.int().min(1) })
export const Goods = z.object({ stockCode: z.string(), quantity: pieces })

export const PlaceOrder = defineCommand('ordering.place-order', {
  title: '주문하기',
  schema: z.object({ ...ordered, lines: z.array(OrderLine).min(1) }),
  refusals: { 'already-placed': z.object({ orderId: z.string() }) },
})

/** Takes goods back: from the customer's latest orders that still have them, as far as they do. */
export const AcceptReturn = defineCommand('ordering.accept-return', {
  title: '반품 접수하기',
  schema: z.object({ ...returned, lines: z.array(Goods) }),
  refusals: { 'already-returned': z.object({ returnId: z.string() }) },
})

/** Keeps an invoice that the translator could make neither an order nor a return of. */
export const RefuseInvoice = defineCommand('ordering.refuse-invoice', {
  title: '송장 거절하기',
  schema: z.object({
    invoiceNo: z.string(),
    reason: z.enum(['no-customer', 'return-without-customer', 'no-valid-line', 'adjustment']),
    customerId: z.string().nullable(),
    country: z.string(),
    day: z.string(),
    /** As they came: quantities and prices of any sign. */
    lines: z.array(z.object({ stockCode: z.string(), quantity: z.int(), unitPence: z.int() })),
  }),
})

/** Keeps a line of a file that could not be read at all. */
export const RefuseRow = defineCommand('ordering.refuse-row', {
  title: '행 거절하기',
  schema: z.object({
    /** The same for the same content, wherever it stands. */
    rowId: z.string(),
    line: z.int(),
    invoiceNo: z.string().nullable(),
    reason: z.string(),
    text: z.string(),
  }),
})

export const CancelOrder = defineCommand('ordering.cancel-order', {
  title: '주문 취소하기',
  schema: z.object({ orderId: z.string() }),
  refusals: {
    'unknown-order': z.object({ orderId: z.string() }),
    'already-cancelled': z.object({ orderId: z.string(), reason: z.string() }),
  },
})

export const ChangeAddress = defineCommand('ordering.change-address', {
  title: '배송지 변경하기',
  schema: z.object({ orderId: z.string(), address: z.string().trim().min(1).max(1_000) }),
  refusals: {
    'unknown-order': z.object({ orderId: z.string() }),
    'order-cancelled': z.object({ orderId: z.string() }),
  },
})

export const OrderPlacedV1 = definePublicEvent('shop.order-placed.v1', {
  kind: 'domain',
  title: '주문됨',
  schema: z.object({ ...ordered, lines: z.array(OrderLine), units: pieces, totalPence: pence }),
  key: ({ orderId }) => orderId,
})

export const OrderCancelledV1 = definePublicEvent('shop.order-cancelled.v1', {
  kind: 'domain',
  title: '주문취소됨',
  schema: z.object({
    ...ordered,
    reason: z.enum(['payment-declined', 'customer']),
    /** What goes back on the shelf. */
    lines: z.array(Goods),
    /** What is to be refunded, if it was paid. */
    refundPence: pence,
  }),
  key: ({ orderId }) => orderId,
})

export const OrderRedirectedV1 = definePublicEvent('shop.order-redirected.v1', {
  kind: 'delta',
  title: '배송지변경됨',
  schema: z.object({ orderId: z.string(), address: z.string() }),
  key: ({ orderId }) => orderId,
})

export const ReturnAcceptedV1 = definePublicEvent('shop.return-accepted.v1', {
  kind: 'domain',
  title: '반품접수됨',
  schema: z.object({
    ...returned,
    /** Taken back: from which order, and at the price of that order. */
    lines: z.array(z.object({ ...OrderLine.shape, orderId: z.string() })),
    refundPence: pence,
    /** What no earlier order of this customer covers. */
    uncovered: z.array(Goods),
  }),
  key: ({ returnId }) => returnId,
})
