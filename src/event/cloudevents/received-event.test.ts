import { describe, expect, expectTypeOf, test } from 'vitest'
import { defaultLimits } from '../../core/limits.ts'
import type { AttributeValue } from './cloud-event.ts'
import { payloadOf, type ReceivedEvent, receivedEvent, type SequencedEvent } from './received-event.ts'

const foreign = { specversion: '1.0', id: '1', source: 'https://erp.example/orders', type: 'com.example.order' }
const ours = {
  ...foreign,
  source: 'urn:pabal:ordering',
  time: '2026-11-20T09:30:00.005Z',
  datacontenttype: 'application/json',
  subject: '주문-1',
  partitionkey: '주문-1',
  streamversion: '9007199254740991',
  previousversion: '2147483648',
  previousid: '0',
  stream: 'public',
  incarnation: 'i',
  correlationid: 'c',
  hopcount: 1,
}
const received = (attributes: Readonly<Record<string, AttributeValue>>, data?: string | Uint8Array): ReceivedEvent =>
  receivedEvent({ attributes: new Map(Object.entries(attributes)), data })
const without = (...names: readonly string[]): Record<string, AttributeValue> =>
  Object.fromEntries(Object.entries(ours).filter(([name]) => !names.includes(name)))

describe('an event of ours', () => {
  test('CE-4: has its place, beyond what an Integer holds', () => {
    const event = received(ours, '{"a": 1.0}')
    expect(event).toMatchObject({
      sequenced: true,
      context: 'ordering',
      source: 'urn:pabal:ordering',
      key: '주문-1',
      sequence: 9_007_199_254_740_991,
      previousSequence: 2_147_483_648,
      previousId: '0',
      stream: 'public',
      incarnation: 'i',
      version: 1,
      timeMs: Date.UTC(2026, 10, 20, 9, 30, 0, 5),
      correlationId: 'c',
      causationId: undefined,
      hopCount: 1,
      text: '{"a": 1.0}',
      missing: [],
    })
    if (event.sequenced) expectTypeOf(event).toEqualTypeOf<SequencedEvent>()
    else expectTypeOf(event.key).toEqualTypeOf<string | undefined>()
  })

  test('CE-4: integers in their canonical text are the same', () => {
    expect(received({ ...ours, hopcount: '32', dataversion: '2' })).toMatchObject({ hopCount: 32, version: 2 })
  })

  test('partitioning extension: keeps its key when somebody on the way has changed or removed partitionkey', () => {
    expect(received({ ...ours, partitionkey: 'shard-7' })).toMatchObject({ sequenced: true, key: '주문-1' })
    expect(received(without('partitionkey'))).toMatchObject({ sequenced: true, key: '주문-1' })
  })

  test('CE-3: may be the first of its key, or follow one that is not known any more', () => {
    expect(received({ ...without('previousid'), previousversion: '0', streamversion: '1' })).toMatchObject({
      sequenced: true,
      previousSequence: 0,
      previousId: undefined,
    })
    expect(received(without('previousid'))).toMatchObject({ sequenced: true, previousId: undefined })
  })

  test.each(['subject', 'streamversion', 'previousversion', 'stream', 'incarnation'])(
    'CE-3: without %s has no place, and says so',
    (name) => {
      expect(received(without(name))).toMatchObject({ sequenced: false, key: '주문-1', missing: [name] })
    },
  )

  test.each([
    ['streamversion', '0'],
    ['streamversion', '01'],
    ['streamversion', '-1'],
    ['streamversion', '1e3'],
    ['streamversion', '9007199254740992'],
    ['streamversion', 4],
    ['previousversion', '9007199254740991'],
    ['previousversion', 'x'],
    ['hopcount', -1],
    ['hopcount', '2147483648'],
    ['hopcount', true],
    ['dataversion', 0],
    ['stream', ''],
    ['incarnation', 5],
    ['subject', 'x'.repeat(501)],
  ])('CE-4: with %s %s is refused', (name, value) => {
    expect(() => received({ ...ours, [name]: value })).toThrow(
      expect.objectContaining({ code: 'PABAL_MESSAGE_INVALID', message: expect.stringContaining(name) }),
    )
  })
})

