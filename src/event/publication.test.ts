import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { defaultLimits } from '../core/limits.ts'
import { defineEvent, definePublicEvent, type InputOf } from './definition.ts'
import { type EnvelopeOf, type EventRecord, recordOf } from './envelope.ts'
import { publish, toPublic } from './publication.ts'

const key = (order: { orderId: string }) => order.orderId
const OrderPlaced = defineEvent('ordering.order-placed', {
  schema: z.object({ orderId: z.string(), total: z.int(), card: z.string() }),
  key,
  version: 2,
  upcast: { 1: (data: { orderId: string; card: string }) => ({ ...data, total: 0 }) },
})
const OrderPlacedV1 = definePublicEvent('shop.order-placed.v1', {
  kind: 'domain',
  schema: z.object({ orderId: z.string(), total: z.int(), currency: z.string().default('GBP') }),
  key,
})

const event = (data: object, version = 2): EventRecord =>
  recordOf(OrderPlaced, 'ordering', {
    position: 30,
    id: '01930000-0000-7000-8000-000000000001',
    key: '주문-1',
    sequence: 7,
    type: OrderPlaced.type,
    version,
    data: JSON.stringify(data),
    metadata: '{"actor":"kim"}',
    correlation_id: '01930000-0000-7000-8000-000000000000',
    causation_id: '01930000-0000-7000-8000-000000000009',
    hops: 2,
    traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    time_ms: 1_000,
  })
const placed = event({ orderId: '주문-1', total: 5, card: '4111' })

type Map = (event: EnvelopeOf<typeof OrderPlaced>) => InputOf<typeof OrderPlacedV1> | null
const publishedAs = (map: Map, from = placed) => toPublic(publish(OrderPlaced, OrderPlacedV1, map), from, defaultLimits)

describe('the public event of a private one', () => {
  const published = publishedAs(({ data }) => ({ orderId: data.orderId, total: data.total }))!

  test('keeps identity, key, sequence, position, time, cause and trace', () => {
    const kept = [
      'id',
      'key',
      'sequence',
      'position',
      'time',
      'source',
      'correlationId',
      'causationId',
      'hopCount',
      'traceparent',
    ] as const
    for (const name of kept) expect(published[name]).toEqual(placed[name])
  })

  test('has the public type and payload, completed by the public schema', () => {
    expect(published.type).toBe('shop.order-placed.v1')
    expect(published.version).toBe(1)
    expect(published.data).toEqual({ orderId: '주문-1', total: 5, currency: 'GBP' })
    expect(published.text).toBe('{"orderId":"주문-1","total":5,"currency":"GBP"}')
  })

  test('has nothing of the private metadata and payload', () => {
    expect(published.metadata).toBeUndefined()
    expect(JSON.stringify(published)).not.toMatch(/4111|kim/)
  })

  test('is mapped from the upcast payload when the private one is stored in an older version', () => {
    const first = event({ orderId: '주문-1', card: '4111' }, 1)
    expect(publishedAs(({ data }) => ({ orderId: data.orderId, total: data.total }), first)?.data).toMatchObject({
      total: 0,
    })
  })

  test('is not there when the map gives null', () => {
    expect(publishedAs(() => null)).toBeUndefined()
  })
})

describe('a publication fails, naming both events,', () => {
  const raise = (error: unknown): never => {
    throw error
  }
  const big = 'x'.repeat(defaultLimits.payloadBytes)
  const failure = (map: unknown, from = placed): unknown => {
    try {
      publishedAs(map as Map, from)
    } catch (error) {
      return error
    }
    return undefined
  }

  test.each<[string, unknown, RegExp]>([
    ['throws', () => raise(new Error('no such field')), /no such field/],
    ['throws what is not an error', () => raise('a text'), /a text/],
    ['returns nothing', () => undefined, /PABAL_PAYLOAD_INVALID/],
    ['is asynchronous', async () => ({ orderId: '주문-1', total: 5 }), /PABAL_PAYLOAD_INVALID/],
    ['does not fit the public schema', () => ({ orderId: '주문-1' }), /total/],
    ['gives another key', () => ({ orderId: '주문-2', total: 5 }), /key/],
    ['gives a key that is none', () => ({ orderId: '', total: 5 }), /key/],
    [
      'is larger than a payload may be',
      () => ({ orderId: '주문-1', total: 5, currency: big }),
      /PABAL_PAYLOAD_TOO_LARGE/,
    ],
  ])('when its map %s', (_what, map, detail) => {
    expect(failure(map)).toMatchObject({
      code: 'PABAL_PUBLICATION_FAILED',
      message: expect.stringMatching(/ordering\.order-placed → shop\.order-placed\.v1/),
    })
    expect(String(failure(map))).toMatch(detail)
  })

  test('when the private payload cannot be read, and keeps the cause', () => {
    const map: Map = ({ data }) => ({ orderId: data.orderId, total: data.total })
    expect(failure(map, event({}, 9))).toMatchObject({
      code: 'PABAL_PUBLICATION_FAILED',
      cause: { code: 'PABAL_UNKNOWN_EVENT_VERSION' },
    })
  })
})

test('what a publication must not do does not compile', () => {
  publish(OrderPlaced, OrderPlacedV1, ({ data }) => ({ orderId: data.orderId, total: data.total }))
  // @ts-expect-error a private field is not there
  publish(OrderPlaced, OrderPlacedV1, ({ data }) => ({ orderId: data.orderId, total: data.amount }))
  // @ts-expect-error the public payload has a total
  publish(OrderPlaced, OrderPlacedV1, ({ data }) => ({ orderId: data.orderId }))
  // @ts-expect-error a private event is not published onward as it is
  publish(OrderPlaced, OrderPlaced, ({ data }) => data)
  // @ts-expect-error a public event is not published again
  publish(OrderPlacedV1, OrderPlacedV1, ({ data }) => data)
  // @ts-expect-error null says not to publish; undefined is a forgotten return
  publish(OrderPlaced, OrderPlacedV1, () => undefined)
})
