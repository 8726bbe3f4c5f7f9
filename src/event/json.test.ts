import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { defaultLimits } from '../core/limits.ts'
import { decodeJson, encodeJson } from './json.ts'

const limits = defaultLimits
const encode = (value: unknown): string => encodeJson(value, limits, 'a.b')
const decode = (text: string): unknown => decodeJson(text, limits, 'a.b')
const withCode = (code: string): unknown => expect.objectContaining({ code })

const notJson = withCode('PABAL_PAYLOAD_NOT_JSON')
const tooDeep = withCode('PABAL_PAYLOAD_TOO_DEEP')
const tooLarge = withCode('PABAL_PAYLOAD_TOO_LARGE')
const forbiddenKey = withCode('PABAL_PAYLOAD_FORBIDDEN_KEY')

/** `depth` arrays, one in the other. */
const nested = (depth: number): unknown => JSON.parse('['.repeat(depth) + ']'.repeat(depth))

/** Any UTF-16 there is: control characters, lone surrogates, noncharacters. */
const anyUnit = fc.integer({ min: 0, max: 0xffff }).map((unit) => String.fromCharCode(unit))
const anyText = fc.string({ unit: anyUnit })

/** A JSON value that may be a payload: no negative zero, which JSON text keeps but `JSON.stringify` does not, and no key that is refused. */
const jsonValue = fc.jsonValue({ stringUnit: anyUnit, maxDepth: 8 }).filter(function isPayload(
  value: unknown,
): boolean {
  if (Object.is(value, -0)) return false
  if (typeof value !== 'object' || value === null) return true
  return Object.entries(value).every(([key, item]) => key !== '__proto__' && key !== 'constructor' && isPayload(item))
})

describe('a payload comes back as it went', () => {
  test('for every JSON value', () => {
    fc.assert(
      fc.property(jsonValue, (value) => {
        const text = encode(value)
        expect(decode(text)).toStrictEqual(value)
        expect(encode(decode(text))).toBe(text)
      }),
    )
  })

  test('for every text and every key, with NUL, lone surrogates and all', () => {
    fc.assert(
      fc.property(anyText, anyText, (text, key) => {
        fc.pre(key !== '__proto__' && key !== 'constructor')
        expect(decode(encode({ [key]: text }))).toStrictEqual({ [key]: text })
      }),
    )
  })

  test.each([
    '\0',
    'a\u0000b',
    '\ud800',
    '\udfff\ud800',
    '한국어 주문',
    '🛒👩‍👩‍👧',
    '\u2028\u2029',
    '\ufeff',
    '"\\/\b\f\n\r\t',
    '\uffff',
  ])('for the text %j', (text) => {
    expect(decode(encode(text))).toBe(text)
  })

  test('for every finite number but negative zero', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        fc.pre(!Object.is(value, -0))
        expect(decode(encode(value))).toBe(value)
      }),
      { numRuns: 1_000 },
    )
  })

  test.each([0, 2 ** 53 - 1, 2 ** 53, 2 ** 63, 12345678901234567000, 1e21, 1e23, Number.MAX_VALUE, Number.MIN_VALUE])(
    'for the number %d',
    (value) => {
      expect(decode(encode(value))).toBe(value)
    },
  )

  test('for 64-bit integers in texts', () => {
    for (const text of ['9007199254740993', '18446744073709551615', '-9223372036854775808'])
      expect(decode(encode({ n: text }))).toEqual({ n: text })
  })

  test('for an absent optional property, whether it is left out or undefined', () => {
    expect(encode({ a: 1, b: undefined })).toBe('{"a":1}')
  })

  test('for an object without a prototype', () => {
    expect(encode(Object.assign(Object.create(null), { a: [null] }))).toBe('{"a":[null]}')
  })
})

