/** What happens in payment. */

import { defineEvent } from 'pabal'
import { z } from 'zod'

const payment = { orderId: z.string(), customerId: z.string(), amountPence: z.int().min(0) }

export const PaymentAccepted = defineEvent('payment.payment-accepted', {
  title: '결제승인됨',
  schema: z.object(payment),
  key: ({ orderId }) => orderId,
})

export const PaymentDeclined = defineEvent('payment.payment-declined', {
  title: '결제거절됨',
  schema: z.object({ ...payment, limitPence: z.int() }),
  key: ({ orderId }) => orderId,
})

export const PaymentRefunded = defineEvent('payment.payment-refunded', {
  title: '환불됨',
  schema: z.object({
    refundOf: z.string(),
    reason: z.enum(['return', 'order-cancelled']),
    customerId: z.string(),
    country: z.string(),
    day: z.string(),
    amountPence: z.int().min(1),
  }),
  key: ({ refundOf }) => refundOf,
})
