/** Events as CloudEvents 1.0 in structured JSON (CloudEvents spec 1.0.2 and JSON event format). */

import type { EventRecord } from './envelope.ts'

/**
 * Attributes of an event outside the house. `partitionkey` is the key, `streamversion` its sequence, `previousversion` the
 * sequence before it on the same stream and key. Sequences are strings: a CloudEvents Integer ends at 2^31 - 1.
 */
export interface CloudEvent {
  readonly specversion: '1.0'
  readonly id: string
  readonly source: string
  readonly type: string
  readonly time: string
  readonly datacontenttype: 'application/json'
  readonly subject: string
  readonly partitionkey: string
  readonly streamversion: string
  readonly previousversion?: string
  readonly dataversion?: number
  readonly correlationid: string
  readonly causationid?: string
  readonly hopcount: number
  readonly traceparent?: string
}

export const sourceUri = (context: string): string => `urn:pabal:${context}`

export const attributesOf = (event: EventRecord): CloudEvent => ({
  specversion: '1.0',
  id: event.id,
  source: sourceUri(event.source),
  type: event.type,
  time: event.time,
  datacontenttype: 'application/json',
  subject: event.key,
  partitionkey: event.key,
  streamversion: String(event.sequence),
  ...(event.previousSequence === undefined ? {} : { previousversion: String(event.previousSequence) }),
  ...(event.version === 1 ? {} : { dataversion: event.version }),
  correlationid: event.correlationId,
  ...(event.causationId === undefined ? {} : { causationid: event.causationId }),
  hopcount: event.hopCount,
  ...(event.traceparent === undefined ? {} : { traceparent: event.traceparent }),
})

/** Structured JSON text. The payload's text is copied, not parsed and written again, so that it stays exact. */
export const toCloudEventText = (event: EventRecord): string => {
  const attributes = JSON.stringify(attributesOf(event))
  return `${attributes.slice(0, -1)},"data":${event.text}}`
}
