import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { matchReturn } from './match-return.ts'

const line = (stockCode: string, openQuantity: number, unitPence: number) => ({ stockCode, openQuantity, unitPence })

describe('matching a return', () => {
  it('takes from the latest lines, backwards until covered, at their prices', () => {
    const [last, other, middle, first] = [line('a', 2, 300), line('b', 9, 100), line('a', 3, 200), line('a', 9, 100)]
    expect(matchReturn([{ stockCode: 'a', quantity: 4 }], [last, other, middle, first])).toEqual({
      taken: [
        { line: last, quantity: 2, refundPence: 600 },
        { line: middle, quantity: 2, refundPence: 400 },
      ],
      uncovered: [],
      refundPence: 1_000,
    })
  })

  it('tells what nothing covers, and refunds the rest', () => {
    const latestFirst = [line('a', 0, 500), line('a', 1, 200), line('A', 9, 100)]
    const returned = [
      { stockCode: 'a', quantity: 3 },
      { stockCode: 'M', quantity: 1 },
    ]
    expect(matchReturn(returned, latestFirst)).toMatchObject({
      uncovered: [
        { stockCode: 'a', quantity: 2 },
        { stockCode: 'M', quantity: 1 },
      ],
      refundPence: 200,
    })
  })

  it('does not refund one unit twice when a code is returned on two lines', () => {
    const returned = [
      { stockCode: 'a', quantity: 2 },
      { stockCode: 'a', quantity: 2 },
    ]
    const only = line('a', 3, 100)
    expect(matchReturn(returned, [only])).toEqual({
      taken: [{ line: only, quantity: 3, refundPence: 300 }],
      uncovered: [{ stockCode: 'a', quantity: 1 }],
      refundPence: 300,
    })
  })

  it('agrees with giving back one unit after the other', () => {
    const stockCode = fc.constantFrom('a', 'b', 'c')
    const lines = fc.array(
      fc.record({ stockCode, openQuantity: fc.nat({ max: 5 }), unitPence: fc.integer({ min: 1, max: 999 }) }),
    )
    const returned = fc.array(fc.record({ stockCode, quantity: fc.integer({ min: 1, max: 8 }) }))
    fc.assert(
      fc.property(returned, lines, (returns, latestFirst) => {
        const open = latestFirst.map(({ openQuantity }) => openQuantity)
        let refundPence = 0
        let uncovered = 0
        for (const { stockCode: code, quantity } of returns)
          for (let unit = 0; unit < quantity; unit++) {
            const at = latestFirst.findIndex((candidate, i) => candidate.stockCode === code && (open[i] ?? 0) > 0)
            if (at === -1) uncovered++
            else {
              open[at] = (open[at] ?? 0) - 1
              refundPence += latestFirst[at]?.unitPence ?? 0
            }
          }

        const match = matchReturn(returns, latestFirst)
        expect(match.refundPence).toBe(refundPence)
        expect(match.uncovered.reduce((sum, { quantity }) => sum + quantity, 0)).toBe(uncovered)
        const left = latestFirst.map(
          (from) => from.openQuantity - (match.taken.find((t) => t.line === from)?.quantity ?? 0),
        )
        expect(left).toEqual(open)
      }),
    )
  })
})
