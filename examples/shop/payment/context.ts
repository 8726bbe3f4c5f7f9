/** Payment: charges orders up to a limit, and gives money back once. */

import { defineContext, publish } from 'pabal'
import { kysely } from 'pabal/kysely'
import { PaymentAcceptedV1, PaymentDeclinedV1, PaymentRefundedV1 } from '../contracts/payment.ts'
import { PaymentAccepted, PaymentDeclined, PaymentRefunded } from './events.ts'
import type { PaymentTables } from './tables.ts'

export const payment = defineContext('payment', {
  title: '결제',
  store: kysely<PaymentTables>,
  events: [PaymentAccepted, PaymentDeclined, PaymentRefunded],
  publishes: [
    publish(PaymentAccepted, PaymentAcceptedV1, ({ data }) => data),
    publish(PaymentDeclined, PaymentDeclinedV1, ({ data }) => data),
    publish(PaymentRefunded, PaymentRefundedV1, ({ data }) => data),
  ],
})
