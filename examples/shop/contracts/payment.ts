/** What `payment` tells the other contexts. Money is integer pence. */

import { definePublicEvent } from 'pabal/contract'
import { z } from 'zod'

const payment = { orderId: z.string(), customerId: z.string(), amountPence: z.int().min(0) }

export const PaymentAcceptedV1 = definePublicEvent('shop.payment-accepted.v1', {
  kind: 'domain',
  title: '결제승인됨',
  schema: z.object(payment),
  key: ({ orderId }) => orderId,
})

export const PaymentDeclinedV1 = definePublicEvent('shop.payment-declined.v1', {
  kind: 'domain',
  title: '결제거절됨',
  schema: z.object({ ...payment, limitPence: z.int() }),
  key: ({ orderId }) => orderId,
})

export const PaymentRefundedV1 = definePublicEvent('shop.payment-refunded.v1', {
  kind: 'domain',
  title: '환불됨',
  schema: z.object({
    /** The return, or the cancelled order, that it is for. */
    refundOf: z.string(),
    reason: z.enum(['return', 'order-cancelled']),
    customerId: z.string(),
    country: z.string(),
    day: z.string(),
    amountPence: z.int().min(1),
  }),
  key: ({ refundOf }) => refundOf,
})
