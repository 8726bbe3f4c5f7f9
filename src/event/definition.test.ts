import { type } from 'arktype'
import * as v from 'valibot'
import { describe, expect, expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import {
  type DataOf,
  defineCommand,
  defineEvent,
  defineMessage,
  definePublicEvent,
  type EntryDefinition,
  type InputOf,
  upcast,
} from './definition.ts'

const withCode = (code: string, message?: RegExp): unknown =>
  expect.objectContaining({ code, ...(message === undefined ? {} : { message: expect.stringMatching(message) }) })

const schema = z.object({ orderId: z.string() })
const key = (order: { orderId: string }) => order.orderId
const parse = (definition: EntryDefinition, input: unknown) => definition['~pabal'].parse(input)
const keyOf = (definition: EntryDefinition, data: unknown) => definition['~pabal'].key(data)

describe('an event', () => {
  const byZod = defineEvent('ordering.order-placed', {
    schema: z.object({ orderId: z.string(), total: z.int().default(0), note: z.string().optional() }),
    key,
    title: '주문됨',
  })
  const byValibot = defineEvent('ordering.order-placed', {
    schema: v.object({ orderId: v.string(), total: v.optional(v.number(), 0), note: v.exactOptional(v.string()) }),
    key,
  })
  const byArktype = defineEvent('ordering.order-placed', {
    schema: type({ orderId: 'string', total: 'number = 0', 'note?': 'string' }),
    key,
  })

  test('keeps its literal name, its version and its title', () => {
    expectTypeOf(byZod.type).toEqualTypeOf<'ordering.order-placed'>()
    expect(byZod).toMatchObject({ type: 'ordering.order-placed', version: 1, title: '주문됨' })
    expect(byValibot.title).toBeUndefined()
  })

  test('is typed by its schema, before and after validation', () => {
    expectTypeOf<DataOf<typeof byZod>>().toEqualTypeOf<{ orderId: string; total: number; note?: string | undefined }>()
    expectTypeOf<InputOf<typeof byZod>>().toEqualTypeOf<{
      orderId: string
      total?: number | undefined
      note?: string | undefined
    }>()
    expectTypeOf<DataOf<typeof byValibot>>().toEqualTypeOf<{ orderId: string; total: number; note?: string }>()
    expectTypeOf<InputOf<typeof byValibot>>().toEqualTypeOf<{
      orderId: string
      total?: number | undefined
      note?: string
    }>()
    expectTypeOf<DataOf<typeof byArktype>>().toEqualTypeOf<{ orderId: string; total: number; note?: string }>()
    expectTypeOf<InputOf<typeof byArktype>>().toEqualTypeOf<{ orderId: string; total?: number; note?: string }>()
  })

  test.each([
    ['zod', byZod],
    ['valibot', byValibot],
    ['arktype', byArktype],
  ])('validates and completes its payload with %s', (_name, definition) => {
    expect(parse(definition, { orderId: '1' })).toEqual({ orderId: '1', total: 0 })
    expect(keyOf(definition, { orderId: '1', total: 0 })).toBe('1')
    expect(() => parse(definition, { orderId: 1 })).toThrow(withCode('PABAL_PAYLOAD_INVALID', /orderId/))
  })

  test('refuses an asynchronous schema when it is used', () => {
    const definition = defineEvent('a.order-placed', { schema: v.objectAsync({ orderId: v.string() }), key })
    expect(() => parse(definition, { orderId: '1' })).toThrow(withCode('PABAL_SCHEMA_ASYNC'))
  })

  test.each(['ordering.order-placed', 'ordering.order_placed', 'acme.shop.order-placed.v1', 'a1.b2', 'a.0'])(
    'may be called %s',
    (name) => {
      expect(defineEvent(name, { schema, key }).type).toBe(name)
    },
  )

  test.each([
    ['order-placed', 'no context'],
    ['Ordering.order-placed', 'upper case'],
    ['ordering.orderPlaced', 'camel case'],
    ['ordering.주문됨', 'not ASCII: that is what the title is for'],
    ['ordering.', 'nothing after the dot'],
    ['.order-placed', 'nothing before the dot'],
    ['ordering..order-placed', 'an empty part'],
    ['ordering.order-', 'a hyphen at the end'],
    ['ordering.order placed', 'a space'],
    ['ordering.order-placed\n', 'a line break'],
    ['__proto__.order-placed', 'a name of the prototype'],
    ['1.order-placed', 'a digit first'],
    ['', 'nothing'],
    [`a.${'b'.repeat(199)}`, 'longer than 200 characters'],
  ])('may not be called %j (%s)', (name) => {
    expect(() => defineEvent(name, { schema, key })).toThrow(withCode('PABAL_DEFINITION_INVALID'))
  })

  test('may not use the prefix of operator actions', () => {
    expect(() => defineEvent('pabal.order-placed', { schema, key })).toThrow(
      withCode('PABAL_DEFINITION_INVALID', /reserved/),
    )
    expect(defineEvent('pabalish.order-placed', { schema, key }).type).toBe('pabalish.order-placed')
  })

  test('needs a Standard Schema and a key', () => {
    // @ts-expect-error a plain object is no schema
    expect(() => defineEvent('a.b', { schema: { orderId: 'string' }, key })).toThrow(
      withCode('PABAL_DEFINITION_INVALID', /schema/),
    )
    // @ts-expect-error an event has a key
    expect(() => defineEvent('a.b', { schema })).toThrow(withCode('PABAL_DEFINITION_INVALID', /key/))
    // @ts-expect-error a public event has a key
    expect(() => definePublicEvent('a.b', { kind: 'domain', schema })).toThrow(
      withCode('PABAL_DEFINITION_INVALID', /key/),
    )
    // @ts-expect-error a key is a function of the payload, not the name of a field
    expect(() => defineMessage('a.b', { schema, key: 'orderId' })).toThrow(withCode('PABAL_DEFINITION_INVALID', /key/))
  })
})

describe('a key', () => {
  const definition = defineEvent('a.order-placed', { schema, key })

  test.each(['1', 'order:42', '주문-42', '🛒', ' ', 'a\u00a0b', 'x'.repeat(500)])('may be %j', (orderId) => {
    expect(keyOf(definition, { orderId })).toBe(orderId)
  })

  test.each<[unknown, string]>([
    ['', 'empty'],
    ['x'.repeat(501), 'longer than 500 characters'],
    ['a\0b', 'NUL'],
    ['a\nb', 'a line break'],
    ['a\u0085b', 'a C1 control character'],
    ['\ud83d', 'a lone high surrogate'],
    ['a\udc00', 'a lone low surrogate'],
    ['a\uffff', 'a noncharacter'],
    ['pabal:order-list', 'of what operators do'],
    ['\u{1fffe}', 'a noncharacter beyond the first plane'],
    [42, 'a number'],
    [undefined, 'missing'],
    [null, 'null'],
  ])('may not be %j (%s)', (orderId) => {
    expect(() => keyOf(definition, { orderId })).toThrow(withCode('PABAL_PAYLOAD_INVALID', /key/))
  })

  test('is another one in another Unicode normal form: nothing is folded', () => {
    expect(keyOf(definition, { orderId: '가'.normalize('NFD') })).not.toBe(keyOf(definition, { orderId: '가' }))
  })

  test('is refused without telling it', () => {
    const secret = 's3cret\n'
    expect(() => keyOf(definition, { orderId: secret })).toThrow(
      expect.objectContaining({ message: expect.not.stringContaining('s3cret') }),
    )
  })
})

describe('versions', () => {
  const step = (data: { n: number }) => ({ n: data.n + 1 })
  const define = (version: number | undefined, upcasters: Record<number, unknown> | undefined) =>
    defineEvent('a.order-placed', {
      schema,
      key,
      ...(version === undefined ? {} : { version }),
      ...(upcasters === undefined ? {} : { upcast: upcasters as Record<number, typeof step> }),
    })

  test.each([
    [undefined, undefined],
    [1, {}],
    [2, { 1: step }],
    [3, { 1: step, 2: step }],
  ])('%s with the upcasters %o form a chain', (version, upcasters) => {
    expect(define(version, upcasters).version).toBe(version ?? 1)
  })

  test.each([
    [0, {}],
    [-1, {}],
    [1.5, {}],
    [Number.NaN, {}],
    [2, undefined],
    [3, { 1: step }],
    [3, { 2: step }],
    [2, { 1: step, 2: step }],
    [1, { 1: step }],
    [2, { 0: step, 1: step }],
    [2, { 1: step, 1.5: step }],
    [2, { 1: 'orderId' }],
    [2, { 1: undefined }],
  ])('%s with the upcasters %o are refused', (version, upcasters) => {
    expect(() => define(version, upcasters)).toThrow(withCode('PABAL_DEFINITION_INVALID'))
  })

  test('are brought up step by step, from wherever the stored one stands', () => {
    const third = define(3, { 1: (data: { n: number }) => ({ n: data.n * 10 }), 2: step })
    expect(upcast(third, 1, { n: 4 })).toEqual({ n: 41 })
    expect(upcast(third, 2, { n: 4 })).toEqual({ n: 5 })
    const same = { n: 4 }
    expect(upcast(third, 3, same)).toBe(same)
  })

  test.each([4, 0, -1])('an unknown stored version (%d) is loud', (version) => {
    const third = define(3, { 1: step, 2: step })
    expect(() => upcast(third, version, { n: 1 })).toThrow(withCode('PABAL_UNKNOWN_EVENT_VERSION', /a\.order-placed/))
  })

  test('an upcaster that throws says from which version, and keeps the cause', () => {
    const cause = new Error('no such field')
    const third = define(3, {
      1: step,
      2: () => {
        throw cause
      },
    })
    expect(() => upcast(third, 1, { n: 1 })).toThrow(
      expect.objectContaining({
        code: 'PABAL_UPCAST_FAILED',
        message: expect.stringContaining('from version 2'),
        cause,
      }),
    )
  })

  test.each([
    ['nothing', () => undefined],
    ['a promise', async () => ({ n: 1 })],
  ])('an upcaster that returns %s fails', (_what, upcaster) => {
    expect(() => upcast(define(2, { 1: upcaster }), 1, {})).toThrow(withCode('PABAL_UPCAST_FAILED', /must return/))
  })
})

describe('a public event', () => {
  test('has one of four kinds', () => {
    for (const kind of ['domain', 'notification', 'snapshot', 'delta'] as const)
      expect(definePublicEvent('shop.order-placed.v1', { kind, schema, key })['~pabal']).toMatchObject({
        scope: 'public',
        kind,
      })
    // @ts-expect-error 'state' is not a kind
    expect(() => definePublicEvent('shop.order-placed.v1', { kind: 'state', schema, key })).toThrow(
      withCode('PABAL_DEFINITION_INVALID', /kind/),
    )
  })

  test('has its version in its name, so it takes no other', () => {
    const upcasters = { 1: (data: never) => data }
    // @ts-expect-error v2 is another public event
    definePublicEvent('shop.order-placed.v1', { kind: 'domain', schema, key, version: 2, upcast: upcasters })
  })
})

describe('a message', () => {
  test('needs no key', () => {
    const withKey = defineMessage('sms.send', { schema, key })
    const without = defineMessage('sms.send', { schema })
    expect(keyOf(withKey, { orderId: '7' })).toBe('7')
    expect(keyOf(without, { orderId: '7' })).toBeUndefined()
    expect(without['~pabal'].scope).toBe('message')
  })
})

describe('a command', () => {
  const PlaceOrder = defineCommand('ordering.place-order', {
    schema,
    title: '주문하기',
    refusals: { 'over-limit': z.object({ limit: z.number() }), closed: type({ until: 'string' }) },
  })

  test('validates what is asked for', () => {
    expect(PlaceOrder).toMatchObject({ type: 'ordering.place-order', title: '주문하기' })
    expect(PlaceOrder['~pabal'].parse({ orderId: '1' })).toEqual({ orderId: '1' })
    expect(() => PlaceOrder['~pabal'].parse({})).toThrow(withCode('PABAL_PAYLOAD_INVALID'))
  })

  test('validates the details of a refusal, and knows only those that it declares', () => {
    const parseRefusal = (code: string, detail: unknown) => PlaceOrder['~pabal'].parseRefusal(code, detail)
    expect(parseRefusal('over-limit', { limit: 5 })).toEqual({ limit: 5 })
    expect(() => parseRefusal('over-limit', { limit: '5' })).toThrow(withCode('PABAL_PAYLOAD_INVALID', /over-limit/))
    for (const code of ['too-late', 'constructor', '__proto__', 'toString'])
      expect(() => parseRefusal(code, {})).toThrow(withCode('PABAL_DEFINITION_INVALID', /declares no refusal/))
  })

  test('needs Standard Schemas, for its refusals too', () => {
    // @ts-expect-error a plain object is no schema
    expect(() => defineCommand('a.place', { schema: {} })).toThrow(withCode('PABAL_DEFINITION_INVALID', /schema/))
    // @ts-expect-error nor is it one for a refusal
    expect(() => defineCommand('a.place', { schema, refusals: { late: {} } })).toThrow(
      withCode('PABAL_DEFINITION_INVALID', /late/),
    )
  })
})

test('a schema whose values are not JSON does not compile', () => {
  const at = () => 'x'
  // @ts-expect-error a Date is not JSON
  defineEvent('a.order-placed', { schema: z.object({ at: z.date() }), key: at })
  // @ts-expect-error JSON on the way in is not enough
  defineEvent('a.order-placed', { schema: z.object({ at: z.string().transform((text) => new Date(text)) }), key: at })
  const fromDate = z.coerce.date().transform((date) => date.toISOString())
  // @ts-expect-error nor is JSON on the way out
  defineEvent('a.order-placed', { schema: z.object({ at: fromDate }), key: at })
  // @ts-expect-error a bigint is not JSON
  defineEvent('a.order-placed', { schema: v.object({ at: v.bigint() }), key: at })
  // @ts-expect-error a Map is not JSON
  defineEvent('a.order-placed', { schema: z.map(z.string(), z.string()), key: at })
  // @ts-expect-error a Date is not JSON with arktype either
  defineEvent('a.order-placed', { schema: type({ at: 'Date' }), key: at })
  // @ts-expect-error nor in a command
  defineCommand('a.place', { schema: z.object({ at: z.date() }) })
  // @ts-expect-error nor in a refusal
  defineCommand('a.place', { schema, refusals: { late: z.object({ at: z.date() }) } })
  // @ts-expect-error nor in a message
  defineMessage('a.send', { schema: z.date() })
  // @ts-expect-error nor in a public event
  definePublicEvent('a.placed', { kind: 'delta', schema: z.symbol(), key: at })
})

test('a key of another type does not compile', () => {
  // @ts-expect-error a key is a text
  defineEvent('a.order-placed', { schema: z.object({ n: z.number() }), key: (data) => data.n })
  // @ts-expect-error of a field that is there
  defineEvent('a.order-placed', { schema, key: (data) => String(data.customerId) })
})
