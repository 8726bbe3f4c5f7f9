/** What is measured: a context as a user writes it, with one business table. */

import type { StandardSchemaV1 } from '@standard-schema/spec'
import {
  type Bound,
  defineContext,
  defineEvent,
  type EventDefinition,
  type Handler,
  type JsonSchema,
} from '../../src/index.ts'
import { sqlite, type SqliteTx } from '../../src/store/sqlite/index.ts'
import { z } from 'zod'

export type Order = {
  readonly orderId: string
  readonly customer: string
  readonly total: number
}

export const newOrder = (n: number): Order => ({
  orderId: `order-${n}`,
  customer: `customer-${n % 997}`,
  total: n % 5_000,
})

/** Accepts everything: what is left is pabal's own cost. */
const anything: StandardSchemaV1<Order, Order> & JsonSchema = {
  '~standard': { version: 1, vendor: 'bench', validate: (value) => ({ value: value as Order }) },
}
const zod = z.object({ orderId: z.string(), customer: z.string(), total: z.number() })

export const orderTable = 'CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, total INTEGER NOT NULL) STRICT'
export const insertOrder = 'INSERT INTO orders (id, total) VALUES (?, ?)'

/** The context over a kind of schema. */
export const ordering = (schema: 'zod' | 'anything') => {
  const OrderPlaced: EventDefinition<'ordering.order-placed', Order, Order> = defineEvent('ordering.order-placed', {
    schema: schema === 'zod' ? zod : anything,
    key: (order) => order.orderId,
  })
  const context = defineContext('ordering', { store: sqlite, events: [OrderPlaced] })
  const at = (path: string, handlers: readonly Handler<'ordering'>[] = []): Bound<'ordering'> =>
    context.with({ store: sqlite(path), handlers, prepare: (tx: SqliteTx) => tx.run(orderTable) })
  return { OrderPlaced, context, at }
}
