import fc from 'fast-check'
import { expect, test } from 'vitest'
import { slotOf, slots } from './slot.ts'

// Computed by another implementation of the same definition. A changed slot would put a key into another lane of a consumer
// that is at work, beside its own earlier events.
test.each([
  ['', 961],
  [' ', 938],
  ['a', 232],
  ['1', 315],
  ['order:42', 934],
  ['order:43', 695],
  ['17850', 990],
  ['C536379', 290],
  ['0192f0c1-7b1e-7000-8000-000000000001', 961],
  ['주문-1', 985],
  ['주문', 983],
  ['가', 604],
  ['\u1100\u1161', 496],
  ['🐎', 455],
  ['👩\u200d👩\u200d👧', 429],
  ['é', 619],
  ['ß', 285],
  ['x'.repeat(500), 995],
])('the slot of %j is %d, for ever', (key, slot) => {
  expect(slotOf(key)).toBe(slot)
})

/** Any UTF-16 there is, lone surrogates too. */
const anyText = fc.string({ unit: fc.integer({ min: 0, max: 0xffff }).map((unit) => String.fromCharCode(unit)) })

test('every text has a slot', () => {
  fc.assert(
    fc.property(anyText, (key) => {
      const slot = slotOf(key)
      expect(Number.isInteger(slot) && slot >= 0 && slot < slots).toBe(true)
      expect(slotOf(key)).toBe(slot)
    }),
  )
})

test.each<[string, (n: number) => string]>([
  ['numbers', String],
  ['prefixed numbers', (n) => `order:${n}`],
  ['Korean prefixes', (n) => `주문-${n}`],
  ['UUIDs that differ at their end', (n) => `0192f0c1-7b1e-7000-8000-${n.toString(16).padStart(12, '0')}`],
])('%s spread evenly over the lanes', (_name, keyOf) => {
  for (const lanes of [2, 7, 16, slots]) {
    const perLane = 200
    const counts = Array.from({ length: lanes }, () => 0)
    for (let n = 0; n < lanes * perLane; n++) counts[slotOf(keyOf(n)) % lanes]!++
    // Chi-squared against an even spread; its mean is lanes - 1, its deviation the root of twice that.
    const chiSquared = counts.reduce((sum, count) => sum + (count - perLane) ** 2 / perLane, 0)
    expect(chiSquared).toBeLessThan(lanes - 1 + 8 * Math.sqrt(2 * (lanes - 1)) + 10)
    expect(Math.min(...counts)).toBeGreaterThan(perLane / 2)
  }
})
