import { describe, expect, test } from 'vitest'
import { jsonVectors } from '../../../test/support/cloudevents-vectors.ts'
import { defaultLimits } from '../../core/limits.ts'
import { http } from './binding.ts'
import type { CloudEvent } from './cloud-event.ts'
import { fromMessage, toMessage } from './message.ts'
import { fromJson, fromJsonBatch, toJson, toJsonBatch } from './structured.ts'

const limits = { ...defaultLimits, payloadBytes: 1_000, messageHeaderBytes: 1_000, batchBytes: 10_000, batchEvents: 3 }
const read = (text: string | Uint8Array): CloudEvent => fromJson(text, limits)
const required = '"specversion":"1.0","id":"1","source":"/s","type":"t"'
const withMembers = (members: string): string => `{${required},${members}}`
const withCode = (code: string, reason: string | RegExp): unknown =>
  expect.objectContaining({ code, message: expect.stringMatching(reason) })
const refused = (text: string | Uint8Array, reason: string | RegExp, code = 'PABAL_MESSAGE_INVALID'): void => {
  expect(() => read(text)).toThrow(withCode(code, reason))
}

describe('JSON format §3.2: the example with', () => {
  test.each(jsonVectors)('$title is read, and written in HTTP’s binary mode (CE-7)', ({ json, headers, body }) => {
    const message = toMessage(read(json), http, 'binary')
    expect(message.headers).toEqual(headers)
    expect(Array.isArray(body) ? [...(message.body as Uint8Array)] : (message.body?.toString().trim() ?? null)).toEqual(
      body,
    )
  })

  test.each(jsonVectors)('$title is the same event from binary mode, and in JSON again', ({ json, headers, body }) => {
    const event = read(json)
    const bytes = body === null ? null : typeof body === 'string' ? Buffer.from(body) : Uint8Array.from(body)
    const decoded = fromMessage({ headers, body: bytes }, http, limits)
    if (decoded.mode === 'batch') throw new Error('a batch')
    expect(decoded.event.attributes.get('id')).toBe(event.attributes.get('id'))
    const again = read(toJson(decoded.event))
    // In binary mode all that is no JSON is bytes; the integer has become its canonical text.
    expect(again.data === undefined ? null : Buffer.from(again.data as string).toString('latin1')).toBe(
      body === null ? null : Buffer.from(body as string).toString('latin1'),
    )
    expect(read(toJson(event))).toEqual(event)
  })
})

