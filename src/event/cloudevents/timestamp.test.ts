import fc from 'fast-check'
import { expect, test } from 'vitest'
import { instantOf } from './timestamp.ts'

test.each([
  ['2018-04-05T17:31:00Z', '2018-04-05T17:31:00.000Z'],
  ['2018-04-05t17:31:00.123456789z', '2018-04-05T17:31:00.123Z'],
  ['2018-04-06T02:31:00.5+09:00', '2018-04-05T17:31:00.500Z'],
  ['2018-04-05T12:01:00-05:30', '2018-04-05T17:31:00.000Z'],
  ['2016-12-31T23:59:60Z', '2017-01-01T00:00:00.000Z'],
  ['2024-02-29T00:00:00-00:00', '2024-02-29T00:00:00.000Z'],
  ['0000-01-01T00:00:00Z', '0000-01-01T00:00:00.000Z'],
  ['0050-01-01T00:00:00Z', '0050-01-01T00:00:00.000Z'],
])('CE-3: %s is %s', (text, instant) => {
  expect(new Date(instantOf(text)!).toISOString()).toBe(instant)
})

test.each([
  '2018-04-05',
  '2018-04-05 17:31:00Z',
  '2018-04-05T17:31Z',
  '2018-04-05T17:31:00',
  '2018-02-29T00:00:00Z',
  '2018-13-01T00:00:00Z',
  '2018-00-01T00:00:00Z',
  '2018-04-05T24:00:00Z',
  '2018-04-05T17:60:00Z',
  '2018-04-05T17:31:61Z',
  '2018-04-05T17:31:00.Z',
  '2018-04-05T17:31:00+24:00',
  '+012018-04-05T17:31:00Z',
  'Thu, 05 Apr 2018 17:31:00 GMT',
])('CE-3: %s is no RFC 3339', (text) => {
  expect(instantOf(text)).toBeUndefined()
})

test('CE-3: every time of ours is the same again', () => {
  fc.assert(
    fc.property(fc.date({ min: new Date('0000-01-01'), max: new Date('9999-12-31'), noInvalidDate: true }), (date) => {
      expect(instantOf(date.toISOString())).toBe(date.getTime())
    }),
  )
})
