import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { groupInvoices, type Invoice } from './invoices.ts'
import type { BadRow, RetailRow } from './row.ts'
import { collect, isBad, row } from './testing.ts'

async function* stream(...rows: (RetailRow | BadRow)[]): AsyncGenerator<RetailRow | BadRow> {
  yield* rows
}
const numbers = (items: readonly (Invoice | BadRow)[]) => items.map(({ invoiceNo }) => invoiceNo)
const badRow: BadRow = { kind: 'bad-row', line: 9, invoiceNo: 'a', reason: 'Quantity is not a whole number', text: '' }
const [monday, tuesday] = ['2010-12-06', '2010-12-07']

describe('grouping rows to invoices', () => {
  it('joins the rows of interleaved numbers, in the order of their first rows', async () => {
    const [a1, b1, a2, b2] = ['b', 'a', 'b', 'a'].map((invoiceNo, i) =>
      row({ invoiceNo, line: i + 2, at: `2010-12-01T08:0${i}:00` }),
    )
    const invoices = await collect(
      groupInvoices(stream(a1 as RetailRow, b1 as RetailRow, a2 as RetailRow, b2 as RetailRow)),
    )
    expect(invoices).toMatchObject([
      { invoiceNo: 'b', at: '2010-12-01T08:00:00', rows: [a1, a2] },
      { invoiceNo: 'a', at: '2010-12-01T08:01:00', rows: [b1, b2] },
    ])
  })

  it('takes the customer from the first row that has one', async () => {
    const rows = stream(row({ customerId: undefined }), row({ customerId: '1' }), row({ customerId: '2' }))
    expect(await collect(groupInvoices(rows))).toMatchObject([{ customerId: '1' }])
  })

  it('yields a number again when it comes on another day, also on an earlier one', async () => {
    const rows = stream(row({ day: monday }), row({ day: tuesday }), row({ day: monday }))
    expect(numbers(await collect(groupInvoices(rows)))).toEqual(['536365', '536365', '536365'])
  })

  it('passes bad rows on at once and leaves their invoice its good rows', async () => {
    const items = await collect(groupInvoices(stream(row({ invoiceNo: 'a' }), badRow, row({ invoiceNo: 'a' }))))
    expect(items).toEqual([
      badRow,
      expect.objectContaining({ invoiceNo: 'a', rows: [row({ invoiceNo: 'a' }), row({ invoiceNo: 'a' })] }),
    ])
  })

  it('stops reading after the last day', async () => {
    let read = 0
    async function* rows() {
      for (const day of ['2010-12-05', monday, tuesday, '2010-12-08', '2010-12-09']) {
        read++
        yield row({ day, invoiceNo: day })
      }
    }
    expect(numbers(await collect(groupInvoices(rows(), { lastDay: monday })))).toEqual(['2010-12-05', monday])
    expect(read).toBe(3)
  })

  it('does not yield the day in which the rows break off', async () => {
    async function* rows() {
      yield row({ day: monday, invoiceNo: 'whole' })
      yield row({ day: tuesday, invoiceNo: 'half' })
      throw new Error('the gzip is not complete')
    }
    const items: (Invoice | BadRow)[] = []
    const reading = (async () => {
      for await (const item of groupInvoices(rows())) items.push(item)
    })()
    await expect(reading).rejects.toThrow('not complete')
    expect(numbers(items)).toEqual(['whole'])
  })

  it('loses no row and mixes none, whatever comes', async () => {
    const anyRow = fc
      .record({ day: fc.constantFrom(monday, tuesday), invoiceNo: fc.constantFrom('a', 'b', 'c') })
      .map(row)
    await fc.assert(
      fc.asyncProperty(fc.array(fc.oneof({ weight: 5, arbitrary: anyRow }, fc.constant(badRow))), async (rows) => {
        const items = await collect(groupInvoices(stream(...rows)))
        const grouped = items.flatMap<RetailRow | BadRow>((item) => (item.kind === 'invoice' ? item.rows : [item]))
        expect(new Set(grouped)).toEqual(new Set(rows))
        expect(grouped).toHaveLength(rows.length)
        expect(items.filter(isBad)).toEqual(rows.filter(isBad))
        for (const item of items)
          if (item.kind === 'invoice')
            expect(item.rows.every(({ invoiceNo, day }) => invoiceNo === item.invoiceNo && day === item.day)).toBe(true)
      }),
    )
  })
})
