/**
 * Gathers rows to invoices: all rows of a day with one InvoiceNo, in the order of their first row.
 *
 * Two invoices interleave in the file, so one is complete only at the end of its day; at most one day is held in
 * memory. A day ends with the first row of any other day, also of an earlier one (files joined with `cat`). If the same
 * InvoiceNo comes again on another day or in a later file, it is yielded again: identity is the InvoiceNo and the first
 * receipt wins, which the importer sees to with an idempotency key. Knowing all earlier numbers here would need memory
 * that grows with the file, and would not survive a restart.
 */

import type { BadRow, RetailRow } from './row.ts'

export interface Invoice {
  readonly kind: 'invoice'
  readonly invoiceNo: string
  readonly day: string
  /** Time of its first row. */
  readonly at: string
  /** Of the first row that has one. */
  readonly customerId: string | undefined
  readonly country: string
  /** At least one, in the order of the file. */
  readonly rows: readonly RetailRow[]
}

export interface GroupInvoicesOptions {
  /** `2010-12-07`: stop, and stop reading, at the first row of a later day. Default: the whole file. */
  readonly lastDay?: string
}

/**
 * Invoices day by day; bad rows pass through at once, so that any number of them needs no memory. If `rows` throws,
 * the day that was being read is not yielded: none of its invoices is known to be complete.
 */
export async function* groupInvoices(
  rows: AsyncIterable<RetailRow | BadRow>,
  options: GroupInvoicesOptions = {},
): AsyncGenerator<Invoice | BadRow> {
  let today = new Map<string, RetailRow[]>()
  let day = ''
  for await (const row of rows) {
    if (row.kind === 'bad-row') {
      yield row
      continue
    }
    if (row.day !== day) {
      yield* Array.from(today.values(), asInvoice)
      today = new Map()
      day = row.day
      if (options.lastDay !== undefined && day > options.lastDay) return
    }
    const invoice = today.get(row.invoiceNo)
    if (invoice === undefined) today.set(row.invoiceNo, [row])
    else invoice.push(row)
  }
  yield* Array.from(today.values(), asInvoice)
}

function asInvoice(rows: readonly RetailRow[]): Invoice {
  const { invoiceNo, day, at, country } = rows[0] as RetailRow
  const customerId = rows.find((row) => row.customerId !== undefined)?.customerId
  return { kind: 'invoice', invoiceNo, day, at, customerId, country, rows }
}
