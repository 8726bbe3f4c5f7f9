/** What the protocols' bindings name and write differently: Kafka, AMQP, NATS, HTTP (CloudEvents 1.0.2), as data. */

import { base64Of, textOf } from './body.ts'
import { type AttributeValue, invalid, quoted } from './cloud-event.ts'
import { percentDecode, percentEncode } from './percent.ts'

export interface Binding {
  readonly name: string
  /** Before an attribute's name, as it is written. */
  readonly prefix: string
  /** All that is read. */
  readonly prefixes: readonly string[]
  /** Names of headers are the same in any case. */
  readonly anyCase: boolean
  /** The header of the body's content type; undefined where messages have a property for it. */
  readonly contentTypeHeader: string | undefined
  /** In binary mode `datacontenttype` is a header like any attribute, not the message's content type. */
  readonly ownDataContentType: boolean
  /** A message without headers is an event in JSON: brokers of before there were headers. */
  readonly bareIsStructured: boolean
  /** Several events may be one message. */
  readonly batches: boolean
  /** A body of no bytes is told from no body. */
  readonly emptyBodies: boolean
  readonly encode: (text: string) => string
  readonly decode: (value: unknown, name: string) => AttributeValue
}

const same = (text: string): string => text

const noValue = (name: string): Error =>
  invalid(`attribute ${quoted(name)} is of a type that its binding does not have`)

const utf8 = (value: unknown, name: string): string => {
  if (typeof value !== 'string' && !(value instanceof Uint8Array)) throw noValue(name)
  return textOf(value, 'attribute', `attribute ${quoted(name)}`)
}

const percent = (value: unknown, name: string): string => percentDecode(utf8(value, name), name)

/** AMQP's own types, or texts: both must be understood. */
const native = (value: unknown, name: string): AttributeValue => {
  switch (typeof value) {
    case 'string':
    case 'boolean':
    case 'number':
      return value
    case 'bigint':
      return Number(value)
    default:
  }
  if (value instanceof Uint8Array) return base64Of(value)
  if (value instanceof Date && !Number.isNaN(value.getTime())) return value.toISOString()
  throw noValue(name)
}

/** Headers are UTF-8. An event without data has no value, which in a compacted topic is a tombstone. */
export const kafka: Binding = {
  name: 'Kafka',
  prefix: 'ce_',
  prefixes: ['ce_'],
  anyCase: false,
  contentTypeHeader: 'content-type',
  ownDataContentType: false,
  bareIsStructured: false,
  batches: false,
  emptyBodies: true,
  encode: same,
  decode: utf8,
}

/**
 * Application properties of AMQP 1.0, headers of 0-9-1 (for which there is no official binding). Values go out as texts: what a
 * client makes of a JavaScript number is not always the `long` that the binding demands, and a text is always right.
 */
export const amqp: Binding = {
  name: 'AMQP',
  prefix: 'cloudEvents_',
  prefixes: ['cloudEvents_', 'cloudEvents:'],
  anyCase: false,
  contentTypeHeader: undefined,
  ownDataContentType: false,
  bareIsStructured: false,
  batches: false,
  emptyBodies: false,
  encode: same,
  decode: native,
}

export const nats: Binding = {
  name: 'NATS',
  prefix: 'ce-',
  prefixes: ['ce-'],
  anyCase: true,
  contentTypeHeader: 'Content-Type',
  ownDataContentType: true,
  bareIsStructured: true,
  batches: false,
  emptyBodies: false,
  encode: percentEncode,
  decode: percent,
}

export const http: Binding = {
  name: 'HTTP',
  prefix: 'ce-',
  prefixes: ['ce-'],
  anyCase: true,
  contentTypeHeader: 'content-type',
  ownDataContentType: false,
  bareIsStructured: false,
  batches: true,
  emptyBodies: false,
  encode: percentEncode,
  decode: percent,
}
