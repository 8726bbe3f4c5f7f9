/** Ordering: takes orders and returns, remembers what a customer can still give back, and refuses what is neither. */

import { defineContext, publish } from 'pabal'
import { kysely } from 'pabal/kysely'
import {
  AcceptReturn,
  OrderRedirectedV1,
  CancelOrder,
  ChangeAddress,
  OrderCancelledV1,
  OrderPlacedV1,
  PlaceOrder,
  RefuseInvoice,
  RefuseRow,
  ReturnAcceptedV1,
} from '../contracts/ordering.ts'
import { OrderRedirected, InvoiceRefused, OrderCancelled, OrderPlaced, ReturnAccepted } from './events.ts'
import type { OrderingTables } from './tables.ts'

export const ordering = defineContext('ordering', {
  title: '주문',
  store: kysely<OrderingTables>,
  events: [OrderPlaced, OrderCancelled, OrderRedirected, ReturnAccepted, InvoiceRefused],
  commands: [PlaceOrder, AcceptReturn, CancelOrder, ChangeAddress, RefuseInvoice, RefuseRow],
  publishes: [
    publish(OrderPlaced, OrderPlacedV1, ({ data }) => data),
    publish(OrderCancelled, OrderCancelledV1, ({ data }) => data),
    publish(OrderRedirected, OrderRedirectedV1, ({ data }) => data),
    publish(ReturnAccepted, ReturnAcceptedV1, ({ data }) => data),
  ],
})