describe('an event in JSON', () => {
  test('CE-3 CE-4: null is not set, integers and booleans stay what they are, names that are unknown stay', () => {
    const { attributes } = read(withMembers('"subject":null,"n":-2147483648,"yes":true,"constructor":"c","1":"한"'))
    expect([...attributes]).toEqual([
      ['specversion', '1.0'],
      ['id', '1'],
      ['source', '/s'],
      ['type', 't'],
      ['n', -2_147_483_648],
      ['yes', true],
      ['constructor', 'c'],
      ['1', '한'],
    ])
  })

  test('CE-7: data is letter for letter, numbers, escapes and spaces too', () => {
    const data = ' {"b": 1.10, "a" :9007199254740993,\n "\\u0061": "\\ud800", "a":[ ] } '
    expect(read(withMembers(`"data":${data}`)).data).toBe(data)
    expect(read(`{"data":${data},${required}}`).data).toBe(data)
    expect(toJson(read(withMembers(`"data":${data}`)))).toContain(`"data":${data}`)
  })

  test('CE-7: a text of JSON is not parsed again, null is data, and no data is none', () => {
    expect(read(withMembers('"data":"{\\"a\\":1}"')).data).toBe('"{\\"a\\":1}"')
    expect(read(withMembers('"data":null')).data).toBe('null')
    expect(read(`{${required}}`).data).toBeUndefined()
    expect(toJson(read(`{${required}}`))).not.toContain('data')
    expect(read(withMembers('"data":1')).attributes.get('datacontenttype')).toBe('application/json')
  })

  test.each(['application/json', 'Text/JSON; charset=utf-8', 'application/vnd.x+JSON'])(
    'CE-3: data of %s is JSON, in base64 too',
    (type) => {
      expect(read(withMembers(`"datacontenttype":"${type}","data":[1.0]`)).data).toBe('[1.0]')
      expect(read(withMembers(`"datacontenttype":"${type}","data_base64":"WzEuMF0="`)).data).toBe('[1.0]')
    },
  )

  test('CE-7: base64 of no content type is bytes of no content type', () => {
    const event = read(withMembers('"data_base64":"WzFd"'))
    expect(event.data).toEqual(new Uint8Array([91, 49, 93]))
    expect(event.attributes.has('datacontenttype')).toBe(false)
    expect(read(toJson(event))).toEqual(event)
  })

  test('CE-5: 64 KiB are taken', () => {
    const text = withMembers(`"data":"${'x'.repeat(65_000)}"`)
    expect(String(fromJson(text, defaultLimits).data)).toHaveLength(65_002)
  })

  test.each([
    ['CE-2', `{"specversion":"1.0"}`, 'id, source, type'],
    ['CE-2', `{"specversion":"1.0","id":null,"source":"/s","type":"t"}`, 'lacks .*: id$'],
    ['CE-2', `{"specversion":"0.3","id":"1","source":"/s","type":"t"}`, "specversion must be '1.0'"],
    ['CE-2', `{"specversion":1.0,"id":"1","source":"/s","type":"t"}`, 'specversion'],
    ['CE-2', `{"specversion":"1.0","id":"","source":"/s","type":"t"}`, 'attribute id'],
    ['CE-2', `{"specversion":"1.0","id":7,"source":"/s","type":"t"}`, 'attribute id'],
    ['CE-2', `{"specversion":"1.0","id":"1","source":"","type":"t"}`, 'attribute source'],
    ['CE-2', `{"specversion":"1.0","id":"1","source":"not a uri","type":"t"}`, 'attribute source'],
    ['CE-2', `{"specversion":"1.0","id":"1","source":"/%zz","type":"t"}`, 'attribute source'],
    ['CE-1', withMembers('"traceId":"x"'), 'no name of an attribute'],
    ['CE-1', withMembers('"__proto__":"x"'), 'no name of an attribute'],
    ['CE-1', withMembers('"":"x"'), 'no name of an attribute'],
    ['CE-1', withMembers('"a":"x","a":"y"'), '"a" is there twice'],
    ['CE-1', withMembers('"\\u0069d":"x"'), '"id" is there twice'],
    ['CE-1', withMembers('"data":1,"data":2'), '"data" is there twice'],
    ['CE-3', withMembers('"subject":""'), 'attribute subject'],
    ['CE-3', withMembers('"time":"yesterday"'), 'attribute time'],
    ['CE-3', withMembers('"time":"2018-02-29T00:00:00Z"'), 'attribute time'],
    ['CE-3', withMembers('"time":"2018-04-05"'), 'attribute time'],
    ['CE-3', withMembers('"dataschema":"/relative"'), 'attribute dataschema'],
    ['CE-4', withMembers('"n":2147483648'), '32 bits'],
    ['CE-4', withMembers('"n":-2147483649'), '32 bits'],
    ['CE-4', withMembers('"n":1.5'), 'no text, integer or boolean'],
    ['CE-4', withMembers('"n":1e3'), 'no text, integer or boolean'],
    ['CE-4', withMembers('"n":{"a":1}'), 'no text, integer or boolean'],
    ['CE-4', withMembers('"n":["a"]'), 'no text, integer or boolean'],
    ['CE-4', withMembers('"s":"a\\u0000"'), 'control character'],
    ['CE-4', withMembers('"s":"\\u009f"'), 'control character'],
    ['CE-4', withMembers('"s":"\\uffff"'), 'noncharacter'],
    ['CE-4', withMembers('"s":"\\ud800"'), 'lone surrogate'],
    ['CE-7', withMembers('"data":1,"data_base64":"WzFd"'), 'both data and data_base64'],
    ['CE-7', withMembers('"data_base64":"W z F d"'), 'not base64'],
    ['CE-7', withMembers('"data_base64":"WzF"'), 'not base64'],
    ['CE-7', withMembers('"data_base64":7'), 'data_base64 is no text'],
    ['CE-7', withMembers('"datacontenttype":"application/xml","data":{"a":1}'), 'data is no text'],
    ['CE-7', withMembers('"datacontenttype":"application/json","data_base64":"/w=="'), 'the data is not UTF-8'],
    ['CE-7', '[]', 'not a JSON object'],
    ['CE-7', 'null', 'not a JSON object'],
    ['CE-7', '"x"', 'not a JSON object'],
    ['CE-7', '', 'not JSON'],
    ['CE-7', `{${required}`, 'not JSON'],
    ['CE-7', withMembers('"data":{"a":tru}'), 'not JSON'],
  ])('%s: %s is refused', (_rule, text, reason) => {
    refused(text, new RegExp(reason))
  })

  test('CE-4: invalid UTF-8 is refused, and a byte order mark is not', () => {
    refused(new Uint8Array([0x7b, 0xff, 0x7d]), 'the message is not UTF-8')
    expect(read(Buffer.from(`\ufeff{${required}}`)).attributes.get('id')).toBe('1')
  })

  test('X9: size and depth are looked at before the parser sees it', () => {
    refused('['.repeat(100_000), 'larger than', 'PABAL_MESSAGE_TOO_LARGE')
    refused(withMembers(`"data":${'['.repeat(65)}`), 'deeper than 65', 'PABAL_PAYLOAD_TOO_DEEP')
    refused(withMembers(`"data":"${'x'.repeat(1_000)}"`), 'larger than 1000', 'PABAL_PAYLOAD_TOO_LARGE')
    refused(withMembers(`"data":"${'한'.repeat(340)}"`), 'larger than 1000', 'PABAL_PAYLOAD_TOO_LARGE')
    refused(withMembers(`"a":"${'x'.repeat(1_000)}"`), 'messageHeaderBytes', 'PABAL_MESSAGE_TOO_LARGE')
    expect(read(withMembers(`"data":${'['.repeat(64)}${']'.repeat(64)}`)).data).toHaveLength(128)
    const many = Array.from({ length: 100 }, (_, i) => `"a${i}":1`).join(',')
    refused(withMembers(many), 'messageHeaders', 'PABAL_MESSAGE_TOO_LARGE')
  })

  test('X8: the reason holds neither values nor line breaks of the message', () => {
    for (const text of [withMembers('"na\\nme":"s3cret"'), withMembers('"s":"s3cret\\n"'), '{"s3cret": tru}'])
      try {
        read(text)
        expect.unreachable()
      } catch (error) {
        expect(String(error)).not.toMatch(/s3cret|\n/)
      }
  })

  test('X9: what is wrong with the data is told with the event’s identity, so that its key can wait', () => {
    expect(() => read(withMembers(`"subject":"주문-1","data":"${'x'.repeat(1_000)}"`))).toThrow(
      expect.objectContaining({ context: { id: '1', source: '/s', type: 't', subject: '주문-1' } }),
    )
  })
})

