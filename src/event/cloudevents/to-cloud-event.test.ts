import fc from 'fast-check'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { kafka } from './binding.ts'
import { toMessage } from './message.ts'
import { toJson } from './structured.ts'
import { toCloudEvent, toCloudEventText } from './to-cloud-event.ts'
import { definePublicEvent } from '../definition.ts'
import { type EventRecord, recordOf, type StoredEvent } from '../envelope.ts'

const OrderPlaced = definePublicEvent('shop.order-placed.v1', {
  kind: 'domain',
  schema: z.object({ orderId: z.string() }),
  key: ({ orderId }) => orderId,
})

const event = (change: Partial<StoredEvent> = {}): EventRecord =>
  recordOf(OrderPlaced, 'ordering', {
    position: 12,
    id: '01930000-0000-7000-8000-000000000001',
    key: '주문-🐎-1',
    sequence: 4,
    type: OrderPlaced.type,
    version: 1,
    data: '{"orderId": "주문-🐎-1", "total": 1.10, "big": 9007199254740993, "text": "\\u0000\\ud800"}',
    metadata: '{"actor":"kim"}',
    correlation_id: '01930000-0000-7000-8000-000000000000',
    causation_id: '01930000-0000-7000-8000-000000000009',
    hops: 2,
    traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    time_ms: Date.UTC(2026, 10, 20, 9, 30, 0, 5),
    ...change,
  })

test('CE-2 CE-7: every attribute, and the payload letter for letter', () => {
  const full = event()
  full.previousSequence = 2
  // CloudEvents 1.0.2, JSON event format: other readers depend on these names and forms.
  expect(toCloudEventText(full)).toBe(
    '{"specversion":"1.0","id":"01930000-0000-7000-8000-000000000001","source":"urn:pabal:ordering",' +
      '"type":"shop.order-placed.v1","time":"2026-11-20T09:30:00.005Z","datacontenttype":"application/json",' +
      '"subject":"주문-🐎-1","partitionkey":"주문-🐎-1","streamversion":"4","previousversion":"2",' +
      '"correlationid":"01930000-0000-7000-8000-000000000000","causationid":"01930000-0000-7000-8000-000000000009",' +
      '"hopcount":2,"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",' +
      '"data":{"orderId": "주문-🐎-1", "total": 1.10, "big": 9007199254740993, "text": "\\u0000\\ud800"}}',
  )
})

test('CE-3: what an event does not have is left out', () => {
  const first = event({ correlation_id: null, causation_id: null, traceparent: null, hops: 0 })
  expect(Object.keys(JSON.parse(toCloudEventText(first)) as object)).toEqual([
    'specversion',
    'id',
    'source',
    'type',
    'time',
    'datacontenttype',
    'subject',
    'partitionkey',
    'streamversion',
    'correlationid',
    'hopcount',
    'data',
  ])
})

test('CE-4: the previous sequence 0 of a key’s first event is told', () => {
  const first = event({ sequence: 1 })
  first.previousSequence = 0
  expect(JSON.parse(toCloudEventText(first))).toMatchObject({ streamversion: '1', previousversion: '0' })
})

test('CE-4: a payload of a later version says so', () => {
  expect(JSON.parse(toCloudEventText(event({ version: 2 })))).toMatchObject({ dataversion: 2 })
})

test('CE-4: sequences beyond 2^31 are texts, since a CloudEvents Integer ends there', () => {
  expect(JSON.parse(toCloudEventText(event({ sequence: 2 ** 40 })))).toMatchObject({ streamversion: '1099511627776' })
})

test('CE-1 CE-4: every attribute has a name and a value that CloudEvents allows', () => {
  const full = event({ version: 2, metadata: '{"actor":\n"\u009f\uffff\ud83f\udfff"}' })
  full.previousSequence = 3
  const place = { stream: 'public', incarnation: 'i', previousId: 'p' }
  const { data: _, ...attributes } = JSON.parse(toJson(toCloudEvent(full, { place, withMetadata: true }))) as Record<
    string,
    unknown
  >
  for (const [name, value] of Object.entries(attributes)) {
    expect(name).toMatch(/^[a-z0-9]{1,20}$/)
    if (typeof value === 'number') expect(Number.isInteger(value) && Math.abs(value) < 2 ** 31).toBe(true)
    else expect(value).toMatch(/^[^\p{Cc}\p{Cs}\p{NChar}]+$/u)
  }
})

test('CE-4: metadata, where it is asked for, is JSON of the same value in characters that an attribute may have', () => {
  const metadata = '{"actor":\n"\u009f\uffff\ud83f\udfff"}'
  const { attributes } = toCloudEvent(event({ metadata }), { withMetadata: true })
  expect(attributes.get('metadata')).toBe('{"actor": "\\u009f\\uffff\\ud83f\\udfff"}')
  expect(JSON.parse(String(attributes.get('metadata')))).toEqual(JSON.parse(metadata))
})

test('CE-6: the metadata of the context stays inside', () => {
  expect(toCloudEventText(event())).not.toContain('kim')
})

const anyUnit = fc.integer({ min: 0, max: 0xffff }).map((unit) => String.fromCharCode(unit))

test('CE-7: any payload text is copied, never parsed and written again', () => {
  fc.assert(
    fc.property(fc.json({ stringUnit: anyUnit }), (data) => {
      expect(toCloudEventText(event({ data })).endsWith(`,"data":${data}}`)).toBe(true)
    }),
  )
})

test('CE-1 CE-7: of an event of ours the key is looked at still, its payload is not', () => {
  const ours = { ours: true } as const
  const invalid = expect.objectContaining({ code: 'PABAL_MESSAGE_INVALID' })
  expect(toJson(toCloudEvent(event({ data: '{"a":1.10}' }), ours))).toContain('"data":{"a":1.10}')
  expect(() => toJson(toCloudEvent(event({ key: 'order\u0000' }), ours))).toThrow(invalid)
  expect(() => toMessage(toCloudEvent(event({ key: 'order\u0000' }), ours), kafka, 'binary')).toThrow(invalid)
  // Which is why what was received is none of ours.
  expect(() => toJson(toCloudEvent(event({ data: '1,"id":"forged"' })))).toThrow(invalid)
})