describe('what JSON would change silently is refused', () => {
  class Money {
    readonly pence = 1
  }
  const cyclic: Record<string, unknown> = {}
  cyclic['self'] = cyclic
  const sparse: unknown[] = []
  sparse[1] = 'x'

  test.each<[string, unknown]>([
    ['undefined', undefined],
    ['NaN', Number.NaN],
    ['Infinity', Number.POSITIVE_INFINITY],
    ['negative zero', -0],
    ['a bigint', 1n],
    ['a function', () => 1],
    ['a symbol', Symbol('x')],
    ['a Date', new Date(0)],
    ['a Map', new Map()],
    ['a Uint8Array', new Uint8Array(1)],
    ['a boxed number', Object(1)],
    ['an instance of a class', new Money()],
    ['a hole in an array', sparse],
  ])('%s, at any depth', (_what, value) => {
    for (const payload of [value, [value], { a: { b: [1, value] } }]) {
      // A property that is undefined is an absent one.
      expect(() => encode(payload)).toThrow(notJson)
    }
  })

  test('a cycle, as nesting without end', () => {
    expect(() => encode(cyclic)).toThrow(tooDeep)
  })

  test('every other value than a JSON one is refused or comes back equal', () => {
    const anything = fc.anything({
      withBigInt: true,
      withDate: true,
      withMap: true,
      withSet: true,
      withTypedArray: true,
      withSparseArray: true,
      withNullPrototype: true,
      withBoxedValues: true,
      stringUnit: anyUnit,
    })
    fc.assert(
      fc.property(anything, (value) => {
        let text: string
        try {
          text = encode(value)
        } catch (error) {
          expect(error).toMatchObject({ code: expect.stringMatching(/^PABAL_PAYLOAD_/) })
          return
        }
        // `toEqual` takes an undefined property for an absent one and any prototype for the plain one, as JSON does.
        expect(decode(text)).toEqual(value)
      }),
      { numRuns: 1_000 },
    )
  })
})

