import { describe, expect, test } from 'vitest'
import { binaryVectors } from '../../../test/support/cloudevents-vectors.ts'
import { defaultLimits } from '../../core/limits.ts'
import { amqp, type Binding, http, kafka, nats } from './binding.ts'
import type { AttributeValue, CloudEvent } from './cloud-event.ts'
import { fromMessage, type MessageIn, modeOf, toBatchMessage, toMessage } from './message.ts'
import { toJson } from './structured.ts'

const bindings: readonly Binding[] = [kafka, amqp, nats, http]
const limits = { ...defaultLimits, payloadBytes: 1_000, messageHeaderBytes: 2_000, messageHeaders: 20 }

const read = (message: MessageIn, binding: Binding): CloudEvent => {
  const decoded = fromMessage(message, binding, limits)
  if (decoded.mode === 'batch') throw new Error('a batch')
  return decoded.event
}
const withCode = (code: string, reason: string): unknown =>
  expect.objectContaining({ code, message: expect.stringContaining(reason) })
const refused = (message: MessageIn, binding: Binding, reason: string, code = 'PABAL_MESSAGE_INVALID'): void => {
  expect(() => read(message, binding)).toThrow(withCode(code, reason))
}

/** What every event must have, as a binding writes it, and more. */
const headersOf = ({ prefix }: Binding, more: Readonly<Record<string, unknown>> = {}): Record<string, unknown> => ({
  [`${prefix}specversion`]: '1.0',
  [`${prefix}id`]: '1',
  [`${prefix}source`]: '/s',
  [`${prefix}type`]: 't',
  ...more,
})
const attributesOf = (message: MessageIn, binding: Binding): Record<string, AttributeValue> =>
  Object.fromEntries(read(message, binding).attributes)
const required = { specversion: '1.0', id: '1', source: '/s', type: 't' }

