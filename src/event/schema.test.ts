import { type } from 'arktype'
import * as v from 'valibot'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { isStandardSchema, type JsonSchema, parseWith } from './schema.ts'

const secret = 's3cret-value'

/** The same schema, written with each validator. */
const validators: Record<string, JsonSchema> = {
  zod: z.object({ orderId: z.string(), total: z.int().min(5), email: z.email(), state: z.literal('open') }),
  valibot: v.object({
    orderId: v.string(),
    total: v.pipe(v.number(), v.integer(), v.minValue(5)),
    email: v.pipe(v.string(), v.trim(), v.email()),
    state: v.literal('open'),
  }),
  arktype: type({ orderId: 'string', total: 'number.integer >= 5', email: 'string.email', state: "'open'" }),
}

const asynchronous: Record<string, JsonSchema> = {
  zod: z.object({ orderId: z.string().refine(async () => true) }),
  valibot: v.objectAsync({
    orderId: v.pipeAsync(
      v.string(),
      v.checkAsync(async () => true),
    ),
  }),
  'one that rejects': {
    '~standard': { version: 1, vendor: 'house', validate: () => Promise.reject(new Error('no connection')) },
  },
}

describe.each(Object.entries(validators))('a schema of %s', (_name, schema) => {
  test('gives its output for a value that fits', () => {
    const order = { orderId: '주문-1', total: 10, email: 'a@example.com', state: 'open' }
    expect(parseWith(schema, order, 'ordering.order-placed')).toEqual(order)
  })

  test('refuses a value that does not fit, and names the paths', () => {
    const order = { orderId: 1, total: 4.5, email: 'a@example.com', state: 'open' }
    expect(() => parseWith(schema, order, 'ordering.order-placed')).toThrow(
      expect.objectContaining({
        code: 'PABAL_PAYLOAD_INVALID',
        message: expect.stringMatching(/ordering\.order-placed: .*orderId/s),
        context: { paths: expect.arrayContaining(['orderId', 'total']) },
      }),
    )
  })

  test('refuses what is not an object at all', () => {
    for (const value of [undefined, null, secret, 7, []])
      expect(() => parseWith(schema, value, 'x.y')).toThrow(expect.objectContaining({ code: 'PABAL_PAYLOAD_INVALID' }))
  })

  test.each([
    { orderId: 'a', total: secret, email: secret, state: secret },
    { orderId: 'a', total: 7.53159, email: ` ${secret} `, state: `${secret}) and more (${secret}` },
    { orderId: 'a', total: '7.53159', email: `${secret}"received ${secret}`, state: [secret] },
    secret,
  ])('never tells the refused value in the message', (value) => {
    try {
      parseWith(schema, value, 'x.y')
      expect.unreachable()
    } catch (error) {
      expect(String(error)).toContain('PABAL_PAYLOAD_INVALID')
      expect(String(error)).not.toContain(secret)
      expect(String(error)).not.toContain('7.53159')
    }
  })
})

test('the message says what would fit', () => {
  const refused = (schema: JsonSchema, value: unknown): string => {
    try {
      return String(parseWith(schema, value, 'x.y'))
    } catch (error) {
      return String(error)
    }
  }
  expect(refused(z.object({ a: z.number() }), { a: secret })).toContain('x.y: a: Invalid input: expected number')
  expect(refused(v.object({ a: v.number() }), { a: secret })).toContain('x.y: a: Invalid type: Expected number')
  expect(refused(type({ a: "'yes'" }), { a: secret })).toContain('x.y: a: a must be "yes"')
  expect(refused(type({ a: 'number.integer >= 5' }), { a: 4.5 })).toMatch(
    /x\.y: a: a \(…\) must be\.\.\.[^]*at least 5/,
  )
  expect(refused(z.number(), secret)).toContain('x.y: (root): Invalid input')
})

describe.each(Object.entries(asynchronous))('an asynchronous schema (%s)', (_name, schema) => {
  test('is refused, and leaves no rejection behind', async () => {
    const unhandled: unknown[] = []
    const listen = (reason: unknown) => unhandled.push(reason)
    process.on('unhandledRejection', listen)
    try {
      expect(() => parseWith(schema, { orderId: 'a' }, 'x.y')).toThrow(
        expect.objectContaining({ code: 'PABAL_SCHEMA_ASYNC' }),
      )
      // Node reports a rejection without a handler when the microtasks have run.
      await new Promise((resolve) => setImmediate(resolve))
    } finally {
      process.off('unhandledRejection', listen)
    }
    expect(unhandled).toEqual([])
  })
})

test('only a Standard Schema is taken for one', () => {
  for (const schema of [...Object.values(validators), type('string')]) expect(isStandardSchema(schema)).toBe(true)
  for (const other of [undefined, null, 'string', {}, () => true]) expect(isStandardSchema(other)).toBe(false)
})
