/** Composes one message per outcome, exactly once; sends each at least once, with a key that tells a repetition. */

import { OrderShippedV1 } from '../contracts/delivery.ts'
import { ReturnAcceptedV1 } from '../contracts/ordering.ts'
import { PaymentDeclinedV1 } from '../contracts/payment.ts'
import { pounds } from '../money.ts'
import type { NotificationFile } from '../notification-file.ts'
import { retry } from '../retry.ts'
import { notification } from './context.ts'
import { SendNotification } from './events.ts'

export const composeNotification = notification.consume(
  [OrderShippedV1, PaymentDeclinedV1, ReturnAcceptedV1],
  'compose-notification',
  ({ type, key: invoiceNo, data }, { post }) => {
    const { customerId } = data
    if (type === 'shop.order-shipped.v1')
      post(SendNotification, {
        outcome: 'shipped',
        invoiceNo,
        customerId,
        text: `Your order ${invoiceNo} is on its way.`,
      })
    else if (type === 'shop.payment-declined.v1')
      post(SendNotification, {
        outcome: 'declined',
        invoiceNo,
        customerId,
        text: `Your order ${invoiceNo} was cancelled: ${pounds(data.amountPence)} is more than we may charge.`,
      })
    else
      post(SendNotification, {
        outcome: 'returned',
        invoiceNo,
        customerId,
        text:
          data.uncovered.length === 0
            ? `We have your return ${invoiceNo}; ${pounds(data.refundPence)} is on its way to you.`
            : `We have your return ${invoiceNo}; ${pounds(data.refundPence)} is on its way to you. For the rest of it we found no order.`,
      })
  },
  { retry },
)

export const sendNotification = (file: Pick<NotificationFile, 'send'>) =>
  notification.on(
    SendNotification,
    'send-notification',
    ({ data }, { idempotencyKey }) => file.send([{ idempotencyKey, ...data }]),
    // As many at once as there are: they share one write to the disk.
    { effects: 'external', startAt: 'beginning', retry, batch: 500, concurrency: 500 },
  )