describe('an event from elsewhere', () => {
  test('CE-2: has no sequence, and says what else it lacks', () => {
    const event = received(foreign, '1')
    expect(event).toMatchObject({ sequenced: false, context: undefined, key: undefined, version: 1, text: '1' })
    expect(event.missing).toEqual([
      'time',
      'subject',
      'streamversion',
      'previousversion',
      'stream',
      'incarnation',
      'correlationid',
      'hopcount',
    ])
  })

  test('partitioning extension: has the key that it names, else its subject; one that is too long is refused', () => {
    expect(received({ ...foreign, subject: 's' })).toMatchObject({ key: 's' })
    expect(received({ ...foreign, subject: 's', partitionkey: 'p' })).toMatchObject({ key: 'p' })
    expect(received({ ...foreign, subject: 's', partitionkey: '' })).toMatchObject({ key: 's' })
    expect(() => received({ ...foreign, subject: 'x'.repeat(501) })).toThrow(
      expect.objectContaining({ code: 'PABAL_MESSAGE_INVALID' }),
    )
  })

  test('CE-1: may call its own things like ours: they stay, and ours are missing', () => {
    const theirs = { ...foreign, stream: 5, streamversion: 'v1', hopcount: 'many', correlationid: true }
    const event = received(theirs)
    expect(event).toMatchObject({ sequenced: false, correlationId: undefined, hopCount: undefined })
    expect(event.missing).toContain('stream')
    expect(Object.fromEntries(event.cloudEvent.attributes)).toEqual(theirs)
    // They are indexed.
    const long = 'x'.repeat(501)
    expect(received({ ...foreign, correlationid: long, causationid: long })).toMatchObject({
      correlationId: undefined,
      causationId: undefined,
    })
    expect(received({ ...ours, source: '/x', previousversion: ours.streamversion })).toMatchObject({
      sequenced: false,
      missing: ['previousversion'],
    })
  })

  test('CE-1: has a sequence where it speaks as we do', () => {
    expect(received({ ...ours, source: '/java' })).toMatchObject({ sequenced: true, context: undefined, missing: [] })
  })

  test.each([
    ['00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', true],
    ['01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more', true],
    ['00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01', false],
    ['00-00000000000000000000000000000000-b7ad6b7169203331-01', false],
    ['00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01', false],
    ['ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', false],
    ['hello', false],
  ])('W3C: the trace %s goes on: %s', (traceparent, goesOn) => {
    expect(received({ ...foreign, traceparent }).traceparent).toBe(goesOn ? traceparent : undefined)
  })

  test('X4: its payload is checked as one from outside', () => {
    const payload = (data: string | undefined, type = 'application/json') =>
      payloadOf(received({ ...foreign, datacontenttype: type }, data), defaultLimits)
    expect(payload('{"a": 1.0}')).toEqual({ a: 1 })
    expect(() => payload('{"__proto__":{"polluted":1}}')).toThrow(
      expect.objectContaining({ code: 'PABAL_PAYLOAD_FORBIDDEN_KEY' }),
    )
    expect(() => payload('9007199254740993')).toThrow(expect.objectContaining({ code: 'PABAL_PAYLOAD_NOT_JSON' }))
    expect(() => payload('{"a":')).toThrow(expect.objectContaining({ code: 'PABAL_PAYLOAD_NOT_JSON' }))
    expect(() => payload('<a/>', 'application/xml')).toThrow(expect.objectContaining({ code: 'PABAL_MESSAGE_INVALID' }))
    expect(() => payload(undefined)).toThrow(expect.objectContaining({ code: 'PABAL_MESSAGE_INVALID' }))
  })
})
