import { describe, expect, expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import { defineEvent } from './definition.ts'
import { type EnvelopeOf, EventRecord, recordOf, type StoredEvent } from './envelope.ts'

const key = (order: { orderId: string }) => order.orderId
const OrderPlaced = defineEvent('ordering.order-placed', {
  schema: z.object({ orderId: z.string(), totalPence: z.int() }),
  key,
  version: 3,
  upcast: {
    1: ({ id, ...rest }: { id: string; total: number }) => ({ ...rest, orderId: id }),
    2: ({ total, ...rest }: { orderId: string; total: number }) => ({ ...rest, totalPence: total * 100 }),
  },
})
const OrderCancelled = defineEvent('ordering.order-cancelled', { schema: z.object({ orderId: z.string() }), key })

const stored = (change: Partial<StoredEvent> = {}): StoredEvent => ({
  position: 12,
  id: '01930000-0000-7000-8000-000000000001',
  key: '주문-1',
  sequence: 4,
  type: OrderPlaced.type,
  version: 3,
  data: '{"orderId":"주문-1","totalPence":500}',
  metadata: '{"actor":"kim"}',
  correlation_id: '01930000-0000-7000-8000-000000000000',
  causation_id: '01930000-0000-7000-8000-000000000009',
  hops: 2,
  traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
  time_ms: Date.UTC(2026, 10, 20, 9, 30, 0, 5),
  ...change,
})

describe('a record of a stored event', () => {
  test('carries what was stored', () => {
    const record = recordOf(OrderPlaced, 'ordering', stored())
    expect(record.toJSON()).toEqual({
      id: '01930000-0000-7000-8000-000000000001',
      source: 'ordering',
      type: 'ordering.order-placed',
      key: '주문-1',
      sequence: 4,
      time: '2026-11-20T09:30:00.005Z',
      correlationId: '01930000-0000-7000-8000-000000000000',
      causationId: '01930000-0000-7000-8000-000000000009',
      hopCount: 2,
      traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
      metadata: { actor: 'kim' },
      data: { orderId: '주문-1', totalPence: 500 },
    })
    expect(record.position).toBe(12)
  })

  test('is its own correlation when it is the first, and has no cause, trace or metadata when none was stored', () => {
    const record = recordOf(
      OrderPlaced,
      'ordering',
      stored({ correlation_id: null, causation_id: null, traceparent: null, metadata: null }),
    )
    expect(record).toMatchObject({
      correlationId: record.id,
      causationId: undefined,
      traceparent: undefined,
      metadata: undefined,
    })
  })

  test('is brought up to the version of the definition when its data is looked at', () => {
    const first = recordOf(OrderPlaced, 'ordering', stored({ version: 1, data: '{"id":"주문-1","total":5}' }))
    expect(first.data).toEqual({ orderId: '주문-1', totalPence: 500 })
    expect(first.data).toBe(first.data)
    expect(first.text).toBe('{"id":"주문-1","total":5}')
    const second = recordOf(OrderPlaced, 'ordering', stored({ version: 2, data: '{"orderId":"주문-1","total":5}' }))
    expect(second.data).toEqual(first.data)
  })

  test('is not parsed before that: what stands beside the payload can be read even when the payload cannot', () => {
    const newer = recordOf(OrderPlaced, 'ordering', stored({ version: 4 }))
    expect(newer.key).toBe('주문-1')
    expect(() => newer.data).toThrow(expect.objectContaining({ code: 'PABAL_UNKNOWN_EVENT_VERSION' }))

    const broken = recordOf(OrderPlaced, 'ordering', stored({ version: 1, data: 'null' }))
    expect(broken.type).toBe('ordering.order-placed')
    expect(() => broken.data).toThrow(expect.objectContaining({ code: 'PABAL_UPCAST_FAILED' }))
  })
})

test('a raised record holds the payload that it was given, and has no place yet', () => {
  const data = { orderId: '1', totalPence: 1 }
  const { id, key: orderKey, version, data: text, hops } = stored()
  const record = new EventRecord(
    OrderPlaced,
    'ordering',
    {
      id,
      key: orderKey,
      version,
      text,
      timeMs: 0,
      correlationId: id,
      causationId: undefined,
      hopCount: hops,
      traceparent: undefined,
      metadataText: null,
    },
    data,
  )
  expect(record.data).toBe(data)
  expect(record).toMatchObject({ position: 0, sequence: 0, expectedSequence: undefined, previousSequence: undefined })
})

test('the type of an envelope is literal, and narrows its data', () => {
  const describeEvent = (event: EnvelopeOf<typeof OrderPlaced | typeof OrderCancelled>): string => {
    if (event.type === 'ordering.order-cancelled') {
      // @ts-expect-error a cancelled order has no total
      return `${event.data.orderId} ${event.data.totalPence}`
    }
    expectTypeOf(event.data).toEqualTypeOf<{ orderId: string; totalPence: number }>()
    return event.data.orderId
  }
  // @ts-expect-error no such type
  const compare = (event: EnvelopeOf<typeof OrderPlaced>): boolean => event.type === 'ordering.order-cancelled'
  expect(describeEvent).not.toBe(compare)
})
