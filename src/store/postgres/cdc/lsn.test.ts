import fc from 'fast-check'
import { expect, test } from 'vitest'
import { lsnOf, lsnText } from './lsn.ts'

test('a place is written as the server writes it, and read again', () => {
  expect(lsnText(0n)).toBe('0/0')
  expect(lsnText(lsnOf('16/B374D848'))).toBe('16/B374D848')
  expect(lsnOf('1/0')).toBe(lsnOf('0/FFFFFFFF') + 1n)
  fc.assert(fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (lsn) => lsnOf(lsnText(lsn)) === lsn))
})
