/** What leaves a context: which private event becomes which public one, and how; and messages, which leave as they are. Pure. */

import { PabalError } from '../core/errors.ts'
import { attributesOf } from './attributes.ts'
import type {
  EntryDefinition,
  EventDefinition,
  InputOf,
  MessageDefinition,
  PublicEventDefinition,
  SharedDefinition,
} from './definition.ts'
import { EventRecord, type EnvelopeOf } from './envelope.ts'
import { encodeJson, type JsonLimits } from './json.ts'

export interface Publication {
  /** A private event, or a message. */
  readonly from: EntryDefinition
  readonly to: SharedDefinition
  /** Null: this one is not published. */
  readonly map: (event: EventRecord) => unknown
}

/**
 * Says how a private event is told to others. `map` must be pure (it runs whenever the event is relayed or read again) and
 * may return null to publish nothing. The public event keeps id, key, sequence, time and cause of the private one.
 */
export const publish = <From extends EventDefinition, To extends PublicEventDefinition>(
  from: From,
  to: To,
  map: (event: EnvelopeOf<From>) => InputOf<To> | null,
): Publication => ({ from, to, map: map as unknown as Publication['map'] })

/** A message to another context is told as it was sent: a publication of itself. */
export const sent = (message: MessageDefinition): Publication => ({
  from: message,
  to: message,
  map: ({ data }) => data,
})

/**
 * The public event of a private one, or undefined when the mapping says not to publish it.
 * @throws PABAL_PUBLICATION_FAILED when the mapping throws, its result does not fit the schema, the key is another one, or an
 * attribute is no text
 */
export const toPublic = (publication: Publication, event: EventRecord, limits: JsonLimits): EventRecord | undefined => {
  const { from, to } = publication
  try {
    const mapped = publication.map(event)
    if (mapped === null) return undefined
    // A message's schema has seen it when it was sent.
    const data = from === to ? mapped : to['~pabal'].parse(mapped)
    const key = to['~pabal'].key(data)
    if (key !== event.key)
      throw new Error(
        `its key is ${JSON.stringify(key)}, that of ${event.type} is ${JSON.stringify(event.key)}; a public event keeps it`,
      )
    const record = new EventRecord(
      to,
      event.source,
      {
        id: event.id,
        key: event.key,
        version: to.version,
        text: encodeJson(data, limits, to.type),
        timeMs: event.timeMs,
        correlationId: event.correlationId,
        causationId: event.causationId,
        hopCount: event.hopCount,
        traceparent: event.traceparent,
        metadataText: null,
      },
      data,
    )
    record.position = event.position
    record.sequence = event.sequence
    if (to['~pabal'].attributes !== undefined) record.attributes = attributesOf(to, data)
    return record
  } catch (error) {
    throw new PabalError(
      'PABAL_PUBLICATION_FAILED',
      `${event.type} → ${to.type}: ${error instanceof Error ? error.message : String(error)}`,
      { cause: error },
    )
  }
}
