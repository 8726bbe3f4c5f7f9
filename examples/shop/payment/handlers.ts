/** What payment does about orders, cancellations and returns. */

import { OrderCancelledV1, OrderPlacedV1, ReturnAcceptedV1 } from '../contracts/ordering.ts'
import { retry } from '../retry.ts'
import { payment } from './context.ts'
import { PaymentAccepted, PaymentDeclined, PaymentRefunded } from './events.ts'

/** More than 5,000.00 is declined. */
const limitPence = 500_000

/** One cursor over both, so that a cancellation never overtakes the charge that it takes back. */
export const chargeOrder = payment.consume(
  [OrderPlacedV1, OrderCancelledV1],
  'charge-order',
  async ({ type, data }, { tx, raise }) => {
    const { orderId, customerId, country, day } = data
    if (type === 'shop.order-placed.v1') {
      const { totalPence: amountPence } = data
      const status = amountPence > limitPence ? 'declined' : 'accepted'
      await tx
        .insertInto('payments')
        .values({ order_id: orderId, customer_id: customerId, amount_pence: amountPence, status })
        .execute()
      if (status === 'accepted') raise(PaymentAccepted, { orderId, customerId, amountPence })
      else raise(PaymentDeclined, { orderId, customerId, amountPence, limitPence })
      return
    }
    const { refundPence: amountPence } = data
    const paid = await tx
      .selectFrom('payments')
      .select('status')
      .where('order_id', '=', orderId)
      .where('status', '=', 'accepted')
      .executeTakeFirst()
    if (paid === undefined || amountPence === 0) return
    await tx
      .insertInto('refunds')
      .values({ refund_of: orderId, reason: 'order-cancelled', customer_id: customerId, amount_pence: amountPence })
      .execute()
    raise(PaymentRefunded, { refundOf: orderId, reason: 'order-cancelled', customerId, country, day, amountPence })
  },
  { retry },
)

/** Also of lines whose order was declined: what comes back is paid for at the price that it was ordered at. */
export const refundReturn = payment.consume(
  ReturnAcceptedV1,
  'refund-return',
  async ({ data: { returnId, customerId, country, day, refundPence } }, { tx, raise }) => {
    if (refundPence === 0) return
    await tx
      .insertInto('refunds')
      .values({ refund_of: returnId, reason: 'return', customer_id: customerId, amount_pence: refundPence })
      .execute()
    const refunded = {
      refundOf: returnId,
      reason: 'return',
      customerId,
      country,
      day,
      amountPence: refundPence,
    } as const
    raise(PaymentRefunded, refunded)
  },
  { retry },
)

export const paymentHandlers = [chargeOrder, refundReturn]
