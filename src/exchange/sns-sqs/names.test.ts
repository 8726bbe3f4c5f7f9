import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { deduplicationOf, groupOf, namesWith } from './names.ts'

describe('names', () => {
  test('say what they are for', () => {
    const names = namesWith('', true)
    expect([
      names.topic({ context: 'ordering' }),
      names.queue('ordering', 'shipping'),
      names.refused('ordering', 'shipping'),
    ]).toEqual(['pabal-ordering.fifo', 'pabal-ordering-shipping.fifo', 'pabal-ordering-shipping-refused.fifo'])
    expect([names.queue('ordering'), names.refused('ordering')]).toEqual([
      'pabal-ordering.fifo',
      'pabal-ordering--refused.fifo',
    ])
    expect(namesWith('test-', false).queue('ordering', 'shipping')).toBe('test-pabal-ordering-shipping')
  })

  test('are different for different contexts, and no longer than AWS allows', () => {
    const context = fc.stringMatching(/^[a-z][a-z0-9_]{0,39}$/)
    const names = namesWith('p'.repeat(40), true)
    fc.assert(
      fc.property(fc.tuple(context, context), fc.tuple(context, context), (one, other) => {
        const all = [names.queue(...one), names.refused(...one), names.queue(...other), names.refused(...other)]
        expect(new Set(all).size).toBe(one.join('-') === other.join('-') ? 2 : 4)
        const alone = [names.queue(one[0]), names.refused(one[0])]
        expect(new Set([...alone, names.queue(...one), names.refused(...one), ...all]).size).toBe(new Set(all).size + 2)
        for (const name of [...all, ...alone]) expect(name).toMatch(/^[A-Za-z0-9_-]{1,75}\.fifo$/)
      }),
    )
  })

  test('have a prefix that AWS allows', () => {
    for (const prefix of ['a.b', 'ü', 'x'.repeat(41)])
      expect(() => namesWith(prefix, true)).toThrow(expect.objectContaining({ code: 'PABAL_COMPOSITION_INVALID' }))
  })
})

describe('groups of messages', () => {
  test('are the keys, as far as AWS allows', () => {
    expect(groupOf('order:42/a')).toBe('order:42/a')
    expect(groupOf('주문 1')).toBe('%EC%A3%BC%EB%AC%B8%201')
    expect(groupOf('100%')).toBe('100%25')
    expect(groupOf('x'.repeat(129))).toMatch(/^sha256:[0-9a-f]{64}$/)
  })

  test('are allowed whatever the key is, and different for different keys', () => {
    const key = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 500 })
    fc.assert(
      fc.property(key, key, (one, other) => {
        expect(groupOf(one)).toMatch(/^[\x21-\x7e]{1,128}$/)
        expect(deduplicationOf(one)).toMatch(/^[\x21-\x7e]{1,128}$/)
        expect(groupOf(one) === groupOf(other)).toBe(one === other)
      }),
    )
  })
})
