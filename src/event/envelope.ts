/** What goes with a payload: identity, key and sequence, cause and correlation; and the record that carries both. */

import { type DataOf, type EntryDefinition, upcast } from './definition.ts'

/** An event as a before-commit handler sees it: raised, not yet appended. */
export interface Raised<Type extends string = string, Data = unknown, Metadata = unknown> {
  /** UUIDv7; the event's identity everywhere and for ever. Of a foreign producer's event a UUIDv8, made of its source and id. */
  readonly id: string
  readonly type: Type
  /** What order is kept for. */
  readonly key: string
  readonly data: Data
  /** When it was raised, ISO 8601 in UTC. */
  readonly time: string
  /** Common to everything that one request has caused: the id of its first event or command. */
  readonly correlationId: string
  /** The event or command that caused this one; undefined for a first one. */
  readonly causationId: string | undefined
  /** Links of the chain of events before this one. */
  readonly hopCount: number
  /** W3C trace context of the creation. */
  readonly traceparent: string | undefined
  /** The context's common metadata (actor, tenant, …). */
  readonly metadata: Metadata
}

/** An event as durable and after-commit handlers see it. */
export interface Envelope<Type extends string = string, Data = unknown, Metadata = unknown>
  extends Raised<Type, Data, Metadata> {
  /** The context that it happened in, or the name of the foreign producer. */
  readonly source: string
  /** 1, 2, 3 … within its key, without a gap (P3). A public event keeps the private event's; a foreign producer's is counted as it comes. */
  readonly sequence: number
}

/**
 * Distributes over unions, so that `type` is literal and narrows `data`. A message that another context has sent comes without
 * metadata.
 */
export type EnvelopeOf<D, Metadata = unknown> =
  D extends EntryDefinition<infer Type, infer _Data, never, infer S>
    ? Envelope<Type, DataOf<D>, S extends 'message' ? Metadata | undefined : Metadata>
    : never
export type RaisedOf<D, Metadata = unknown> =
  D extends EntryDefinition<infer Type, infer _Data, never> ? Raised<Type, DataOf<D>, Metadata> : never

/** What a store keeps of an event, column by column. */
export interface StoredEvent {
  /** Place in the log, gapless from 1. */
  readonly position: number
  readonly id: string
  readonly key: string
  readonly sequence: number
  readonly type: string
  readonly version: number
  /** The payload's exact JSON text. */
  readonly data: string
  /** The common metadata's JSON text. */
  readonly metadata: string | null
  /** Null when the event is the first of its correlation. */
  readonly correlation_id: string | null
  readonly causation_id: string | null
  readonly hops: number
  readonly traceparent: string | null
  /** Milliseconds since 1970. */
  readonly time_ms: number
}

/** The cause of what a unit raises. */
export interface Cause {
  readonly id: string
  readonly correlationId: string
  readonly hopCount: number
  readonly traceparent: string | undefined
}

const unparsed = Symbol('unparsed')

/**
 * One event on its way through the house. Raised, it holds the payload and its text; read from a log, it holds the text and
 * parses it (and applies upcasters) when a handler first looks at `data`.
 */
export class EventRecord implements Envelope {
  /** 0 until appended. */
  position = 0
  sequence = 0
  /** The last sequence of the key that the raiser has seen (0: none); append refuses another. */
  expectedSequence: number | undefined
  /** Sequence of the event before it on the same stream and key; set on public events. */
  previousSequence: number | undefined
  /** Id of that event, where it is known. */
  previousId: string | undefined
  /** Of a public event that is published here: what others may filter by. */
  attributes: ReadonlyMap<string, string> | undefined
  /** What its lane goes by: the key, unless it is kept under another one. */
  laneKey: string
  /** Why the event cannot be handed to anyone (its publication failed); the key that it belongs to parks with it. */
  failure: Error | undefined
  readonly definition: EntryDefinition
  readonly source: string
  readonly id: string
  readonly key: string
  readonly version: number
  readonly text: string
  readonly timeMs: number
  readonly correlationId: string
  readonly causationId: string | undefined
  readonly hopCount: number
  readonly traceparent: string | undefined
  readonly metadataText: string | null
  #data: unknown
  #metadata: unknown = unparsed

  constructor(
    definition: EntryDefinition,
    source: string,
    fields: {
      id: string
      key: string
      version: number
      text: string
      timeMs: number
      correlationId: string
      causationId: string | undefined
      hopCount: number
      traceparent: string | undefined
      metadataText: string | null
    },
    data: unknown = unparsed,
  ) {
    this.definition = definition
    this.source = source
    this.id = fields.id
    this.key = fields.key
    this.laneKey = fields.key
    this.version = fields.version
    this.text = fields.text
    this.timeMs = fields.timeMs
    this.correlationId = fields.correlationId
    this.causationId = fields.causationId
    this.hopCount = fields.hopCount
    this.traceparent = fields.traceparent
    this.metadataText = fields.metadataText
    this.#data = data
  }

  get type(): string {
    return this.definition.type
  }

  /** @throws PABAL_UNKNOWN_EVENT_VERSION, PABAL_UPCAST_FAILED, PABAL_PUBLICATION_FAILED */
  get data(): unknown {
    // What could not be published is still the private payload: nobody else's to read.
    if (this.failure !== undefined) throw this.failure
    if (this.#data === unparsed) this.#data = upcast(this.definition, this.version, JSON.parse(this.text))
    return this.#data
  }

  get time(): string {
    return new Date(this.timeMs).toISOString()
  }

  get metadata(): unknown {
    if (this.#metadata === unparsed)
      this.#metadata = this.metadataText === null ? undefined : JSON.parse(this.metadataText)
    return this.#metadata
  }

  toJSON(): Envelope {
    const { id, source, type, key, sequence, time, correlationId, causationId, hopCount, traceparent, metadata, data } =
      this
    return { id, source, type, key, sequence, time, correlationId, causationId, hopCount, traceparent, metadata, data }
  }
}

/** A row of a log as a record. */
export const recordOf = (definition: EntryDefinition, source: string, row: StoredEvent): EventRecord => {
  const record = new EventRecord(definition, source, {
    id: row.id,
    key: row.key,
    version: row.version,
    text: row.data,
    timeMs: row.time_ms,
    correlationId: row.correlation_id ?? row.id,
    causationId: row.causation_id ?? undefined,
    hopCount: row.hops,
    traceparent: row.traceparent ?? undefined,
    metadataText: row.metadata,
  })
  record.position = row.position
  record.sequence = row.sequence
  return record
}
