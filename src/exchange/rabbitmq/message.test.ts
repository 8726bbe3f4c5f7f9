import { describe, expect, test } from 'vitest'
import { defaultLimits } from '../../core/limits.ts'
import type { CloudEvent } from '../../event/cloudevents/cloud-event.ts'
import type { Traits } from '../transport.ts'
import type { RabbitMessage } from './driver.ts'
import { encoded, incoming } from './message.ts'

const traits: Traits = { ordered: true, delivery: 'at-least-once', messageBytes: 10_000 }
const event: CloudEvent = {
  attributes: new Map([
    ['specversion', '1.0'],
    ['id', 'e-1'],
    ['source', 'urn:pabal:ordering'],
    ['type', 'shop.order-placed.v1'],
    ['subject', '주문 1'],
    ['datacontenttype', 'application/json'],
  ]),
  data: '{"n": 1.50}',
}
const delivered = (content: string, properties: Omit<RabbitMessage['properties'], 'messageId'>): RabbitMessage => ({
  content: Buffer.from(content),
  fields: { deliveryTag: 1, routingKey: '' },
  properties: { ...properties, messageId: undefined },
})

describe('an event on its way out', () => {
  test('has its attributes as headers and its type as routing key, and is persistent', () => {
    expect(encoded({ key: '주문 1', id: 'e-1', event }, traits)).toMatchObject({
      routingKey: 'shop.order-placed.v1',
      content: Buffer.from('{"n": 1.50}'),
      properties: {
        persistent: true,
        messageId: 'e-1',
        contentType: 'application/json',
        headers: { cloudEvents_subject: '주문 1', cloudEvents_type: 'shop.order-placed.v1' },
      },
    })
  })

  test('fails alone when it is too large, or no event', () => {
    const large = { ...event, data: JSON.stringify('x'.repeat(10_000)) }
    expect(encoded({ key: 'k', id: 'e-1', event: large }, traits)).toMatchObject({
      error: { code: 'PABAL_MESSAGE_TOO_LARGE' },
    })
    const none = { attributes: new Map([['id', 'e-1']]), data: undefined }
    expect(encoded({ key: 'k', id: 'e-1', event: none }, traits)).toMatchObject({
      error: { code: 'PABAL_MESSAGE_INVALID' },
    })
  })
})

describe('a message that comes', () => {
  test('is read in structured mode too', () => {
    const json = '{"specversion":"1.0","id":"e-2","source":"/there","type":"t.t","data":{"n":1}}'
    const { attributes, data } = incoming(
      delivered(json, { contentType: 'application/cloudevents+json; charset=utf-8', headers: {} }),
    ).decode(defaultLimits)
    expect(attributes.get('id')).toBe('e-2')
    expect(data).toBe('{"n":1}')
  })

  test("is read with the protocol's own types, and with what the broker has added", () => {
    const { attributes } = incoming(
      delivered('', {
        contentType: undefined,
        headers: {
          'cloudEvents:specversion': '1.0',
          'cloudEvents:id': 'e-3',
          'cloudEvents:source': '/there',
          'cloudEvents:type': 't.t',
          'cloudEvents:time': { '!': 'timestamp', value: 1_291_191_960 },
          'cloudEvents:hopcount': 2,
          'x-delivery-count': 3,
          'x-death': [{ count: 1, reason: 'rejected' }],
        },
      }),
    ).decode(defaultLimits)
    expect(attributes.get('time')).toBe('2010-12-01T08:26:00.000Z')
    expect(attributes.get('hopcount')).toBe(2)
    expect([...attributes.keys()]).not.toContain('x-death')
  })

  test('is refused when it is no event', () => {
    const nothing = incoming(delivered('hello', { contentType: undefined, headers: undefined }))
    expect(() => nothing.decode(defaultLimits)).toThrow(/PABAL_MESSAGE_INVALID/)
  })
})
