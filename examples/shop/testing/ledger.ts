/** The books of a shop without events, databases or crashes: what the real one must come to, for any file. */

import type { Figures } from '../figures.ts'
import { matchReturn } from '../ordering/match-return.ts'
import { type GroupInvoicesOptions, groupInvoices } from '../retail/invoices.ts'
import { readRetailRows } from '../retail/rows.ts'
import { type PlaceOrder, type ReturnGoods, translate } from '../retail/translate.ts'

const declinedAbovePence = 500_000

/** The figures of the whole bundled file, by the shop's rules. */
export const halfYear = {
  orders: 7_409,
  units: 1_941_310,
  revenuePence: 333_259_196,
  declined: 38,
  returns: 1_588,
  returnsUnmatched: 456,
  refundedPence: 16_501_815,
  refused: { 'no-customer': 1_696, 'return-without-customer': 89, 'no-valid-line': 1, adjustment: 0 },
}

export const lastDayOfFirstWeek = '2010-12-07'

/** The figures of its first trading week. */
export const firstWeek = {
  orders: 567,
  units: 119_380,
  revenuePence: 23_439_728,
  declined: 2,
  returns: 68,
  returnsUnmatched: 52,
  refundedPence: 82_657,
  refused: { 'no-customer': 111, 'return-without-customer': 11, 'no-valid-line': 0, adjustment: 0 },
}

/** What the shop prints about it. */
export const firstWeekOfShop: Figures = asPrinted(firstWeek, 3_133)
export const halfYearOfShop: Figures = asPrinted(halfYear, 44_539)

function asPrinted(truth: typeof firstWeek, events: number): Figures {
  const { orders, declined, returns } = truth
  return { ...truth, shipped: orders - declined, notifications: orders + returns, events, deadLetters: 0 }
}

export class Ledger {
  readonly figures = {
    orders: 0,
    units: 0,
    revenuePence: 0,
    declined: 0,
    returns: 0,
    returnsUnmatched: 0,
    refundedPence: 0,
    refused: { 'no-customer': 0, 'return-without-customer': 0, 'no-valid-line': 0, adjustment: 0 },
  }
  badRows = 0
  readonly #known = new Set<string>()
  readonly #lines = new Map<string, { stockCode: string; openQuantity: number; unitPence: number }[]>()

  /** Of one file after the other. An invoice that is known counts once, as it came first. */
  async keep(path: string, options: GroupInvoicesOptions = {}): Promise<void> {
    for await (const item of groupInvoices(readRetailRows(path), options)) {
      if (item.kind === 'bad-row') {
        this.badRows++
        continue
      }
      if (this.#known.has(item.invoiceNo)) continue
      this.#known.add(item.invoiceNo)
      const outcome = translate(item)
      if (outcome.kind === 'place-order') this.#place(outcome)
      else if (outcome.kind === 'return') this.#takeBack(outcome)
      else this.figures.refused[outcome.reason]++
    }
  }

  #place(order: PlaceOrder): void {
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

  #takeBack(goods: ReturnGoods): void {
    const match = matchReturn(goods.lines, this.#lines.get(goods.customerId) ?? [])
    for (const { line, quantity } of match.taken) line.openQuantity -= quantity
    this.figures.returns++
    if (match.uncovered.length > 0) this.figures.returnsUnmatched++
    this.figures.refundedPence += match.refundPence
  }
}
