import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Invoice } from './invoices.ts'
import type { RetailRow } from './row.ts'
import { row } from './testing.ts'
import { translate } from './translate.ts'

function invoiceOf(invoiceNo: string, customerId: string | undefined, rows: Partial<RetailRow>[]): Invoice {
  const all = rows.map((changes) => row({ invoiceNo, customerId, ...changes }))
  const { day, at, country } = row()
  return { kind: 'invoice', invoiceNo, day, at, customerId, country, rows: all }
}

describe('translating an invoice', () => {
  it('makes an order of the valid lines, numbered among themselves', () => {
    const invoice = invoiceOf('536365', '17850', [
      { stockCode: 'FREE', unitPence: 0 },
      { stockCode: '85123A', quantity: 6, unitPence: 255 },
      { stockCode: 'D', quantity: -1, unitPence: 2_750 },
      { stockCode: 'PADS', quantity: 1, unitPence: 1 },
      { stockCode: '85123A', quantity: 2, unitPence: 339 },
    ])
    expect(translate(invoice)).toEqual({
      kind: 'place-order',
      orderId: '536365',
      customerId: '17850',
      country: 'United Kingdom',
      day: '2010-12-01',
      at: '2010-12-01T08:26:00',
      lines: [
        { lineNo: 1, stockCode: '85123A', quantity: 6, unitPence: 255 },
        { lineNo: 2, stockCode: 'PADS', quantity: 1, unitPence: 1 },
        { lineNo: 3, stockCode: '85123A', quantity: 2, unitPence: 339 },
      ],
      units: 9,
      totalPence: 6 * 255 + 1 + 2 * 339,
    })
  })

  it('makes a return of the negative lines of a number with C, whatever their price', () => {
    const invoice = invoiceOf('C536379', '14527', [
      { stockCode: '22423', quantity: -2, unitPence: 0 },
      { stockCode: '22423', quantity: 1 },
    ])
    expect(translate(invoice)).toMatchObject({
      kind: 'return',
      returnId: 'C536379',
      lines: [{ stockCode: '22423', quantity: 2 }],
    })
  })

  it.each([
    ['536414', undefined, 6, 'no-customer'],
    ['536414', undefined, -6, 'no-customer'],
    ['C536414', undefined, -6, 'return-without-customer'],
    ['536414', '17850', 0, 'no-valid-line'],
    ['A563185', undefined, 1, 'adjustment'],
    ['A563185', '17850', 1, 'adjustment'],
  ])('refuses %s of customer %s with quantity %d: %s', (invoiceNo, customerId, quantity, reason) => {
    const invoice = invoiceOf(invoiceNo, customerId, [{ quantity }])
    expect(translate(invoice)).toEqual({ kind: 'refused', reason, invoice })
  })

  it('gives every invoice exactly one outcome, and an order only what its lines add up to', () => {
    const changes = fc.record({ quantity: fc.integer({ min: -9, max: 9 }), unitPence: fc.integer({ min: -9, max: 9 }) })
    const numbers = fc.constantFrom('536365', 'C536365', 'A536365')
    const customers = fc.constantFrom('17850', undefined)
    fc.assert(
      fc.property(numbers, customers, fc.array(changes, { minLength: 1 }), (invoiceNo, customerId, rows) => {
        const outcome = translate(invoiceOf(invoiceNo, customerId, rows))
        if (outcome.kind !== 'place-order') return
        const valid = rows.filter(({ quantity, unitPence }) => quantity > 0 && unitPence > 0)
        expect(outcome.lines).toHaveLength(valid.length)
        expect(outcome.lines.length).toBeGreaterThan(0)
        expect(outcome.units).toBe(valid.reduce((sum, { quantity }) => sum + quantity, 0))
        expect(outcome.totalPence).toBe(valid.reduce((sum, { quantity, unitPence }) => sum + quantity * unitPence, 0))
      }),
    )
  })
})
