import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { penceOf } from './pence.ts'

describe('penceOf', () => {
  it.each([
    ['2.55', 255],
    ['2.1', 210],
    ['0', 0],
    ['0.0', 0],
    ['5.', 500],
    ['.5', 50],
    ['38970.0', 3_897_000],
    ['0.001', 0],
    ['0.0049999', 0],
    ['0.005', 1],
    ['1.005', 101],
    ['8.165', 817],
    ['2.5500000000000003', 255],
    ['-11062.06', -1_106_206],
    ['-0.005', 0],
    ['-0.0051', -1],
    ['1e-05', 0],
    ['5e-3', 1],
    ['1.5E2', 15_000],
  ])('reads %s as %d', (text, pence) => {
    expect(penceOf(text)).toBe(pence)
  })

  it.each([
    '',
    '.',
    'abc',
    '1,000.00',
    '£2.55',
    '2.55 ',
    '0x10',
    'NaN',
    'Infinity',
    '1e',
    '--1',
    '99999999999999999999',
    '1e99',
  ])('does not read %j', (text) => {
    expect(penceOf(text)).toBeUndefined()
  })

  it('rounds half up exactly, whatever the digits', () => {
    const digits = fc.stringMatching(/^\d{1,8}$/)
    fc.assert(
      fc.property(
        fc.boolean(),
        digits,
        digits,
        fc.integer({ min: -6, max: 3 }),
        (isNegative, whole, fraction, exponent) => {
          const text = `${isNegative ? '-' : ''}${whole}.${fraction}e${exponent}`
          // In units of 10^-30 pence: floor(x + 1/2) over integers.
          const unit = 10n ** 30n
          const value =
            BigInt((isNegative ? '-' : '') + whole + fraction) * 10n ** BigInt(30 + 2 + exponent - fraction.length)
          const shifted = value + unit / 2n
          const floor = shifted / unit - (shifted % unit < 0n ? 1n : 0n)
          expect(penceOf(text)).toBe(Number(floor))
        },
      ),
    )
  })
})