describe('binary mode of', () => {
  const example: CloudEvent = {
    attributes: new Map(
      Object.entries({
        specversion: '1.0',
        type: 'com.example.someevent',
        time: '2018-04-05T03:56:24Z',
        id: '1234-1234-1234',
        source: '/mycontext/subcontext',
        datacontenttype: 'application/json; charset=utf-8',
        subject: '주문 1',
      }),
    ),
    data: '{"a": 1.0}',
  }

  test.each(binaryVectors)('$binding §3: the example is written so, and read', ({ binding, headers, contentType }) => {
    const by = bindings.find(({ name }) => name === binding)!
    const message = toMessage(example, by, 'binary')
    expect(message).toEqual({ headers, contentType: 'application/json; charset=utf-8', body: '{"a": 1.0}' })
    for (const body of ['{"a": 1.0}', Buffer.from('{"a": 1.0}')])
      expect(read({ headers, contentType, body }, by)).toEqual(example)
  })

  test('Kafka §3.2.3: headers are UTF-8 bytes, a byte order mark among them', () => {
    const headers = headersOf(kafka, { ce_subject: '\ufeff주문 100% "1"', ignored: null, 'content-type': 'text/plain' })
    const bytes = Object.entries(headers).map(([name, value]) => [
      name,
      value === null ? null : Buffer.from(value as string),
    ])
    expect(attributesOf({ headers: Object.fromEntries(bytes) as Record<string, unknown>, body: null }, kafka)).toEqual({
      ...required,
      subject: '\ufeff주문 100% "1"',
      datacontenttype: 'text/plain',
    })
  })

  test('Kafka §3.2.2: no data is no value, a tombstone, and in JSON it is none', () => {
    const event = read({ headers: headersOf(kafka), body: null }, kafka)
    expect(event.data).toBeUndefined()
    expect(toMessage(event, kafka, 'binary').body).toBeNull()
    expect(toMessage(event, kafka, 'structured').body).toBe(toJson(event))
    for (const type of [undefined, 'application/json']) {
      const headers = headersOf(kafka, { 'content-type': type })
      const empty = read({ headers, body: new Uint8Array() }, kafka)
      expect(toMessage(empty, kafka, 'binary').body).toHaveLength(0)
    }
  })

  test('Kafka §3.2.1: datacontenttype beside an equal content type passes, as the JavaScript SDK writes it; another does not', () => {
    const type = (stated: unknown) => headersOf(kafka, { 'content-type': 'text/plain', ce_datacontenttype: stated })
    for (const stated of ['text/plain', undefined, null])
      expect(attributesOf({ headers: type(stated), body: null }, kafka)['datacontenttype']).toBe('text/plain')
    refused({ headers: type('text/html'), body: null }, kafka, 'datacontenttype')
  })

  test('AMQP §3.1.3.1: both separators are read, also mixed, but no attribute twice', () => {
    const colons = {
      'cloudEvents:specversion': '1.0',
      'cloudEvents:id': '1',
      'cloudEvents:source': '/s',
      'cloudEvents:type': 't',
    }
    expect(attributesOf({ headers: colons, body: null }, amqp)).toEqual(required)
    expect(attributesOf({ headers: { ...colons, cloudEvents_x: 'y' }, body: null }, amqp)).toEqual({
      ...required,
      x: 'y',
    })
    refused({ headers: { ...colons, cloudEvents_id: '1' }, body: null }, amqp, 'twice')
  })

  test('AMQP §3.1.3.2 CE-4: its own types are read as well as texts', () => {
    const given = {
      cloudEvents_time: new Date('2018-04-05T03:56:24.5Z'),
      cloudEvents_long: 5n,
      cloudEvents_int: -5,
      cloudEvents_yes: true,
      cloudEvents_bytes: new Uint8Array([0, 255]),
      'x-death': [{ count: 1 }],
    }
    expect(attributesOf({ headers: headersOf(amqp, given), body: null }, amqp)).toEqual({
      ...required,
      time: '2018-04-05T03:56:24.500Z',
      long: 5,
      int: -5,
      yes: true,
      bytes: 'AP8=',
    })
  })

  test.each([2n ** 31n, -(2n ** 31n) - 1n, 2 ** 31, 1.5, Number.NaN])('AMQP CE-4: the number %s is refused', (n) => {
    refused({ headers: headersOf(amqp, { cloudEvents_n: n }), body: null }, amqp, '32 bits')
  })

  test.each([new Date(Number.NaN), { nested: 1 }, Symbol('x')])('AMQP CE-4: a value %s is refused', (value) => {
    refused({ headers: headersOf(amqp, { cloudEvents_n: value }), body: null }, amqp, 'does not have')
  })

  test('NATS §3.1.3: names in any case, each a list of values, datacontenttype an attribute', () => {
    const headers = Object.entries(
      headersOf(nats, { 'CE-DataContentType': 'application/json', 'Content-Type': 'text/x' }),
    )
    const event = read({ headers: headers.map(([name, value]) => [name, [value]] as const), body: '1.0' }, nats)
    expect(Object.fromEntries(event.attributes)).toEqual({ ...required, datacontenttype: 'application/json' })
    expect(event.data).toBe('1.0')
  })

  test('HTTP §3.1.3: headers of fetch, of Node, of a Map', () => {
    const record = headersOf(http, { 'Ce-Subject': '%EC%A3%BC', 'Content-Type': 'application/json' }) as Record<
      string,
      string
    >
    const lower = Object.fromEntries(Object.entries(record).map(([name, value]) => [name.toLowerCase(), value]))
    for (const headers of [new Headers(record), lower, new Map(Object.entries(record))])
      expect(attributesOf({ headers, body: null }, http)).toEqual({
        ...required,
        subject: '주',
        datacontenttype: 'application/json',
      })
  })

  test.each(bindings)('$name CE-7: what no content type is known of is bytes, and stays so', (binding) => {
    for (const body of ['{"a":1}', Buffer.from('{"a":1}')]) {
      const event = read({ headers: headersOf(binding), body }, binding)
      expect(Buffer.from(event.data as Uint8Array).toString()).toBe('{"a":1}')
      expect(event.attributes.has('datacontenttype')).toBe(false)
      expect(toMessage(event, binding, 'binary')).toMatchObject({ contentType: undefined, body: event.data })
    }
  })

  test('CE-7: a text of another charset than UTF-8 is not written as if it were', () => {
    const text = (type: string): CloudEvent => ({
      attributes: new Map([...example.attributes, ['datacontenttype', type]]),
      data: '한',
    })
    expect(() => toMessage(text('text/plain; charset=euc-kr'), http, 'binary')).toThrow(
      withCode('PABAL_MESSAGE_INVALID', 'euc-kr'),
    )
    expect(toMessage(text('text/plain; charset="UTF-8"'), http, 'binary').body).toBe('한')
    expect(() => toMessage({ ...example, data: '"\ud800"' }, http, 'binary')).toThrow(
      withCode('PABAL_MESSAGE_INVALID', 'lone surrogate'),
    )
  })
})

