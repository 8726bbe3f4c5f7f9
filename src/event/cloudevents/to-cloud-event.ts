/** Our events as CloudEvents: which attribute says what. */

import type { EventRecord } from '../envelope.ts'
import type { AttributeValue, CloudEvent } from './cloud-event.ts'
import { toJson } from './structured.ts'

/** Where an event stands, for those who cannot look into its log. */
export interface StreamPlace {
  /** Id of the stream: a part of the identity of a consumer's place, so it never changes. */
  readonly stream: string
  /** The log's life between two restores. */
  readonly incarnation: string
  /** Id of the event before it of its key on this stream; undefined for a first one, and where it is not known any more. */
  readonly previousId?: string | undefined
}

export interface CloudEventOptions {
  readonly place?: StreamPlace | undefined
  /** Metadata stays inside of the context unless somebody says otherwise: attributes get logged on their way (CE-6). Default false. */
  readonly withMetadata?: boolean | undefined
  /** It was published here, so its payload is a text of our own codec; one that was received may hold anything. Default false. */
  readonly ours?: boolean | undefined
}

const sourcePrefix = 'urn:pabal:'

export const sourceUri = (context: string): string => `${sourcePrefix}${context}`

/** The context of a source that is one of ours. */
export const contextOf = (source: string): string | undefined =>
  source.startsWith(sourcePrefix) && source.length > sourcePrefix.length ? source.slice(sourcePrefix.length) : undefined

/**
 * `partitionkey` is the key, and so is `subject`, since whoever forwards an event may change the former; `streamversion` is its
 * sequence, `previousversion` that of the event before it of its key on this stream. Both are texts: a CloudEvents Integer ends
 * at 2^31 - 1, sequences do not. What the event's definition declares for filters goes under its own names.
 */
export const toCloudEvent = (event: EventRecord, { place, withMetadata, ours }: CloudEventOptions = {}): CloudEvent => {
  const attributes: readonly (readonly [name: string, value: AttributeValue | undefined])[] = [
    ['specversion', '1.0'],
    ['id', event.id],
    ['source', sourceUri(event.source)],
    ['type', event.type],
    ['time', event.time],
    ['datacontenttype', 'application/json'],
    ['subject', event.key],
    ['partitionkey', event.key],
    ['streamversion', String(event.sequence)],
    ['previousversion', event.previousSequence === undefined ? undefined : String(event.previousSequence)],
    ['previousid', place?.previousId],
    ['stream', place?.stream],
    ['incarnation', place?.incarnation],
    ['dataversion', event.version === 1 ? undefined : event.version],
    ['correlationid', event.correlationId],
    ['causationid', event.causationId],
    ['hopcount', event.hopCount],
    ['traceparent', event.traceparent],
    ...(event.attributes ?? []),
    ['metadata', withMetadata && event.metadataText !== null ? asAttribute(event.metadataText) : undefined],
  ]
  const set = attributes.filter((pair): pair is [string, AttributeValue] => pair[1] !== undefined)
  return { attributes: new Map(set), data: event.text, ...(ours ? { ours } : {}) }
}

/** Structured JSON text. The payload's text is copied, not parsed and written again, so that it stays exact. */
export const toCloudEventText = (event: EventRecord): string => toJson(toCloudEvent(event))

/** JSON text without what a String of CloudEvents may not hold: in JSON each such character has an escape of the same meaning. */
const asAttribute = (json: string): string =>
  json
    .replaceAll(/[\t\n\r]/g, ' ')
    .replaceAll(/[\p{Cc}\p{Cs}\p{NChar}]/gu, (character) =>
      Array.from(
        { length: character.length },
        (_, i) => `\\u${character.charCodeAt(i).toString(16).padStart(4, '0')}`,
      ).join(''),
    )
