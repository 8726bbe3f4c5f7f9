/**
 * CloudEvents in our words: what one says about itself, and what it does not say. Of our own events nothing is missing; one from
 * elsewhere has no place in a stream, and is handled without a sequence.
 */

import { decodeJson, type JsonLimits } from '../json.ts'
import { type Attributes, type AttributeValue, type CloudEvent, invalid, isInteger, isJsonType } from './cloud-event.ts'
import { instantOf } from './timestamp.ts'
import { contextOf } from './to-cloud-event.ts'

/** What every event of ours has, and others may not. */
export const ourAttributes = [
  'time',
  'subject',
  'streamversion',
  'previousversion',
  'stream',
  'incarnation',
  'correlationid',
  'hopcount',
] as const
export type OurAttribute = (typeof ourAttributes)[number]

interface Received {
  readonly id: string
  /** The URI as it came. With `id` the identity of the event (CE-2). */
  readonly source: string
  /** The context of ours that it happened in; undefined for a foreign source. */
  readonly context: string | undefined
  readonly type: string
  /** Of the payload; 1 where nothing is said. */
  readonly version: number
  readonly time: string | undefined
  readonly timeMs: number | undefined
  readonly correlationId: string | undefined
  readonly causationId: string | undefined
  readonly hopCount: number | undefined
  /** Undefined also for one that is malformed, as W3C Trace Context says: a new trace begins. */
  readonly traceparent: string | undefined
  readonly metadataText: string | undefined
  /** Exact text of JSON data; undefined where there is none, or of another type: see `cloudEvent.data`. */
  readonly text: string | undefined
  readonly missing: readonly OurAttribute[]
  /** All that came. */
  readonly cloudEvent: CloudEvent
}

/** It has its place among the events of its key. */
export interface SequencedEvent extends Received {
  readonly sequenced: true
  readonly key: string
  readonly sequence: number
  /** 0 for a first one. */
  readonly previousSequence: number
  /** Undefined for a first one, and where the producer does not know it any more. */
  readonly previousId: string | undefined
  readonly stream: string
  readonly incarnation: string
}

export interface UnsequencedEvent extends Received {
  readonly sequenced: false
  /** `partitionkey`, else `subject`. */
  readonly key: string | undefined
}

export type ReceivedEvent = SequencedEvent | UnsequencedEvent

/**
 * Attributes that are called like ours, but are not like ours, are a fault of an event that says it is ours. In a foreign event
 * they are somebody else's, and ours are missing.
 * @throws PABAL_MESSAGE_INVALID
 */
export const receivedEvent = (cloudEvent: CloudEvent): ReceivedEvent => {
  const { attributes, data } = cloudEvent
  // What a CloudEvent must have was checked when it was decoded.
  const [id, source, type] = ['id', 'source', 'type'].map((name) => attributes.get(name)) as [string, string, string]
  const context = contextOf(source)
  const read = <T>(name: string, as: (value: AttributeValue) => T | undefined): T | undefined => {
    const value = attributes.get(name)
    const found = value === undefined ? undefined : as(value)
    if (value !== undefined && found === undefined && context !== undefined)
      throw invalid(`attribute ${name} is not as pabal writes it`, attributes)
    return found
  }

  const time = attributes.get('time') as string | undefined
  const key = read('subject', keyText)
  const sequence = read('streamversion', sequenceFrom(1))
  const previousSequence = read('previousversion', sequenceBefore(sequence))
  const stream = read('stream', filledText)
  const incarnation = read('incarnation', filledText)
  const correlationId = read('correlationid', keyText)
  const hopCount = read('hopcount', integerFrom(0))
  const ours: Readonly<Record<OurAttribute, unknown>> = {
    time,
    subject: key,
    streamversion: sequence,
    previousversion: previousSequence,
    stream,
    incarnation,
    correlationid: correlationId,
    hopcount: hopCount,
  }
  const received: Received = {
    id,
    source,
    context,
    type,
    version: read('dataversion', integerFrom(1)) ?? 1,
    time,
    timeMs: time === undefined ? undefined : instantOf(time),
    correlationId,
    causationId: read('causationid', keyText),
    hopCount,
    traceparent: traceparentIn(attributes),
    metadataText: read('metadata', filledText),
    text: typeof data === 'string' && isJsonType(attributes.get('datacontenttype')) ? data : undefined,
    missing: ourAttributes.filter((name) => ours[name] === undefined),
    cloudEvent,
  }
  if (
    key === undefined ||
    sequence === undefined ||
    previousSequence === undefined ||
    stream === undefined ||
    incarnation === undefined
  )
    return { ...received, sequenced: false, key: foreignKey(attributes) }
  const previousId = read('previousid', filledText)
  return { ...received, sequenced: true, key, sequence, previousSequence, previousId, stream, incarnation }
}

