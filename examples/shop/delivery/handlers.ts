/** What delivery does about payments and addresses. */

import { OrderRedirectedV1 } from '../contracts/ordering.ts'
import { PaymentAcceptedV1, PaymentRefundedV1 } from '../contracts/payment.ts'
import { retry } from '../retry.ts'
import type { AddressService } from './address-service.ts'
import { delivery } from './context.ts'
import { AddressForwarded, OrderShipped, ShipmentRecalled } from './events.ts'

/**
 * Ships what is paid, and calls back what is refunded because its order was cancelled: one cursor, so in this order.
 * `failKey`: the order that it fails for, to see a key park.
 */
export const shipOrder = (failKey: string | undefined) =>
  delivery.consume(
    [PaymentAcceptedV1, PaymentRefundedV1],
    'ship-order',
    async ({ type, key, data }, { tx, raise }) => {
      if (key === failKey) throw new Error(`--fail-key ${failKey}: shipping this order fails`)
      if (type === 'shop.payment-accepted.v1') {
        const { orderId, customerId } = data
        await tx
          .insertInto('shipments')
          .values({ order_id: orderId, customer_id: customerId, status: 'shipped' })
          .execute()
        raise(OrderShipped, { orderId, customerId })
      } else if (data.reason === 'order-cancelled') {
        await tx.updateTable('shipments').set({ status: 'recalled' }).where('order_id', '=', key).execute()
        raise(ShipmentRecalled, { orderId: key })
      }
    },
    { retry },
  )

/**
 * The event's own sequence goes with it: whatever a slow, failing or killed service has of older tries, the last address wins
 * there too.
 */
export const forwardAddress = (service: AddressService) =>
  delivery.consume(
    OrderRedirectedV1,
    'forward-address',
    ({ data: { orderId, address }, sequence }, { idempotencyKey, signal }) =>
      service.put({ orderId, address, sequence, idempotencyKey }, signal),
    {
      effects: 'external',
      startAt: 'beginning',
      timeout: '10s',
      retry: { attempts: 12, first: '100ms', max: '5s' },
      record: async (_taken, { data: { orderId, address }, sequence }, { tx, raise }) => {
        await tx
          .insertInto('addresses')
          .values({ order_id: orderId, address, sequence })
          .onConflict((conflict) => conflict.column('order_id').doUpdateSet({ address, sequence }))
          .execute()
        raise(AddressForwarded, { orderId, address })
      },
    },
  )