describe('text from outside', () => {
  test.each([
    '9007199254740993',
    '-9007199254740993',
    '18446744073709551615',
    '9223372036854775807',
    '{"id":9007199254740993}',
    '[[9007199254740993]]',
    '1e400',
    '-1e400',
    '1e-400',
    '0.0000001e-400',
    `1${'0'.repeat(400)}`,
  ])('is refused when it has a number that would be rounded: %s', (text) => {
    expect(() => decode(text)).toThrow(notJson)
  })

  test.each([
    ['9007199254740992', 2 ** 53],
    ['9223372036854775808', 2 ** 63],
    ['1.10', 1.1],
    ['1e2', 100],
    ['1E+2', 100],
    ['0e5', 0],
    ['0.000', 0],
    ['-0', -0],
    ['0.1000000000000000055511151231257827', 0.1],
  ])('is taken when it has the number %s', (text, value) => {
    expect(decode(text)).toBe(value)
  })

  test.each([
    '',
    ' ',
    '{',
    '{"a":1',
    '[1,]',
    "{'a':1}",
    'undefined',
    'NaN',
    '\ufeff{}',
    '{"a":1}{"b":2}',
    '"\n"',
    '"\\x"',
    '01',
  ])('is refused when it is not JSON: %j', (text) => {
    expect(() => decode(text)).toThrow(notJson)
  })

  test('is never quoted in the refusal', () => {
    for (const text of ['{"card":4111111111111111111}', '{"card":s3cret}', '{"s3cret'])
      expect(() => decode(text)).toThrow(expect.objectContaining({ message: expect.not.stringMatching(/4111|s3cret/) }))
  })

  test('is any text at all, and gives a value or a catalogued error', () => {
    fc.assert(
      fc.property(fc.oneof(anyText, fc.json(), fc.stringMatching(/^[[\]{}",:\\a0-9.e-]{0,40}$/)), (text) => {
        try {
          decode(text)
        } catch (error) {
          expect(error).toMatchObject({ code: expect.stringMatching(/^PABAL_PAYLOAD_/) })
          return
        }
        expect((): unknown => JSON.parse(text)).not.toThrow()
      }),
      { numRuns: 1_000 },
    )
  })
})

describe('a key that changes prototypes in careless code', () => {
  const own = (key: string, value: unknown): object => Object.defineProperty({}, key, { value, enumerable: true })

  test.each(['__proto__', 'constructor'])('is refused at any depth: %s', (key) => {
    const escaped = key.replace('o', String.raw`\u006f`)
    for (const wrap of [
      (text: string) => text,
      (text: string) => `[0,${text}]`,
      (text: string) => `{"a":{"b":[${text}]}}`,
    ])
      for (const name of [key, escaped])
        for (const value of ['null', '{"polluted":true}', '1'])
          expect(() => decode(wrap(`{"${name}":${value}}`))).toThrow(forbiddenKey)

    for (const payload of [own(key, {}), [own(key, 1)], { a: { b: own(key, null) } }, { [key]: 1 }])
      expect(() => encode(payload)).toThrow(forbiddenKey)
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined()
  })

  test('is refused as a key only, not as a text', () => {
    for (const value of ['__proto__', ['constructor'], { prototype: '__proto__', Constructor: 1, __proto: 2 }])
      expect(decode(encode(value))).toEqual(value)
  })
})

describe('depth', () => {
  const allowed = limits.payloadDepth

  test('is bounded on both ways', () => {
    const [fits, tooMuch] = [nested(allowed), nested(allowed + 1)]
    expect(decode(encode(fits))).toEqual(fits)
    expect(() => encode(tooMuch)).toThrow(tooDeep)
    expect(() => decode(JSON.stringify(tooMuch))).toThrow(tooDeep)
  })

  test('counts the same on both ways, for every value', () => {
    fc.assert(
      fc.property(jsonValue, fc.nat(5), (value, payloadDepth) => {
        const outcome = (fn: () => unknown): string => {
          try {
            fn()
            return 'fits'
          } catch (error) {
            return (error as { code: string }).code
          }
        }
        const narrow = { ...limits, payloadDepth }
        expect(outcome(() => encodeJson(value, narrow, 'a.b'))).toBe(
          outcome(() => decodeJson(JSON.stringify(value), narrow, 'a.b')),
        )
      }),
    )
  })

  test('is not counted in texts', () => {
    const brackets = `\\"${'[{'.repeat(1_000)}\\`
    expect(decode(encode({ [brackets]: brackets }))).toEqual({ [brackets]: brackets })
  })

  test.each([
    ['arrays', '[', ']'],
    ['objects', '{"a":', '}'],
  ])('of 100,000 %s is refused before the parser sees it', (_what, open, close) => {
    const generous = { ...limits, payloadBytes: 10_000_000 }
    const depth = 100_000
    for (const text of [open.repeat(depth) + close.repeat(depth), open.repeat(depth)])
      expect(() => decodeJson(text, generous, 'a.b')).toThrow(tooDeep)
  })

  test('of 100,000 is refused on the way out too, without a stack overflow', () => {
    let value: unknown = null
    for (let i = 0; i < 100_000; i++) value = { value }
    expect(() => encode(value)).toThrow(tooDeep)
  })
})

describe('size', () => {
  const { payloadBytes } = limits
  /** A JSON text of exactly so many UTF-8 bytes. */
  const ofBytes = (bytes: number, letter: string): string => {
    const width = Buffer.byteLength(letter)
    const count = Math.floor((bytes - 2) / width)
    return letter.repeat(count) + 'x'.repeat(bytes - 2 - count * width)
  }

  test.each([
    ['one byte', 'a'],
    ['two bytes', 'é'],
    ['three bytes', '파'],
    ['four bytes', '🐎'],
  ])('is counted in UTF-8, with letters of %s', (_what, letter) => {
    const [fits, tooMuch] = [ofBytes(payloadBytes, letter), ofBytes(payloadBytes + 1, letter)]
    expect(Buffer.byteLength(JSON.stringify(fits))).toBe(payloadBytes)
    expect(decode(encode(fits))).toBe(fits)
    expect(() => encode(tooMuch)).toThrow(tooLarge)
    expect(() => decode(JSON.stringify(tooMuch))).toThrow(tooLarge)
  })

  test('of 100 MB is refused without being read, copied or parsed', () => {
    // Each would take most of a second; the fastest of three keeps the neighbours of this machine out of it.
    const text = `"${'파'.repeat(34_000_000)}"`
    const times = [1, 2, 3].map(() => {
      const startedAt = performance.now()
      expect(() => decode(text)).toThrow(tooLarge)
      return performance.now() - startedAt
    })
    expect(Math.min(...times)).toBeLessThan(20)
  })
})