describe('the mode of', () => {
  test.each([
    [undefined, 'binary'],
    ['', 'binary'],
    ['application/json', 'binary'],
    ['text/cloudevents', 'binary'],
    ['application/cloudevents', 'structured'],
    ['application/cloudevents+json', 'structured'],
    ['Application/CloudEvents+JSON; Charset="UTF-8"', 'structured'],
    ['application/cloudevents-batch+json', 'batch'],
    ['APPLICATION/CLOUDEVENTS-BATCH+JSON;charset=utf-8', 'batch'],
  ])('HTTP §3: %s is %s', (contentType, mode) => {
    expect(modeOf(contentType)).toBe(mode)
  })

  test.each(['application/cloudevents+avro', 'application/cloudevents-batch+xml', 'application/cloudeventsfoo'])(
    'HTTP §3: %s is refused, since only JSON is known',
    (contentType) => {
      expect(() => modeOf(contentType)).toThrow(withCode('PABAL_MESSAGE_INVALID', 'only JSON'))
    },
  )

  test('CE-7: JSON in another charset is refused', () => {
    expect(() => modeOf('application/cloudevents+json; charset=utf-16')).toThrow(
      withCode('PABAL_MESSAGE_INVALID', 'utf-16'),
    )
  })

  test.each(bindings)('$name is told by the content type, wherever its clients keep it', (binding) => {
    const event = read({ headers: headersOf(binding), body: null }, binding)
    const { headers, contentType, body } = toMessage(event, binding, 'structured')
    expect(contentType).toBe('application/cloudevents+json; charset=utf-8')
    expect(read({ headers, contentType, body }, binding)).toEqual(event)
    if (binding.contentTypeHeader === undefined) expect(headers).toEqual({})
    else expect(read({ headers, body }, binding)).toEqual(event)
    expect(read({ headers: new Map([['CONTENT-TYPE', Buffer.from(contentType!)]]), body }, binding)).toEqual(event)
  })

  test('NATS §3: a message without headers is structured, as servers without headers give it', () => {
    const json = toJson(read({ headers: headersOf(nats), body: null }, nats))
    expect(fromMessage({ body: json }, nats, limits).mode).toBe('structured')
    refused({ body: json }, kafka, 'lacks')
  })

  test('HTTP §3.3: has batches, the others have none', () => {
    const event = read({ headers: headersOf(http), body: null }, http)
    const batch = toBatchMessage([event, event], http)
    expect(batch.contentType).toBe('application/cloudevents-batch+json; charset=utf-8')
    expect(fromMessage(batch, http, limits)).toEqual({ mode: 'batch', events: [event, event] })
    for (const binding of [kafka, amqp, nats]) {
      expect(() => fromMessage(batch, binding, limits)).toThrow(withCode('PABAL_MESSAGE_INVALID', 'no batches'))
      expect(() => toBatchMessage([event], binding)).toThrow(withCode('PABAL_MESSAGE_INVALID', 'no batches'))
    }
  })
})

