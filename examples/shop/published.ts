/** Which context publishes what, for whoever runs in another process than that context. */

import type { PublicEventDefinition } from 'pabal/contract'
import { OrderShippedV1 } from './contracts/delivery.ts'
import { OrderCancelledV1, OrderPlacedV1, OrderRedirectedV1, ReturnAcceptedV1 } from './contracts/ordering.ts'
import { PaymentAcceptedV1, PaymentDeclinedV1, PaymentRefundedV1 } from './contracts/payment.ts'

export const published: Readonly<Record<string, readonly PublicEventDefinition[]>> = {
  ordering: [OrderPlacedV1, OrderCancelledV1, OrderRedirectedV1, ReturnAcceptedV1],
  payment: [PaymentAcceptedV1, PaymentDeclinedV1, PaymentRefundedV1],
  delivery: [OrderShippedV1],
}
