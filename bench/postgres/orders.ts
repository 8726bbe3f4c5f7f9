/** What is stored by every arm: an order row, and events of about 250 bytes. */

import { randomUUID } from 'node:crypto'
import { z } from 'zod'

export type Order = {
  /** Unique; the order row's id. */
  readonly number: number
  /** The key of its events. */
  readonly orderId: string
  readonly customer: string
  readonly total: number
  readonly currency: string
  readonly lines: { sku: string; quantity: number; price: number }[]
}

/** For those who validate what they store or send. */
export const orderSchema = z.object({
  number: z.number(),
  orderId: z.string(),
  customer: z.string(),
  total: z.number(),
  currency: z.string(),
  lines: z.array(z.object({ sku: z.string(), quantity: z.number(), price: z.number() })),
})

export const newOrder = (number: number, orderId = `order-${number}`): Order => ({
  number,
  orderId,
  customer: `customer-${number % 997}`,
  total: number % 5_000,
  currency: 'EUR',
  lines: [0, 1, 2].map((line) => ({ sku: `sku-${(number + line * 31) % 4_000}`, quantity: 1 + line, price: 1_250 })),
})

/** A hundred orders from a number on: what one large transaction raises. */
export const newOrders = (first: number): readonly Order[] => Array.from({ length: 100 }, (_, i) => newOrder(first + i))

let last = 0
/** Numbers of orders that this process has not used yet. */
export const nextNumbers = (count: number): number => {
  const first = last + 1
  last += count
  return first
}

export const eventType = 'ordering.order-placed'
/** For libraries whose names take no dot. */
export const topic = 'order-placed'

export const orderTable = `
  CREATE TABLE IF NOT EXISTS orders (
    number bigint PRIMARY KEY, order_id text NOT NULL, customer text NOT NULL, total integer NOT NULL
  )`
export const insertOrder = 'INSERT INTO orders (number, order_id, customer, total) VALUES ($1, $2, $3, $4)'
export const orderRow = ({ number, orderId, customer, total }: Order): unknown[] => [number, orderId, customer, total]

export const newId = (): string => randomUUID()
