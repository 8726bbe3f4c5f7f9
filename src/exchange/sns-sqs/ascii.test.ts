import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { defaultLimits } from '../../core/limits.ts'
import type { AttributeValue, CloudEvent } from '../../event/cloudevents/cloud-event.ts'
import { fromJson } from '../../event/cloudevents/structured.ts'
import { fromAscii, toAscii } from './ascii.ts'

const event = (data: CloudEvent['data'], more: Record<string, AttributeValue> = {}): CloudEvent => ({
  attributes: new Map(
    Object.entries({
      specversion: '1.0',
      id: '1',
      source: 'urn:pabal:ordering',
      type: 'shop.order-placed.v1',
      datacontenttype: 'application/json',
      ...more,
    }),
  ),
  data,
})
const travelled = (of: CloudEvent): CloudEvent => {
  const sent = toAscii(of)
  expect(sent.text).toMatch(/^[\x20-\x7e\t\n\r]*$/)
  return fromAscii(sent, defaultLimits)
}

describe('JSON of nothing but ASCII', () => {
  test.each([
    ['letters', '{"이름":"주문 😀"}'],
    ['escapes of letters, which stay', String.raw`{"name":"주","other":"\uc8fc","not":"\\uc8fc","null":"\u0000"}`],
    ['escapes alone', String.raw`{"name":"\uC8FC\ud83d\ude00"}`],
    ['escaped backslashes before letters', String.raw`{"\\주":"\\\\é\n\"é"}`],
    ['what XML does not take', '{"a":"\uffff\ufffe\u0085"}'],
    ['white space of its own', '{ "n" :\t1.50,\r\n"é":9007199254740993 }'],
  ])('keeps %s', (_, text) => {
    expect(travelled(event(text)).data).toBe(text)
  })

  test('keeps attributes, bytes, and texts that are none of JSON', () => {
    expect(travelled(event('{}', { subject: '주문 "1" \\ 😀' })).attributes.get('subject')).toBe('주문 "1" \\ 😀')
    const bytes = new Uint8Array([0, 255, 128])
    expect(travelled(event(bytes, { datacontenttype: 'image/png', subject: 'é' })).data).toEqual(bytes)
    expect(travelled(event('é \\u00e9', { datacontenttype: 'text/plain' })).data).toBe('é \\u00e9')
  })

  test('keeps any JSON letter for letter, and is the same JSON to whoever knows nothing of it', () => {
    const text = fc.oneof(
      fc.json({ stringUnit: 'binary' }),
      fc.json({ stringUnit: 'grapheme' }).map((json) => json.replaceAll(/[g-kz]/g, String.raw`\u00e9`)),
    )
    fc.assert(
      fc.property(text, fc.string({ unit: 'grapheme', minLength: 1 }), (data, subject) => {
        const sent = event(data, { subject: subject.replaceAll(/[\p{Cc}\p{Cs}\p{NChar}]/gu, '?') })
        const received = travelled(sent)
        expect(received).toEqual(sent)
        const plain = fromJson(toAscii(sent).text, defaultLimits)
        expect(plain.attributes).toEqual(sent.attributes)
        expect(JSON.parse(String(plain.data))).toEqual(JSON.parse(data))
      }),
    )
  })
})
