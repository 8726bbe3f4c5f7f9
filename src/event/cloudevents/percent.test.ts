import { validateHeaderValue } from 'node:http'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { percentRead, percentRefused, percentVectors } from '../../../test/support/cloudevents-vectors.ts'
import { percentDecode, percentEncode } from './percent.ts'

const decode = (header: string): string => percentDecode(header, 'subject')

describe('HTTP binding: a header value', () => {
  test.each(percentVectors)('of $text is $header, and back', ({ text, header }) => {
    expect(percentEncode(text)).toBe(header)
    expect(decode(header)).toBe(text)
  })

  test.each(percentRead)('$header is read as $text: quoted first, then one round', ({ header, text }) => {
    expect(decode(header)).toBe(text)
  })

  test.each(percentRefused)('%j is refused', (header) => {
    expect(() => decode(header)).toThrow(
      expect.objectContaining({ code: 'PABAL_MESSAGE_INVALID', message: expect.stringContaining('subject') }),
    )
  })

  test('is ASCII that Node sends, and comes back, whatever the text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const header = percentEncode(text)
        expect(header).toMatch(/^[\x21-\x7e]*$/)
        validateHeaderValue('ce-subject', header)
        expect(decode(header)).toBe(text)
      }),
    )
  })
})
