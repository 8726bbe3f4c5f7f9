/** Events as JSON, one (`application/cloudevents+json`) or many (`…-batch+json`): JSON event format 1.0.2, the data letter for letter. */

import { PabalError } from '../../core/errors.ts'
import {
  base64Of,
  bytesOfBase64,
  checkDepth,
  checkEmbeddable,
  checkPayloadSize,
  exceeds,
  type MessageLimits,
  textOf,
} from './body.ts'
import {
  type Attributes,
  type AttributeValue,
  checkAttributes,
  type CloudEvent,
  invalid,
  isJsonType,
  quoted,
} from './cloud-event.ts'
import { itemsOf, membersOf } from './json-spans.ts'

/** @throws PABAL_MESSAGE_INVALID */
export const toJson = (event: CloudEvent): string => {
  const { attributes, data } = event
  checkAttributes(event)
  const members = [...attributes].map(([name, value]) => `"${name}":${JSON.stringify(value)}`)
  if (data instanceof Uint8Array) members.push(`"data_base64":"${base64Of(data)}"`)
  else if (data !== undefined && isJsonType(attributes.get('datacontenttype'))) {
    if (!event.ours) checkEmbeddable(data, attributes)
    members.push(`"data":${data}`)
  } else if (data !== undefined) members.push(`"data":${JSON.stringify(data)}`)
  return `{${members.join(',')}}`
}

/** @throws PABAL_MESSAGE_INVALID */
export const toJsonBatch = (events: readonly CloudEvent[]): string => `[${events.map(toJson).join(',')}]`

/**
 * One event.
 * @throws PABAL_MESSAGE_INVALID, PABAL_MESSAGE_TOO_LARGE, PABAL_PAYLOAD_TOO_LARGE, PABAL_PAYLOAD_TOO_DEEP
 */
export const fromJson = (body: string | Uint8Array, limits: MessageLimits): CloudEvent => {
  const text = parsed(body, 'object', eventBytes(limits), limits.payloadDepth + 1)
  return eventOf(text, limits)
}

/**
 * Any number of events, also none. One that is no event makes the batch no batch.
 * @throws PABAL_MESSAGE_INVALID, PABAL_MESSAGE_TOO_LARGE, PABAL_PAYLOAD_TOO_LARGE, PABAL_PAYLOAD_TOO_DEEP
 */
export const fromJsonBatch = (body: string | Uint8Array, limits: MessageLimits): readonly CloudEvent[] => {
  const text = parsed(body, 'array', Math.max(limits.batchBytes, eventBytes(limits)), limits.payloadDepth + 2)
  const events: CloudEvent[] = []
  for (const item of itemsOf(text)) {
    if (events.length === limits.batchEvents)
      throw new PabalError(
        'PABAL_MESSAGE_TOO_LARGE',
        `the batch has more than ${limits.batchEvents} events (batchEvents)`,
      )
    if (!item.trimStart().startsWith('{')) throw invalid('an item of the batch is not a JSON object')
    events.push(eventOf(item, limits))
  }
  return events
}

/** The largest data, in base64, and the attributes. */
const eventBytes = ({ payloadBytes, messageHeaderBytes }: MessageLimits): number =>
  Math.ceil(payloadBytes / 3) * 4 + messageHeaderBytes

/** The text, of which size and depth were looked at before the parser saw it. What is parsed is thrown away: it is not the text. */
const parsed = (body: string | Uint8Array, shape: 'object' | 'array', bytes: number, depth: number): string => {
  if (exceeds(body, bytes))
    throw new PabalError(
      'PABAL_MESSAGE_TOO_LARGE',
      `the message is larger than ${bytes} bytes (${shape === 'array' ? 'batchBytes' : 'payloadBytes in base64, and messageHeaderBytes'})`,
    )
  const text = textOf(body, 'document', 'the message')
  checkDepth(text, depth)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    // The parser's own message quotes the text, which may be private.
    throw invalid('the message is not JSON')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value) !== (shape === 'array'))
    throw invalid(`the message is not a JSON ${shape}`)
  return text
}

const eventOf = (text: string, limits: MessageLimits): CloudEvent => {
  const attributes = new Map<string, AttributeValue>()
  const names = new Set<string>()
  const data: { text?: string; base64?: string } = {}
  let bytes = 0
  for (const [name, value] of membersOf(text)) {
    if (names.has(name)) throw invalid(`${quoted(name)} is there twice`)
    names.add(name)
    if (name === 'data') data.text = value
    else if (name === 'data_base64') data.base64 = value
    else {
      // Attributes are to be few and short; in UTF-16 as good as in UTF-8, since this is no exact science.
      bytes += name.length + value.length
      if (names.size > limits.messageHeaders || bytes > limits.messageHeaderBytes)
        throw new PabalError(
          'PABAL_MESSAGE_TOO_LARGE',
          `the event has more than ${limits.messageHeaders} attributes (messageHeaders) or ${limits.messageHeaderBytes} bytes of them (messageHeaderBytes)`,
        )
      const attribute = attributeOf(name, value.trim())
      if (attribute !== undefined) attributes.set(name, attribute)
    }
  }
  checkAttributes({ attributes })
  return { attributes, data: dataOf(attributes, data, limits) }
}

/** Undefined for null, which means that it is not set. */
const attributeOf = (name: string, text: string): AttributeValue | undefined => {
  if (text === 'null') return undefined
  if (text === 'true' || text === 'false') return text === 'true'
  if (text.startsWith('"')) return JSON.parse(text) as string
  // Neither 1.0 nor 1e3 is an Integer of CloudEvents.
  if (/^-?\d+$/.test(text)) return Number(text) + 0
  throw invalid(`attribute ${quoted(name)} is no text, integer or boolean`)
}

const dataOf = (
  attributes: Map<string, AttributeValue>,
  { text, base64 }: { readonly text?: string; readonly base64?: string },
  limits: MessageLimits,
): CloudEvent['data'] => {
  const contentType = attributes.get('datacontenttype')
  if (base64 !== undefined && base64.trim() !== 'null') {
    if (text !== undefined) throw invalid('it has both data and data_base64', attributes)
    const bytes = bytesOfBase64(stringOf(base64, 'data_base64', attributes), attributes)
    checkPayloadSize(bytes, limits, attributes)
    if (contentType === undefined || !isJsonType(contentType)) return bytes
    const json = textOf(bytes, 'document', 'the data', attributes)
    checkDepth(json, limits.payloadDepth, attributes)
    return json
  }
  if (text === undefined) return undefined
  if (isJsonType(contentType)) {
    checkPayloadSize(text, limits, attributes)
    // Said explicitly, so that it stays so in binary mode (CE-7).
    attributes.set('datacontenttype', contentType ?? 'application/json')
    return text
  }
  if (text.trim() === 'null') return undefined
  const data = stringOf(text, 'data', attributes)
  checkPayloadSize(data, limits, attributes)
  return data
}

const stringOf = (text: string, name: string, of: Attributes): string => {
  const value: unknown = JSON.parse(text)
  if (typeof value !== 'string') throw invalid(`${name} is no text, although the content type is none of JSON`, of)
  return value
}
