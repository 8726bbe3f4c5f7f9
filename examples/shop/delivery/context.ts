/** Delivery: ships what is paid, calls back what is refunded, and keeps the external delivery service's addresses up to date. */

import { defineContext, publish } from 'pabal'
import { kysely } from 'pabal/kysely'
import { OrderShippedV1 } from '../contracts/delivery.ts'
import { AddressForwarded, OrderShipped, ShipmentRecalled } from './events.ts'
import type { DeliveryTables } from './tables.ts'

export const delivery = defineContext('delivery', {
  title: '배송',
  store: kysely<DeliveryTables>,
  events: [OrderShipped, ShipmentRecalled, AddressForwarded],
  publishes: [publish(OrderShipped, OrderShippedV1, ({ data }) => data)],
})
