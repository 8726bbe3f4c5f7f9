/** Finds the order lines that a return gives back: the latest first, until its quantities are covered. */

export interface ReturnedLine {
  readonly stockCode: string
  /** At least 1. */
  readonly quantity: number
}

export interface OpenLine {
  readonly stockCode: string
  /** What was ordered and not yet returned. */
  readonly openQuantity: number
  readonly unitPence: number
}

export interface ReturnMatch<Line extends OpenLine> {
  /** Each open line at most once, with the quantity to take from it and what that refunds. */
  readonly taken: readonly { readonly line: Line; readonly quantity: number; readonly refundPence: number }[]
  /** Per stock code, what no earlier order covers; not empty: the return is unmatched and is listed. */
  readonly uncovered: readonly ReturnedLine[]
  readonly refundPence: number
}

/**
 * `latestFirst`: lines of earlier orders of the same customer, declined orders too, the last line of the last order
 * first; other stock codes and lines without open quantity may be among them. Stock codes must be exactly the same.
 */
export function matchReturn<Line extends OpenLine>(
  returned: readonly ReturnedLine[],
  latestFirst: Iterable<Line>,
): ReturnMatch<Line> {
  const wanted = new Map<string, number>()
  for (const { stockCode, quantity } of returned) wanted.set(stockCode, (wanted.get(stockCode) ?? 0) + quantity)

  const taken: { line: Line; quantity: number; refundPence: number }[] = []
  let refundPence = 0
  for (const line of latestFirst) {
    if (wanted.size === 0) break
    const missing = wanted.get(line.stockCode)
    if (missing === undefined || line.openQuantity <= 0) continue
    const quantity = Math.min(missing, line.openQuantity)
    taken.push({ line, quantity, refundPence: quantity * line.unitPence })
    refundPence += quantity * line.unitPence
    if (quantity === missing) wanted.delete(line.stockCode)
    else wanted.set(line.stockCode, missing - quantity)
  }
  const uncovered = Array.from(wanted, ([stockCode, quantity]) => ({ stockCode, quantity }))
  return { taken, uncovered, refundPence }
}
