/**
 * One line of the retail file as a typed row, or as a bad row that says what is wrong with it.
 *
 * An unreadable line does not stop the run and does not take its invoice with it: like a line without a price, it is
 * not a valid line, so the invoice goes on with the lines that are. It is never silent: the bad row is kept and listed
 * with its line number, its invoice (where legible) and the reason, so that the affected order can be found. A line is
 * all or nothing: no value of a bad row is used, because a shifted column makes the others wrong too.
 */

import { penceOf } from './pence.ts'

export interface RetailRow {
  readonly kind: 'row'
  /** Line in the file, the header being line 1. */
  readonly line: number
  readonly invoiceNo: string
  /** As written, without any trimming: a return must name exactly the same code. */
  readonly stockCode: string
  /** Negative on a return. At most ±10,000,000. */
  readonly quantity: number
  /** May be zero or negative: adjustments and give-aways. At most ±1,000,000.00 pounds. */
  readonly unitPence: number
  /** `2010-12-01` */
  readonly day: string
  /** `2010-12-01T08:26:00`, the shop's local time: the file has no zone. */
  readonly at: string
  /** Digits only (`17850.0` is `17850`); undefined for a sale over the counter. */
  readonly customerId: string | undefined
  readonly country: string
}

export interface BadRow {
  readonly kind: 'bad-row'
  /** Line in the file, the header being line 1. */
  readonly line: number
  /** Only if the line has a legible one. */
  readonly invoiceNo: string | undefined
  readonly reason: string
  /** What the line holds, at most 500 characters. */
  readonly text: string
}

export const requiredColumns = [
  'InvoiceNo',
  'StockCode',
  'Quantity',
  'InvoiceDate',
  'UnitPrice',
  'CustomerID',
  'Country',
] as const

export type RowReader = (fields: readonly string[], line: number) => RetailRow | BadRow

const quantityMax = 10_000_000
const unitPenceMax = 100_000_000
const codeCharactersMax = 64
const badTextCharactersMax = 500
const invoiceNumber = /^[A-Za-z0-9_-]{1,32}$/
const wholeNumber = /^[+-]?\d{1,15}(?:\.0*)?$/
const customerNumber = /^(\d{1,15})(?:\.0*)?$/
const timestamp = /^(\d{4}-\d\d-\d\d)(?:[T ]([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d)(?:\.\d+)?)?)?$/

/** A reader for the columns in the order of this header; the names of the missing columns if it lacks some. */
export function createRowReader(header: readonly string[]): RowReader | { readonly missing: readonly string[] } {
  const names = header.map((name) => name.trim())
  const missing = requiredColumns.filter((name) => !names.includes(name))
  if (missing.length > 0) return { missing }
  const column = (name: (typeof requiredColumns)[number]) => names.indexOf(name)
  const columns = {
    invoiceNo: column('InvoiceNo'),
    stockCode: column('StockCode'),
    quantity: column('Quantity'),
    date: column('InvoiceDate'),
    price: column('UnitPrice'),
    customer: column('CustomerID'),
    country: column('Country'),
  }
  const isDay = createDayCheck()

  return (fields, line) => {
    const field = (index: number) => (fields[index] ?? '').trim()
    const number = field(columns.invoiceNo)
    const bad = (reason: string): BadRow => ({
      kind: 'bad-row',
      line,
      invoiceNo: invoiceNumber.test(number) ? number : undefined,
      reason,
      text: fields.join(',').replaceAll('\0', '␀').slice(0, badTextCharactersMax),
    })

    if (fields.length !== names.length) return bad(`${fields.length} columns where ${names.length} are expected`)
    if (!invoiceNumber.test(number)) return bad('InvoiceNo is not an invoice number')
    const code = fields[columns.stockCode] ?? ''
    if (!isCode(code)) return bad('StockCode is not a stock code')
    const pieces = field(columns.quantity)
    if (!wholeNumber.test(pieces)) return bad('Quantity is not a whole number')
    if (Math.abs(Number(pieces)) > quantityMax) return bad(`Quantity is beyond ${quantityMax}`)
    const time = timestamp.exec(field(columns.date))
    if (time === null || !isDay(time[1] ?? '')) return bad('InvoiceDate is not a date like 2010-12-01 08:26:00')
    const unitPence = penceOf(field(columns.price))
    if (unitPence === undefined) return bad('UnitPrice is not a number')
    if (Math.abs(unitPence) > unitPenceMax) return bad(`UnitPrice is beyond ${unitPenceMax / 100}`)
    const customerText = field(columns.customer)
    const customerId = customerNumber.exec(customerText)?.[1]
    if (customerText !== '' && customerId === undefined) return bad('CustomerID is not a number')
    const country = field(columns.country)
    if (country.includes('\0')) return bad('Country is not a name')

    const [, day = '', hours = '00', minutes = '00', seconds = '00'] = time
    return {
      kind: 'row',
      line,
      invoiceNo: number,
      stockCode: code,
      quantity: Number(pieces),
      unitPence,
      day,
      at: `${day}T${hours}:${minutes}:${seconds}`,
      customerId,
      country: country || 'Unspecified',
    }
  }
}

/** A quote inside a code is the trace of a damaged line, not a code; so is a NUL, which not every database can keep. */
const isCode = (code: string) =>
  code.trim() !== '' && code.length <= codeCharactersMax && !code.includes('"') && !code.includes('\0')

/** Rows come in the order of time: the day of the last row answers almost every call. */
function createDayCheck(): (day: string) => boolean {
  let last = ''
  return (day) => {
    if (day === last) return true
    const parsed = new Date(`${day}T00:00:00Z`)
    if (Number.isNaN(parsed.getTime()) || !parsed.toISOString().startsWith(day)) return false
    last = day
    return true
  }
}
