/** What the modules share: the published language, and nothing else. */

import { type DataOf, definePublicEvent } from 'pabal/contract'
import { z } from 'zod'

export const Order = z.object({ orderId: z.string(), item: z.string(), region: z.string() })

export const OrderCompletedV1 = definePublicEvent('shop.order-completed.v1', {
  kind: 'domain',
  title: '주문완료됨',
  schema: Order,
  key: ({ orderId }) => orderId,
})

export type CompletedOrder = DataOf<typeof OrderCompletedV1>
