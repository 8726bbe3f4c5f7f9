/** What happens in ordering. */

import { defineEvent } from 'pabal'
import { z } from 'zod'
import { Goods, OrderLine } from '../contracts/ordering.ts'

const pence = z.int().min(0)
const order = { orderId: z.string(), customerId: z.string(), country: z.string(), day: z.string() }
const orderKey = ({ orderId }: { orderId: string }) => orderId

export const OrderPlaced = defineEvent('ordering.order-placed', {
  title: '주문됨',
  schema: z.object({ ...order, lines: z.array(OrderLine), units: z.int(), totalPence: pence }),
  key: orderKey,
})

export const OrderCancelled = defineEvent('ordering.order-cancelled', {
  title: '주문취소됨',
  schema: z.object({
    ...order,
    reason: z.enum(['payment-declined', 'customer']),
    lines: z.array(Goods),
    refundPence: pence,
  }),
  key: orderKey,
})

export const OrderRedirected = defineEvent('ordering.order-redirected', {
  title: '배송지변경됨',
  schema: z.object({ orderId: z.string(), address: z.string() }),
  key: orderKey,
})

export const ReturnAccepted = defineEvent('ordering.return-accepted', {
  title: '반품접수됨',
  schema: z.object({
    returnId: z.string(),
    customerId: z.string(),
    country: z.string(),
    day: z.string(),
    lines: z.array(z.object({ ...OrderLine.shape, orderId: z.string() })),
    refundPence: pence,
    uncovered: z.array(Goods),
  }),
  key: ({ returnId }) => returnId,
})

/** Private: nobody else has to do with what never became an order. The invoice itself is kept in the tables. */
export const InvoiceRefused = defineEvent('ordering.invoice-refused', {
  title: '송장거절됨',
  schema: z.object({ invoiceNo: z.string(), reason: z.string(), lines: z.int() }),
  key: ({ invoiceNo }) => invoiceNo,
})
