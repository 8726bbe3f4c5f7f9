import { expect, test } from 'vitest'
import { z } from 'zod'
import { type AttributeOptions, attributesOf, isReservedAttribute } from './attributes.ts'
import { toCloudEvent } from './cloudevents/to-cloud-event.ts'
import { definePublicEvent } from './definition.ts'
import { recordOf } from './envelope.ts'

const schema = z.object({ orderId: z.string(), country: z.string().optional(), total: z.int() })
const key = ({ orderId }: { orderId: string }) => orderId
const define = (attributes: Readonly<Record<string, unknown>>, perKey: readonly string[] = []) =>
  definePublicEvent('shop.order-placed.v1', {
    kind: 'domain',
    schema,
    key,
    attributes: attributes as Readonly<Record<string, () => undefined>>,
    perKey,
  })
const text = () => 'x'
const refused = (message: RegExp): unknown =>
  expect.objectContaining({ code: 'PABAL_DEFINITION_INVALID', message: expect.stringMatching(message) })

const OrderPlaced = definePublicEvent('shop.order-placed.v1', {
  kind: 'domain',
  schema,
  key,
  attributes: { country: ({ country }) => country, large: ({ total }) => (total > 1_000 ? 'yes' : 'no') },
  perKey: ['country'],
})

test('attributes are computed from the payload; one that is undefined is not there', () => {
  const of = (data: z.infer<typeof schema>) => [...attributesOf(OrderPlaced, data)]
  expect(of({ orderId: 'a', country: '한국', total: 2_000 })).toEqual([
    ['country', '한국'],
    ['large', 'yes'],
  ])
  expect(of({ orderId: 'a', total: 1 })).toEqual([['large', 'no']])
})

test.each([[''], ['x'.repeat(201)], ['a\u0000b'], ['\ud800'], [7], [null]])('a value like %j is refused', (value) => {
  expect(() => attributesOf(define({ country: () => value }), {})).toThrow(
    expect.objectContaining({ code: 'PABAL_PAYLOAD_INVALID', message: expect.stringContaining("'country'") }),
  )
})

test.each(['Country', 'ship_to', 'land-code', '', 'x'.repeat(21), 'größe'])('the name %j is refused', (name) => {
  expect(() => define({ [name]: text })).toThrow(refused(/1 to 20 lower-case letters and digits/))
})

test('names of CloudEvents and of ours are refused: all that an event of ours has', () => {
  const event = recordOf(OrderPlaced, 'ordering', {
    position: 1,
    id: 'e-1',
    key: 'a',
    sequence: 2,
    type: OrderPlaced.type,
    version: 2,
    data: '{}',
    metadata: '{"actor":"kim"}',
    correlation_id: 'e-0',
    causation_id: 'e-0',
    hops: 1,
    traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    time_ms: 1_000,
  })
  event.previousSequence = 1
  const place = { stream: 'public', incarnation: 'i', previousId: 'e-0' }
  const ours = [...toCloudEvent(event, { place, withMetadata: true }).attributes.keys()]
  expect(ours.length).toBeGreaterThan(15)
  expect(ours.filter((name) => !isReservedAttribute(name))).toEqual([])
  for (const name of [...ours, 'data', 'dataref', 'dataschema'])
    expect(() => define({ [name]: text })).toThrow(refused(/one of CloudEvents or of pabal/))
})

test('more than seven are refused, and what is no function', () => {
  const many = Object.fromEntries(Array.from({ length: 8 }, (_, n) => [`a${n}`, text]))
  expect(() => define(many)).toThrow(refused(/8 attributes, at most 7/))
  expect(() => define({ country: 'KR' })).toThrow(refused(/must be a function/))
})

test('perKey names attributes of the event', () => {
  expect(() => define({ country: text }, ['tenant'])).toThrow(refused(/perKey names 'tenant'/))
  const attributes = { country: text }
  // @ts-expect-error not one of its attributes
  const options: AttributeOptions<unknown, 'country'> = { attributes, perKey: ['tenant'] }
  expect(() => definePublicEvent('shop.x.v1', { kind: 'domain', schema, key, ...options })).toThrow(refused(/'tenant'/))
})
