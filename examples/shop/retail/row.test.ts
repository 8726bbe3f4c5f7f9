import { describe, expect, it } from 'vitest'
import { createRowReader, type RowReader } from './row.ts'
import { header, row } from './testing.ts'

const read = createRowReader(header.split(',')) as RowReader
const good = [
  '536365',
  '85123A',
  'WHITE HANGING HEART',
  '6',
  '2010-12-01 08:26:00',
  '2.55',
  '17850.0',
  'United Kingdom',
]
const changed = (index: number, value: string) => good.with(index, value)

describe('a row reader', () => {
  it('reads a good line', () => {
    expect(read(good, 2)).toEqual(row())
  })

  it('finds columns by name, in any order and among others', () => {
    const names = ['Note', ...header.split(',').toReversed()]
    const reader = createRowReader(names) as RowReader
    expect(reader(['new', ...good.toReversed()], 2)).toEqual(row())
  })

  it('tells which columns a header lacks', () => {
    expect(createRowReader(['InvoiceNo', 'Quantity'])).toEqual({
      missing: ['StockCode', 'InvoiceDate', 'UnitPrice', 'CustomerID', 'Country'],
    })
  })

  it.each([
    [6, '', { customerId: undefined }],
    [6, '17850', { customerId: '17850' }],
    [3, '-6', { quantity: -6 }],
    [3, '6.0', { quantity: 6 }],
    [5, '0.005', { unitPence: 1 }],
    [5, '-11062.06', { unitPence: -1_106_206 }],
    [1, '47503J ', { stockCode: '47503J ' }],
    [4, '2010-12-01T08:26', {}],
    [4, '2010-12-01', { at: '2010-12-01T00:00:00' }],
    [7, '', { country: 'Unspecified' }],
  ])('reads column %d with %j', (index, value, expected) => {
    expect(read(changed(index, value), 2)).toEqual(row(expected))
  })

  it.each([
    [0, '', /InvoiceNo/],
    [0, '5363"65', /InvoiceNo/],
    [1, '', /StockCode/],
    [1, '85"123A', /StockCode/],
    [1, '85\u0000A', /StockCode/],
    [3, 'six', /Quantity is not/],
    [3, '', /Quantity is not/],
    [3, '6.5', /Quantity is not/],
    [3, '10000001', /Quantity is beyond/],
    [4, '2010-02-30 08:26:00', /InvoiceDate/],
    [4, '2010-12-01 24:00:00', /InvoiceDate/],
    [4, '12/1/2010 8:26', /InvoiceDate/],
    [5, '', /UnitPrice is not/],
    [5, 'free', /UnitPrice is not/],
    [5, '1000000.01', /UnitPrice is beyond/],
    [6, 'nobody', /CustomerID/],
    [7, 'United\u0000Kingdom', /Country/],
  ])('calls a line with column %d %j bad and says why', (index, value, reason) => {
    expect(read(changed(index, value), 7)).toMatchObject({
      kind: 'bad-row',
      line: 7,
      reason: expect.stringMatching(reason),
    })
  })

  it('keeps a bad line as text that every database can hold', () => {
    expect(read(changed(0, '5363\u000065'), 2)).toMatchObject({ text: expect.stringMatching(/^5363␀65,/) })
  })

  it('calls a line with too few or too many columns bad, and names its invoice', () => {
    const expected = { kind: 'bad-row', invoiceNo: '536365' }
    expect(read(good.slice(0, 3), 2)).toMatchObject({ ...expected, reason: '3 columns where 8 are expected' })
    expect(read([...good, 'more'], 2)).toMatchObject({ ...expected, reason: '9 columns where 8 are expected' })
  })
})
