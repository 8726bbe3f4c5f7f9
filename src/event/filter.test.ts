import { defineContext } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { describe, expect, expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import { type AttributeOf, defineEvent, definePublicEvent } from './definition.ts'
import type { FilterOf } from './filter.ts'
import { wanting } from './filter.ts'

const schema = z.object({ orderId: z.string(), country: z.string().optional(), total: z.int() })
const key = ({ orderId }: { orderId: string }) => orderId
const country = ({ country: of }: { country?: string | undefined }) => of
const Placed = definePublicEvent('shop.order-placed.v1', {
  kind: 'domain',
  schema,
  key,
  attributes: { country, large: ({ total }) => (total > 1_000 ? 'yes' : 'no') },
})
const Paid = definePublicEvent('shop.order-paid.v1', {
  kind: 'domain',
  schema,
  key,
  attributes: { country, method: () => 'card' },
})
const Plain = definePublicEvent('shop.order-noted.v1', { kind: 'domain', schema, key })

test('of several names each has to fit, with one of its values', () => {
  const wants = wanting({ country: ['KR', 'JP'], large: ['yes'] }, [Placed])
  const event = (data: object) => wants({ type: Placed.type, data })
  expect(event({ country: 'KR', total: 2_000 })).toBe(true)
  expect(event({ country: 'JP', total: 2_000 })).toBe(true)
  expect(event({ country: 'KR', total: 1 })).toBe(false)
  expect(event({ country: 'US', total: 2_000 })).toBe(false)
  expect(event({ total: 2_000 })).toBe(false)
})

describe('a filter names what all of its events declare', () => {
  test('by their types', () => {
    expectTypeOf<AttributeOf<typeof Placed>>().toEqualTypeOf<'country' | 'large'>()
    expectTypeOf<AttributeOf<typeof Placed | typeof Paid>>().toEqualTypeOf<'country'>()
    expectTypeOf<FilterOf<typeof Paid>>().toEqualTypeOf<{
      readonly country?: readonly string[]
      readonly method?: readonly string[]
    }>()
    expectTypeOf<FilterOf<typeof Plain>>().toEqualTypeOf<never>()
    expectTypeOf<FilterOf<typeof Plain | typeof Paid>>().toEqualTypeOf<never>()
  })

  const shipping = defineContext('shipping', { store: sqlite, events: [] })
  const handler = () => 0
  const refused = (message: RegExp): unknown =>
    expect.objectContaining({ code: 'PABAL_DEFINITION_INVALID', message: expect.stringMatching(message) })

  test('where it is defined', () => {
    shipping.consume([Placed, Paid], 'a', handler, { filter: { country: ['KR'] } })
    shipping.consume(Placed, 'b', handler, { filter: { country: ['KR'], large: ['yes'] }, effects: 'external' })
    // @ts-expect-error no such attribute
    expect(() => shipping.consume(Placed, 'c', handler, { filter: { city: ['Seoul'] } })).toThrow(
      refused(/shipping, handler 'c': it filters by 'city', which shop\.order-placed\.v1 does not declare/),
    )
    // @ts-expect-error not of both
    expect(() => shipping.consume([Placed, Paid], 'd', handler, { filter: { large: ['yes'] } })).toThrow(
      refused(/'large', which shop\.order-paid\.v1/),
    )
    // @ts-expect-error an event without attributes
    expect(() => shipping.consume(Plain, 'e', handler, { filter: { country: ['KR'] } })).toThrow(
      refused(/'country', which shop\.order-noted\.v1/),
    )
    // @ts-expect-error no list
    expect(() => shipping.consume(Placed, 'f', handler, { filter: { country: 'KR' } })).toThrow(refused(/list/))
    expect(() => shipping.consume(Placed, 'g', handler, { filter: { country: [] } })).toThrow(refused(/at least one/))
    expect(() => shipping.consume(Placed, 'h', handler, { filter: {} })).toThrow(refused(/names no attribute/))
  })

  test('and is for what is consumed', () => {
    const Own = defineEvent('shipping.opened', { schema, key })
    const context = defineContext('shipping', { store: sqlite, events: [Own] })
    // @ts-expect-error a private event
    expect(() => context.on(Own, 'i', handler, { filter: { country: ['KR'] } })).toThrow(
      refused(/only what is consumed/),
    )
  })
})