describe.each(bindings)('what comes over $name', (binding) => {
  const { prefix } = binding
  const withHeaders = (more: Readonly<Record<string, unknown>>): MessageIn => ({
    headers: headersOf(binding, more),
    body: null,
  })

  test('CE-2: must have what every CloudEvent has', () => {
    refused(
      { headers: { other: 'x' }, body: 'x' },
      binding,
      'lacks what a CloudEvent must have: specversion, id, source, type',
    )
    refused(withHeaders({ [`${prefix}id`]: null }), binding, 'lacks what a CloudEvent must have: id')
    refused(withHeaders({ [`${prefix}specversion`]: '0.3' }), binding, 'specversion')
    refused(withHeaders({ [`${prefix}subject`]: '' }), binding, 'subject')
  })

  test('CE-1: keeps attributes that are unknown, and refuses names that no attribute has', () => {
    expect(attributesOf(withHeaders({ [`${prefix}tenant`]: 'kr', [`${prefix}constructor`]: 'c' }), binding)).toEqual({
      ...required,
      tenant: 'kr',
      constructor: 'c',
    })
    for (const name of ['__proto__', 'data', 'with-hyphen', ''])
      refused(
        { headers: new Map([...Object.entries(headersOf(binding)), [`${prefix}${name}`, 'x']]), body: null },
        binding,
        'no name',
      )
  })

  test('CE-1: has no attribute twice', () => {
    refused(withHeaders({ [`${prefix}a`]: ['x', 'y'] }), binding, 'twice')
    const pairs = [...Object.entries(headersOf(binding)), [`${prefix}id`, '1'] as const]
    refused({ headers: pairs, body: null }, binding, 'twice')
    if (binding.anyCase) refused(withHeaders({ [`${prefix.toUpperCase()}ID`]: '1' }), binding, 'twice')
  })

  test('CE-4: is UTF-8 without control characters', () => {
    if (binding !== amqp) refused(withHeaders({ [`${prefix}a`]: new Uint8Array([0xff]) }), binding, 'UTF-8')
    refused(withHeaders({ [`${prefix}a`]: binding.encode('\u0085') }), binding, 'control character')
    refused(withHeaders({ [`${prefix}a`]: binding.encode('\u{1fffe}') }), binding, 'noncharacter')
    const json = withHeaders({
      [binding.ownDataContentType ? `${prefix}datacontenttype` : 'content-type']: 'application/json',
    })
    refused({ ...json, body: new Uint8Array([0x22, 0xff, 0x22]) }, binding, 'the data is not UTF-8')
  })

  test('X9: floods of headers, and data that is too large or too deep, are refused before they are looked into', () => {
    const flood = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`other-${i}`, 'x']))
    refused(withHeaders(flood), binding, 'messageHeaders', 'PABAL_MESSAGE_TOO_LARGE')
    refused(
      withHeaders({ other: Array.from({ length: 20 }, () => 'x') }),
      binding,
      'messageHeaders',
      'PABAL_MESSAGE_TOO_LARGE',
    )
    refused(withHeaders({ other: 'x'.repeat(2_000) }), binding, 'messageHeaderBytes', 'PABAL_MESSAGE_TOO_LARGE')
    refused(withHeaders({ ['x'.repeat(2_000)]: null }), binding, 'messageHeaderBytes', 'PABAL_MESSAGE_TOO_LARGE')
    const typed = withHeaders({
      [binding.ownDataContentType ? `${prefix}datacontenttype` : 'content-type']: 'application/json',
    })
    refused({ ...typed, body: 'x'.repeat(1_001) }, binding, '1000', 'PABAL_PAYLOAD_TOO_LARGE')
    refused({ ...typed, body: new Uint8Array(1_001) }, binding, '1000', 'PABAL_PAYLOAD_TOO_LARGE')
    refused({ ...typed, body: '['.repeat(65) }, binding, '64', 'PABAL_PAYLOAD_TOO_DEEP')
  })

  test('X9: is known by its identity when its data is refused, so that its key can wait', () => {
    const message = { ...withHeaders({ [`${prefix}subject`]: binding.encode('주문') }), body: 'x'.repeat(1_001) }
    expect(() => read(message, binding)).toThrow(
      expect.objectContaining({ context: { id: '1', source: '/s', type: 't', subject: '주문' } }),
    )
  })
})
