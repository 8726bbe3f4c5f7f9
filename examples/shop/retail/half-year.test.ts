import { readFile } from 'node:fs/promises'
import { gunzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { type GroupInvoicesOptions, groupInvoices } from './invoices.ts'
import { matchReturn } from './match-return.ts'
import { readRetailRows } from './rows.ts'
import { halfYearFile, writeTestFile } from './testing.ts'
import { type PlaceOrder, type ReturnGoods, translate } from './translate.ts'

const lastDay = '2010-12-07'
const firstWeek = {
  orders: 567,
  units: 119_380,
  revenuePence: 23_439_728,
  declined: 2,
  returns: 68,
  returnsUnmatched: 52,
  refundedPence: 82_657,
  refused: { 'no-customer': 111, 'return-without-customer': 11, 'no-valid-line': 0, adjustment: 0 },
  badRows: 0,
}
const declinedAbovePence = 500_000

/** The books of a shop without events, databases or crashes. */
class Ledger {
  readonly figures = {
    orders: 0,
    units: 0,
    revenuePence: 0,
    declined: 0,
    returns: 0,
    returnsUnmatched: 0,
    refundedPence: 0,
    refused: { 'no-customer': 0, 'return-without-customer': 0, 'no-valid-line': 0, adjustment: 0 },
    badRows: 0,
  }
  readonly #lines = new Map<string, { stockCode: string; openQuantity: number; unitPence: number }[]>()

  place(order: PlaceOrder): void {
    this.figures.orders++
    this.figures.units += order.units
    this.figures.revenuePence += order.totalPence
    if (order.totalPence > declinedAbovePence) this.figures.declined++
    const lines = order.lines.map(({ stockCode, quantity, unitPence }) => ({
      stockCode,
      openQuantity: quantity,
      unitPence,
    }))
    this.#lines.set(order.customerId, [...lines.toReversed(), ...(this.#lines.get(order.customerId) ?? [])])
  }

  takeBack(goods: ReturnGoods): void {
    const match = matchReturn(goods.lines, this.#lines.get(goods.customerId) ?? [])
    for (const { line, quantity } of match.taken) line.openQuantity -= quantity
    this.figures.returns++
    if (match.uncovered.length > 0) this.figures.returnsUnmatched++
    this.figures.refundedPence += match.refundPence
  }
}

async function keepBooks(path: string, options: GroupInvoicesOptions = {}): Promise<Ledger> {
  const ledger = new Ledger()
  for await (const item of groupInvoices(readRetailRows(path), options)) {
    if (item.kind === 'bad-row') {
      ledger.figures.badRows++
      continue
    }
    const outcome = translate(item)
    if (outcome.kind === 'place-order') ledger.place(outcome)
    else if (outcome.kind === 'return') ledger.takeBack(outcome)
    else ledger.figures.refused[outcome.reason]++
  }
  return ledger
}

describe('the truth about the real file', () => {
  it('comes out for the half year', async () => {
    expect((await keepBooks(halfYearFile)).figures).toEqual({
      orders: 7_409,
      units: 1_941_310,
      revenuePence: 333_259_196,
      declined: 38,
      returns: 1_588,
      returnsUnmatched: 456,
      refundedPence: 16_501_815,
      refused: { 'no-customer': 1_696, 'return-without-customer': 89, 'no-valid-line': 1, adjustment: 0 },
      badRows: 0,
    })
  })

  it('comes out for the first trading week', async () => {
    expect((await keepBooks(halfYearFile, { lastDay })).figures).toEqual(firstWeek)
  })

  it('comes out for the first week although unreadable lines stand between the good ones', async () => {
    const lines = gunzipSync(await readFile(halfYearFile))
      .toString()
      .split('\n')
    const damages = [
      (line: string) => line.slice(0, 20),
      (line: string) => line.replace(/,(-?\d+),(\d{4})-/, ',some,$2-'),
      (line: string) => line.replace(/,[\d.]+,([\d.]*),([^,]*)$/, ',free,$1,$2'),
      (line: string) => line.replace(',', ',"not closed,'),
      (line: string) => `\u0000${line}`,
    ]
    const dirty = lines.flatMap((line, n) => (n > 0 && n % 50 === 0 ? [line, damages[(n / 50) % 5]?.(line)] : [line]))
    const path = await writeTestFile(dirty.slice(0, 18_000).join('\n'))
    const { badRows, ...figures } = (await keepBooks(path, { lastDay })).figures
    expect({ ...figures, badRows: 0 }).toEqual(firstWeek)
    expect(badRows).toBeGreaterThan(300)
  })
})