describe('writing', () => {
  const event = (data: CloudEvent['data'], type = 'application/json'): CloudEvent => ({
    attributes: new Map([...read(`{${required}}`).attributes, ['datacontenttype', type]]),
    data,
  })

  test('CE-7: an envelope cannot be forged by its data', () => {
    for (const data of ['1,"id":"forged"', '{}}', '', '{"a":}', '"\ud800"'])
      expect(() => toJson(event(data))).toThrow(withCode('PABAL_MESSAGE_INVALID', 'the data'))
  })

  test('CE-1 CE-4: what would be refused is not written', () => {
    const { attributes } = event('1')
    for (const [name, value] of [
      ['Upper', 'x'],
      ['data', 'x'],
      ['x","id', 'x'],
      ['n', 2 ** 31],
      ['n', Number.NaN],
      ['s', '\n'],
      ['id', ''],
    ] as const)
      expect(() => toJson({ attributes: new Map([...attributes, [name, value]]), data: '1' })).toThrow(
        withCode('PABAL_MESSAGE_INVALID', 'attribute'),
      )
  })
})

describe('a batch', () => {
  const one = withMembers('"data": {"a": [1, "]},"]}')

  test('JSON format §4: has any number of events, also none', () => {
    for (const batch of ['[]', ' [ \n ] ', `[${one}]`, `[ ${one} , {${required}}\n]`]) {
      const events = fromJsonBatch(batch, limits)
      expect(events).toHaveLength((JSON.parse(batch) as unknown[]).length)
      expect(fromJsonBatch(toJsonBatch(events), limits)).toEqual(events)
    }
    expect(fromJsonBatch(`[${one}]`, limits)[0]!.data).toBe(' {"a": [1, "]},"]}')
  })

  test.each([
    ['of something else', '[1]', 'PABAL_MESSAGE_INVALID', 'not a JSON object'],
    ['that is one event', one, 'PABAL_MESSAGE_INVALID', 'not a JSON array'],
    ['with one that is none', `[${one},{}]`, 'PABAL_MESSAGE_INVALID', 'lacks'],
    ['of another specversion (CE-2)', `[${one.replace('1.0', '1.1')}]`, 'PABAL_MESSAGE_INVALID', 'specversion'],
    ['of too many', `[${[one, one, one, one].join(',')}]`, 'PABAL_MESSAGE_TOO_LARGE', 'batchEvents'],
    ['of too much', `[${' '.repeat(10_000)}]`, 'PABAL_MESSAGE_TOO_LARGE', 'batchBytes'],
    ['that is too deep', `[${withMembers(`"data":${'['.repeat(65)}`)}]`, 'PABAL_PAYLOAD_TOO_DEEP', '66'],
  ])('JSON format §4: %s is refused', (_title, text, code, reason) => {
    expect(() => fromJsonBatch(text, limits)).toThrow(withCode(code, reason))
  })
})
