/** What happens in the warehouse. Private: so far nobody else has to know. */

import { defineEvent } from 'pabal'
import { z } from 'zod'

const units = z.int().min(1)

export const StockAllocated = defineEvent('warehouse.stock-allocated', {
  title: '재고할당됨',
  schema: z.object({ orderId: z.string(), units }),
  key: ({ orderId }) => orderId,
})

export const StockReleased = defineEvent('warehouse.stock-released', {
  title: '재고해제됨',
  schema: z.object({ orderId: z.string(), units }),
  key: ({ orderId }) => orderId,
})

export const GoodsRestocked = defineEvent('warehouse.goods-restocked', {
  title: '재입고됨',
  schema: z.object({ returnId: z.string(), units }),
  key: ({ returnId }) => returnId,
})
