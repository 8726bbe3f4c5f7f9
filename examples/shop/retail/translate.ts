/**
 * Translates one invoice of the retail file into the shop's own language: an order, a return, or a refusal.
 * The anti-corruption layer (Evans, Domain-Driven Design, ch. 14): no name or habit of the file goes past it.
 */

import type { Invoice } from './invoices.ts'
import type { RetailRow } from './row.ts'

export interface OrderLine {
  /** From 1, among the lines of this order. */
  readonly lineNo: number
  readonly stockCode: string
  /** At least 1. */
  readonly quantity: number
  /** At least 1. */
  readonly unitPence: number
}

export interface PlaceOrder {
  readonly kind: 'place-order'
  readonly orderId: string
  readonly customerId: string
  readonly country: string
  readonly day: string
  readonly at: string
  /** At least one. */
  readonly lines: OrderLine[]
  readonly units: number
  readonly totalPence: number
}

export interface ReturnedLine {
  readonly stockCode: string
  /** At least 1. */
  readonly quantity: number
}

export interface ReturnGoods {
  readonly kind: 'return'
  readonly returnId: string
  readonly customerId: string
  readonly country: string
  readonly day: string
  readonly at: string
  /** A price on a return counts for nothing: what is covered is refunded at the price of the order. */
  readonly lines: ReturnedLine[]
}

export type RefusalReason = 'no-customer' | 'return-without-customer' | 'no-valid-line' | 'adjustment'

export interface Refused {
  readonly kind: 'refused'
  readonly reason: RefusalReason
  /** Whole, to be kept. */
  readonly invoice: Invoice
}

export function translate(invoice: Invoice): PlaceOrder | ReturnGoods | Refused {
  const { invoiceNo, customerId, country, day, at, rows } = invoice
  const refused = (reason: RefusalReason): Refused => ({ kind: 'refused', reason, invoice })

  if (invoiceNo.startsWith('A')) return refused('adjustment')
  const isReturn = invoiceNo.startsWith('C')
  if (customerId === undefined) return refused(isReturn ? 'return-without-customer' : 'no-customer')
  if (isReturn) return { kind: 'return', returnId: invoiceNo, customerId, country, day, at, lines: returnedLines(rows) }

  const lines = orderLines(rows)
  if (lines.length === 0) return refused('no-valid-line')
  let units = 0
  let totalPence = 0
  for (const { quantity, unitPence } of lines) {
    units += quantity
    totalPence += quantity * unitPence
  }
  return { kind: 'place-order', orderId: invoiceNo, customerId, country, day, at, lines, units, totalPence }
}

const orderLines = (rows: readonly RetailRow[]): OrderLine[] =>
  rows
    .filter(({ quantity, unitPence }) => quantity > 0 && unitPence >= 1)
    .map(({ stockCode, quantity, unitPence }, index) => ({ lineNo: index + 1, stockCode, quantity, unitPence }))

const returnedLines = (rows: readonly RetailRow[]): ReturnedLine[] =>
  rows.filter(({ quantity }) => quantity < 0).map(({ stockCode, quantity }) => ({ stockCode, quantity: -quantity }))
