/**
 * Events as messages of a protocol and back, in the three content modes. A message is neutral: headers, content type and body, so
 * that a transport only hands it to its client.
 */

import type { Binding } from './binding.ts'
import { checkDepth, checkPayloadSize, checkWritable, type MessageLimits, textOf } from './body.ts'
import {
  type Attributes,
  type AttributeValue,
  checkAttributes,
  type CloudEvent,
  invalid,
  isJsonType,
  quoted,
} from './cloud-event.ts'
import { type HeadersIn, sortHeaders, type SortedHeaders } from './headers.ts'
import { fromJson, fromJsonBatch, toJson, toJsonBatch } from './structured.ts'

export interface Message {
  /** Complete, where the protocol keeps the content type among its headers. */
  readonly headers: Readonly<Record<string, string>>
  /** Of the body; to be set where the protocol has a property for it (AMQP). Undefined where nothing is known of it. */
  readonly contentType: string | undefined
  /** A text goes as UTF-8. Null: no data (on Kafka a record without a value: a tombstone). */
  readonly body: string | Uint8Array | null
}

export interface MessageIn {
  readonly headers?: HeadersIn | undefined
  /** Where the protocol has a property for it; else it is looked up in the headers. */
  readonly contentType?: string | undefined
  readonly body: string | Uint8Array | null | undefined
}

export type Decoded =
  | { readonly mode: 'binary' | 'structured'; readonly event: CloudEvent }
  | { readonly mode: 'batch'; readonly events: readonly CloudEvent[] }

const eventType = 'application/cloudevents'
const batchType = 'application/cloudevents-batch'

/** One event: attributes in headers and the data as the body, or all of it as JSON. @throws PABAL_MESSAGE_INVALID */
export const toMessage = (event: CloudEvent, binding: Binding, mode: 'binary' | 'structured'): Message =>
  mode === 'binary' ? toBinary(event, binding) : jsonMessage(toJson(event), `${eventType}+json`, binding)

/** Several events as one message, where the receiver has asked for it (HTTP). @throws PABAL_MESSAGE_INVALID */
export const toBatchMessage = (events: readonly CloudEvent[], binding: Binding): Message => {
  if (!binding.batches) throw invalid(`${binding.name} has no batches`)
  return jsonMessage(toJsonBatch(events), `${batchType}+json`, binding)
}

/**
 * What came, by its content type. Untrusted: sizes and depths are looked at first.
 * @throws PABAL_MESSAGE_INVALID, PABAL_MESSAGE_TOO_LARGE, PABAL_PAYLOAD_TOO_LARGE, PABAL_PAYLOAD_TOO_DEEP; where the event's
 * attributes were read, the error's `context` has its id, source, type and key
 */
export const fromMessage = (message: MessageIn, binding: Binding, limits: MessageLimits): Decoded => {
  const sorted = sortHeaders(message.headers ?? {}, binding, limits)
  const contentType = message.contentType?.trim() || sorted.contentType
  const mode =
    sorted.count === 0 && contentType === undefined && binding.bareIsStructured ? 'structured' : modeOf(contentType)
  if (mode === 'binary') return { mode, event: fromBinary(message.body, sorted, contentType, binding, limits) }
  if (mode === 'batch' && !binding.batches) throw invalid(`${binding.name} has no batches`)
  const body = message.body ?? ''
  return mode === 'batch' ? { mode, events: fromJsonBatch(body, limits) } : { mode, event: fromJson(body, limits) }
}

/** CloudEvents says: by prefix, in any case, batch first. @throws PABAL_MESSAGE_INVALID for formats other than JSON */
export const modeOf = (contentType: string | undefined): Decoded['mode'] => {
  const [media = '', ...parameters] = (contentType ?? '').split(';').map((part) => part.trim().toLowerCase())
  if (!media.startsWith(eventType)) return 'binary'
  const base = media.startsWith(batchType) ? batchType : eventType
  if (media !== base && media !== `${base}+json`) throw invalid(`the event is ${quoted(media)}, only JSON is known`)
  const charset = parameters.find((parameter) => parameter.startsWith('charset='))?.slice('charset='.length)
  if (charset !== undefined && !isUtf8(charset)) throw invalid(`the event is in ${quoted(charset)}, JSON is in UTF-8`)
  return base === batchType ? 'batch' : 'structured'
}

const isUtf8 = (charset: string): boolean => /^"?(?:utf-?8|us-ascii)"?$/i.test(charset)

const withContentType = (type: string | undefined, { contentTypeHeader }: Binding): Record<string, string> =>
  type === undefined || contentTypeHeader === undefined ? {} : { [contentTypeHeader]: type }

// In lower case: the JavaScript SDK knows no other spelling.
const jsonMessage = (body: string, type: string, binding: Binding): Message => {
  const contentType = `${type}; charset=utf-8`
  return { headers: withContentType(contentType, binding), contentType, body }
}

const toBinary = (event: CloudEvent, binding: Binding): Message => {
  const { attributes, data } = event
  checkAttributes(event)
  // A text without a content type is JSON (CE-7), which in binary mode must be said.
  const contentType =
    (attributes.get('datacontenttype') as string | undefined) ??
    (typeof data === 'string' ? 'application/json' : undefined)
  if (typeof data === 'string') {
    if (!event.ours) checkWritable(data, attributes)
    const charset = /;\s*charset=([^;\s]+)/i.exec(contentType ?? '')?.[1]
    if (charset !== undefined && !isUtf8(charset))
      throw invalid(`the data is a text in ${quoted(charset)}, only UTF-8 is written`, attributes)
  }
  const headers: Record<string, string> = binding.ownDataContentType ? {} : withContentType(contentType, binding)
  for (const [name, value] of attributes)
    if (name !== 'datacontenttype') headers[`${binding.prefix}${name}`] = binding.encode(String(value))
  if (binding.ownDataContentType && contentType !== undefined)
    headers[`${binding.prefix}datacontenttype`] = binding.encode(contentType)
  return { headers, contentType, body: data ?? null }
}

const fromBinary = (
  body: MessageIn['body'],
  sorted: SortedHeaders,
  contentType: string | undefined,
  binding: Binding,
  limits: MessageLimits,
): CloudEvent => {
  const attributes = new Map<string, AttributeValue>()
  for (const [name, value] of sorted.attributes) attributes.set(name, binding.decode(value, name))
  const stated = attributes.get('datacontenttype')
  if (!binding.ownDataContentType && contentType !== undefined) {
    if (stated !== undefined && stated !== contentType)
      throw invalid('datacontenttype is there beside a content type, and is another one')
    attributes.set('datacontenttype', contentType)
  }
  checkAttributes({ attributes })
  return { attributes, data: dataOf(body, attributes, binding, limits) }
}

/** The data is not parsed here: what is wrong inside of it is its handler's business, and the event is known by then. */
const dataOf = (
  body: MessageIn['body'],
  attributes: Attributes,
  binding: Binding,
  limits: MessageLimits,
): CloudEvent['data'] => {
  if (body === null || body === undefined) return undefined
  const contentType = attributes.get('datacontenttype')
  const isJson = contentType !== undefined && isJsonType(contentType)
  if (body.length === 0 && !binding.emptyBodies) return undefined
  checkPayloadSize(body, limits, attributes)
  if (isJson) {
    const text = textOf(body, 'document', 'the data', attributes)
    checkDepth(text, limits.payloadDepth, attributes)
    return text
  }
  // A text of which nobody says what it is would be taken for JSON.
  return typeof body === 'string' && contentType === undefined ? new TextEncoder().encode(body) : body
}
