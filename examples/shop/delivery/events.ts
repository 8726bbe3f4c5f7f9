/** What happens in delivery. */

import { defineEvent } from 'pabal'
import { z } from 'zod'

export const OrderShipped = defineEvent('delivery.order-shipped', {
  title: '출고됨',
  schema: z.object({ orderId: z.string(), customerId: z.string() }),
  key: ({ orderId }) => orderId,
})

/** Private: the order was cancelled after it had left; it is called back. */
export const ShipmentRecalled = defineEvent('delivery.shipment-recalled', {
  title: '배송회수됨',
  schema: z.object({ orderId: z.string() }),
  key: ({ orderId }) => orderId,
})

/** Private: the external delivery service has taken this address. */
export const AddressForwarded = defineEvent('delivery.address-forwarded', {
  title: '배송지전달됨',
  schema: z.object({ orderId: z.string(), address: z.string() }),
  key: ({ orderId }) => orderId,
})
