/** What `delivery` tells the other contexts. */

import { definePublicEvent } from 'pabal/contract'
import { z } from 'zod'

export const OrderShippedV1 = definePublicEvent('shop.order-shipped.v1', {
  kind: 'domain',
  title: '출고됨',
  schema: z.object({ orderId: z.string(), customerId: z.string() }),
  key: ({ orderId }) => orderId,
})
