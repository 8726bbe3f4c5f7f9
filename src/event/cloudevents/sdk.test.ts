/** With the CloudEvents SDK for JavaScript, 10.0.0: what it writes is read here, and the other way round. */

import { CloudEvent as SdkEvent, HTTP, Kafka } from 'cloudevents'
import { describe, expect, test } from 'vitest'
import { defaultLimits } from '../../core/limits.ts'
import { http, kafka } from './binding.ts'
import type { CloudEvent } from './cloud-event.ts'
import { fromMessage, type MessageIn, toBatchMessage, toMessage } from './message.ts'

const data = { orderId: 'order-1', lines: [{ sku: 'a', price: 1.5 }] }
const attributes = {
  specversion: '1.0',
  id: '01930000-0000-7000-8000-000000000001',
  source: 'urn:pabal:ordering',
  type: 'shop.order-placed.v1',
  time: '2026-11-20T09:30:00.005Z',
  datacontenttype: 'application/json',
  subject: 'order-1',
  partitionkey: 'order-1',
  streamversion: '4',
  hopcount: 1,
}
const ours: CloudEvent = { attributes: new Map(Object.entries(attributes)), data: JSON.stringify(data) }
const theirs = new SdkEvent({ ...attributes, data })

/** Their messages as they come off the wire: header values are text, a Kafka value is bytes. */
const carried = ({ headers, body }: { readonly headers: object; readonly body: unknown }): MessageIn => ({
  headers: Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)]])),
  ),
  body: Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)),
})

const expectOurs = (message: MessageIn, binding: typeof http): void => {
  const decoded = fromMessage(message, binding, defaultLimits)
  const [event] = decoded.mode === 'batch' ? decoded.events : [decoded.event]
  // An integer in a header is a text.
  expect(Object.fromEntries([...event!.attributes].map(([name, value]) => [name, String(value)]))).toEqual(
    Object.fromEntries(Object.entries(attributes).map(([name, value]) => [name, String(value)])),
  )
  expect(event!.data).toBe(JSON.stringify(data))
}

const expectTheirs = (event: unknown): void => {
  const { data: received, ...rest } = JSON.parse(JSON.stringify(event)) as Record<string, unknown>
  expect({ ...rest, hopcount: Number(rest['hopcount']) }).toMatchObject(attributes)
  expect(received).toEqual(data)
}

describe('CE-7: what the SDK writes in ASCII is read, and what we write is read by it', () => {
  test.each(['binary', 'structured'] as const)('over HTTP, %s', (mode) => {
    expectOurs(carried(HTTP[mode](theirs)), http)
    const { headers, body } = toMessage(ours, http, mode)
    expectTheirs(HTTP.toEvent({ headers, body }))
  })

  test.each(['binary', 'structured'] as const)('over Kafka, %s', (mode) => {
    const { headers, value } = Kafka[mode](theirs)
    expectOurs(carried({ headers, body: value }), kafka)
    const message = toMessage(ours, kafka, mode)
    const record = {
      headers: { ...message.headers },
      key: 'order-1',
      value: message.body as string,
      body: message.body,
    }
    expectTheirs(Kafka.toEvent(record))
  })

  test('in a batch over HTTP', () => {
    const { headers, body } = toBatchMessage([ours, ours], http)
    const events = HTTP.toEvent({ headers, body }) as SdkEvent[]
    expect(events).toHaveLength(2)
    events.forEach(expectTheirs)
  })

  test('binary data, in JSON', () => {
    const event = new SdkEvent({ ...attributes, datacontenttype: 'application/x', data_base64: 'AAECgP8=' })
    const decoded = fromMessage(carried(HTTP.structured(event)), http, defaultLimits)
    if (decoded.mode === 'batch') throw new Error('a batch')
    expect(decoded.event.data).toEqual(new Uint8Array([0, 1, 2, 128, 255]))
    expect(JSON.parse(toMessage(decoded.event, http, 'structured').body as string)).toMatchObject({
      data_base64: 'AAECgP8=',
    })
  })
})

describe('HTTP §3.1.3.2: the SDK is wrong for what is not ASCII, so there is no interop in binary mode', () => {
  const korean = { ...attributes, subject: '주문 1' }

  test('it writes Korean as it is, which no HTTP client sends; here it is refused', () => {
    const { headers } = HTTP.binary(new SdkEvent({ ...korean, data }))
    expect(headers['ce-subject']).toBe('주문 1')
    expect(() => new Headers(headers as Record<string, string>)).toThrow(/ByteString/)
    expect(() => fromMessage({ headers, body: '{}' }, http, defaultLimits)).toThrow(
      expect.objectContaining({ code: 'PABAL_MESSAGE_INVALID' }),
    )
  })

  test('it leaves percent-encoding as it comes, so that it reads another subject than was written', () => {
    const { headers, body } = toMessage({ attributes: new Map(Object.entries(korean)), data: '{}' }, http, 'binary')
    expect(HTTP.toEvent({ headers, body })).toMatchObject({ subject: '%EC%A3%BC%EB%AC%B8%201' })
  })

  test('structured mode is right in both directions', () => {
    const event: CloudEvent = { attributes: new Map(Object.entries(korean)), data: '{}' }
    const { headers, body } = toMessage(event, http, 'structured')
    expect(HTTP.toEvent({ headers, body })).toMatchObject({ subject: '주문 1' })
    const decoded = fromMessage(carried(HTTP.structured(new SdkEvent({ ...korean, data: {} }))), http, defaultLimits)
    if (decoded.mode !== 'batch') expect(decoded.event.attributes.get('subject')).toBe('주문 1')
    else expect.unreachable()
  })
})