/**
 * The payload, checked as one that comes from outside.
 * @throws PABAL_PAYLOAD_NOT_JSON, PABAL_PAYLOAD_TOO_DEEP, PABAL_PAYLOAD_TOO_LARGE, PABAL_PAYLOAD_FORBIDDEN_KEY,
 * PABAL_MESSAGE_INVALID when there is no data, or none of JSON
 */
export const payloadOf = ({ text, type, cloudEvent }: ReceivedEvent, limits: JsonLimits): unknown => {
  if (text === undefined) throw invalid('it has no data in JSON', cloudEvent.attributes)
  return decodeJson(text, limits, type)
}

const filledText = (value: AttributeValue): string | undefined =>
  typeof value === 'string' && value !== '' ? value : undefined

/** As long as a key may be: `key` in `definition.ts`. What is indexed must not be longer. */
const keyText = (value: AttributeValue): string | undefined => {
  const text = filledText(value)
  return text !== undefined && text.length <= 500 ? text : undefined
}

/**
 * `partitionkey`, else `subject`; undefined where neither is there.
 * @throws PABAL_MESSAGE_INVALID: to leave a key out that is too long would lose the order that it asks for
 */
export const foreignKey = (attributes: Attributes): string | undefined => {
  const value = [attributes.get('partitionkey'), attributes.get('subject')].find(
    (candidate) => candidate !== undefined && filledText(candidate) !== undefined,
  )
  if (value === undefined) return undefined
  const key = keyText(value)
  if (key === undefined) throw invalid('its key is longer than 500 characters', attributes)
  return key
}

const sequenceFrom =
  (least: number) =>
  (value: AttributeValue): number | undefined =>
    typeof value === 'string' && /^(?:0|[1-9]\d{0,15})$/.test(value) && inRange(Number(value), least)
      ? Number(value)
      : undefined

const sequenceBefore =
  (next: number | undefined) =>
  (value: AttributeValue): number | undefined => {
    const sequence = sequenceFrom(0)(value)
    return sequence !== undefined && sequence < (next ?? Infinity) ? sequence : undefined
  }

const inRange = (value: number, least: number): boolean => Number.isSafeInteger(value) && value >= least

/** An Integer is a number in JSON and a text in headers. */
const integerFrom =
  (least: number) =>
  (value: AttributeValue): number | undefined => {
    const number = typeof value === 'string' && /^(?:0|-?[1-9]\d{0,9})$/.test(value) ? Number(value) : value
    return typeof number === 'number' && isInteger(number) && number >= least ? number : undefined
  }

const traceparentIn = (attributes: Attributes): string | undefined => {
  const value = attributes.get('traceparent')
  if (typeof value !== 'string') return undefined
  const [, version, trace, parent] = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-|$)/.exec(value) ?? []
  if (trace === undefined || parent === undefined || version === 'ff') return undefined
  return /^0+$/.test(trace) || /^0+$/.test(parent) ? undefined : value
}
