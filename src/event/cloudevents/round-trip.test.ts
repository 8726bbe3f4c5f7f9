/** Whatever an event says comes back as it went: in every binding and mode, over what clients make of headers and bodies. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { defaultLimits } from '../../core/limits.ts'
import { definePublicEvent } from '../definition.ts'
import { EventRecord } from '../envelope.ts'
import { amqp, type Binding, http, kafka, nats } from './binding.ts'
import { fromMessage, type Message, type MessageIn, toBatchMessage, toMessage } from './message.ts'
import { receivedEvent } from './received-event.ts'
import { fromJson, toJson } from './structured.ts'
import { type StreamPlace, toCloudEvent } from './to-cloud-event.ts'

const definition = definePublicEvent('shop.order-placed.v1', {
  kind: 'domain',
  schema: z.unknown() as unknown as z.ZodString,
  key: () => 'k',
})

/** Any text that an attribute may be. */
const attributeText = fc
  .string({ unit: 'binary', minLength: 1, maxLength: 200 })
  .map((text) => text.replaceAll(/[\p{Cc}\p{Cs}\p{NChar}]/gu, '주'))

/** Any JSON text that UTF-8 can carry, spaces and numbers written as people may. */
const jsonText = fc
  .tuple(
    fc.json({ stringUnit: 'binary', maxDepth: 6 }),
    fc.constantFrom('', ' ', '\n\t'),
    fc.constantFrom('1.10', '-0', '1e400', '9007199254740993', '"\\ud800\\u0000\\/"', '"]},{["', '{"a":1,"a":2}', '""'),
  )
  .map(([json, space, odd]) => `${space}[${json},${space}${odd}${space}]${space}`)

const sequences = fc.tuple(fc.maxSafeNat(), fc.maxSafeNat()).map(([one, other]) => {
  const [previousSequence, sequence] = one < other ? [one, other] : [other, one]
  return { previousSequence, sequence: sequence === previousSequence ? sequence + 1 : sequence }
})

const events = fc
  .record({
    id: attributeText,
    source: fc.constantFrom('ordering', 'billing_2'),
    key: attributeText,
    version: fc.integer({ min: 1, max: 2 ** 31 - 1 }),
    text: jsonText,
    timeMs: fc.integer({ min: 0, max: Date.UTC(9999, 11, 31) }),
    correlationId: attributeText,
    causationId: fc.option(attributeText, { nil: undefined }),
    hopCount: fc.integer({ min: 0, max: 2 ** 31 - 1 }),
    traceparent: fc.constantFrom(undefined, '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'),
    metadataText: fc.option(
      fc.json({ stringUnit: 'grapheme' }).filter((text) => !/[\p{Cc}\p{NChar}]/u.test(text)),
      { nil: null },
    ),
    sequences,
    place: fc.record({
      stream: attributeText,
      incarnation: attributeText,
      previousId: fc.option(attributeText, { nil: undefined }),
    }),
  })
  .map(({ source, sequences: { sequence, previousSequence }, place, ...fields }) => {
    const record = new EventRecord(definition, source, fields)
    record.sequence = Math.max(1, sequence)
    record.previousSequence = previousSequence
    return { record, place }
  })

const bytesOf = (body: Message['body']): Uint8Array | null => (typeof body === 'string' ? Buffer.from(body) : body)

/** What a receiver's client makes of a message. */
const carried: Readonly<Record<string, (message: Message) => MessageIn>> = {
  Kafka: ({ headers, body }) => ({
    headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, Buffer.from(value)])),
    body: bytesOf(body),
  }),
  AMQP: ({ headers, contentType, body }) => ({
    headers: Object.fromEntries(
      Object.entries(headers).map(([name, value]) => [name, /hopcount|dataversion/.test(name) ? BigInt(value) : value]),
    ),
    contentType,
    body: bytesOf(body),
  }),
  NATS: ({ headers, body }) => ({
    headers: Object.entries(headers).map(([name, value]) => [name, [value]] as const),
    body: bytesOf(body) ?? new Uint8Array(),
  }),
  HTTP: ({ headers, body }) => ({ headers: new Headers({ ...headers, host: 'example.com' }), body: bytesOf(body) }),
}

const expectSame = (message: MessageIn, binding: Binding, record: EventRecord, place: StreamPlace): void => {
  const decoded = fromMessage(message, binding, defaultLimits)
  const event = receivedEvent(decoded.mode === 'batch' ? decoded.events[0]! : decoded.event)
  expect({ ...event, cloudEvent: undefined }).toEqual({
    sequenced: true,
    id: record.id,
    source: `urn:pabal:${record.source}`,
    context: record.source,
    type: record.type,
    version: record.version,
    key: record.key,
    sequence: record.sequence,
    previousSequence: record.previousSequence,
    previousId: place.previousId,
    stream: place.stream,
    incarnation: place.incarnation,
    time: record.time,
    timeMs: record.timeMs,
    correlationId: record.correlationId,
    causationId: record.causationId,
    hopCount: record.hopCount,
    traceparent: record.traceparent,
    metadataText: record.metadataText ?? undefined,
    text: record.text,
    missing: [],
    cloudEvent: undefined,
  })
}

const cloudEventOf = (record: EventRecord, place: StreamPlace) => toCloudEvent(record, { place, withMetadata: true })

describe.each([kafka, amqp, nats, http])('over $name', (binding) => {
  test.each(['binary', 'structured'] as const)('CE-4 CE-7: every event comes back as it went, %s', (mode) => {
    fc.assert(
      fc.property(events, ({ record, place }) => {
        const message = toMessage(cloudEventOf(record, place), binding, mode)
        expectSame(carried[binding.name]!(message), binding, record, place)
      }),
    )
  })

  test.each(['binary', 'structured'] as const)('CE-7: what is forwarded is sent as it came, %s', (mode) => {
    fc.assert(
      fc.property(events, ({ record, place }) => {
        const message = toMessage(cloudEventOf(record, place), binding, mode)
        const decoded = fromMessage(carried[binding.name]!(message), binding, defaultLimits)
        if (decoded.mode !== 'batch') expect(toMessage(decoded.event, binding, mode)).toEqual(message)
        else expect.unreachable()
      }),
    )
  })
})

test('CE-7: every event comes back as it went in a batch', () => {
  fc.assert(
    fc.property(events, events, ({ record, place }, other) => {
      const batch = toBatchMessage(
        [record, other.record].map((each) => cloudEventOf(each, place)),
        http,
      )
      expectSame(carried['HTTP']!(batch), http, record, place)
    }),
  )
})

test('CE-7: no text makes the reader do anything but read or refuse', () => {
  const mutated = fc
    .tuple(events, fc.nat(), fc.nat({ max: 3 }), fc.string({ unit: 'binary', maxLength: 3 }))
    .map(([{ record, place }, at, removed, added]) => {
      const text = toJson(cloudEventOf(record, place))
      const index = at % text.length
      return text.slice(0, index) + added + text.slice(index + removed)
    })
  fc.assert(
    fc.property(fc.oneof(mutated, fc.json(), fc.string({ unit: 'binary' })), (text) => {
      try {
        const event = fromJson(text, defaultLimits)
        expect(fromJson(toJson(event), defaultLimits)).toEqual(event)
      } catch (error) {
        expect((error as { code?: unknown }).code).toMatch(/^PABAL_/)
      }
    }),
    { numRuns: 500 },
  )
})
