/**
 * What a context has received from another one, as its handlers read it: entries of its own log, under keys of their own, seen
 * again as the public events that they came as.
 */

import { readIn } from '../context/scope.ts'
import { isPabalError, PabalError } from '../core/errors.ts'
import { type EntryDefinition, upcast } from '../event/definition.ts'
import { EventRecord, type StoredEvent } from '../event/envelope.ts'
import { decodeJson, type JsonLimits } from '../event/json.ts'
import type { SequencedEvent } from '../event/cloudevents/received-event.ts'
import { receivedKeyPrefix } from '../event/reserved.ts'
import type { ContextStore, Database, Head, Session } from '../store/store.ts'
import type { Bell, EventSource, Trunk } from '../subscription/source.ts'
import { channelOf, publicStream } from './exchange.ts'

/** Where a received event stands in its producer's stream; kept with the entry. */
interface Place {
  readonly sequence: number
}

/** What a foreign producer calls its event; kept with the entry, whose own sequence is the event's. */
export interface Identity {
  readonly source: string
  readonly id: string
  /** When it happened, as it says. */
  readonly timeMs?: number
}

/** What is received: a stream of a context. */
export interface Origination {
  /** The producing context. */
  readonly source: string
  readonly stream: string
}

/** A producer's keys have a space of their own, for each of its streams: one that we use too is another key. */
export const storedKey = ({ source, stream }: Origination, key: string): string =>
  `${receivedKeyPrefix}${channelOf(source, stream).context}:${key}`

/** An event as an entry of the receiver's log. Its payload is checked when it is read, so that one that does not fit parks its key. */
export const receivedRecord = (event: SequencedEvent, of: Origination, nowMs: number): EventRecord => {
  const place: Place = { sequence: event.sequence }
  // All that a log stores of a definition; who reads the entry has the whole.
  const definition = { type: event.type } as EntryDefinition
  const record = new EventRecord(definition, of.source, {
    id: event.id,
    key: storedKey(of, event.key),
    version: event.version,
    text: event.text ?? 'null',
    timeMs: event.timeMs ?? nowMs,
    correlationId: event.correlationId ?? event.id,
    causationId: event.causationId,
    hopCount: event.hopCount ?? 0,
    traceparent: event.traceparent,
    metadataText: JSON.stringify(place),
  })
  // Lanes are by the key that handlers see.
  record.laneKey = event.key
  return record
}

export interface ReceivedLogParts extends Origination {
  readonly database: Database
  readonly store: ContextStore
  readonly definitions: readonly EntryDefinition[]
  readonly limits: JsonLimits
  readonly bell: Bell
  /** Types that the same handler wants of the public stream, of which this was a part. */
  readonly besides?: readonly string[]
}

const namePrefix = 'received/'
export const receivedName = (channel: string): string => `${namePrefix}${channel}`

/** A cursor's source: not another context's log, but what was received from it. */
export const isReceived = (source: string): boolean => source.startsWith(namePrefix)

export class ReceivedLog implements EventSource {
  readonly name: string
  readonly producer: string
  readonly stream: string
  readonly branchOf?: Trunk
  readonly report = undefined
  /** What came another way before it was received here does not stand here, nor what nobody here wants. */
  readonly isPart = true
  readonly #parts: ReceivedLogParts
  readonly #definitions: ReadonlyMap<string, EntryDefinition>
  readonly #types: readonly string[]

  constructor(parts: ReceivedLogParts) {
    this.name = receivedName(channelOf(parts.source, parts.stream).context)
    this.producer = parts.source
    this.stream = parts.stream
    if (parts.stream !== publicStream)
      this.branchOf = {
        stream: publicStream,
        source: receivedName(channelOf(parts.source, publicStream).context),
        wants: parts.besides ?? [],
        brought: (event) => this.#read((session) => this.#came(session, event)),
      }
    this.#parts = parts
    this.#definitions = new Map(parts.definitions.map((definition) => [definition.type, definition]))
    this.#types = [...this.#definitions.keys()]
  }

  /** Types alone: a receiver of another process enters what it does not know. */
  get wants(): readonly string[] {
    return this.#types
  }

  get generation(): number {
    return this.#parts.database.generation
  }

  #read<R>(fn: (session: Session) => R | Promise<R>): Promise<R> {
    return readIn(this.#parts.database, fn)
  }

  /** Several producers may publish one type; only entries of ours are. */
  #isOurs({ key }: StoredEvent): boolean {
    return key.startsWith(storedKey(this.#parts, ''))
  }

  #records(rows: readonly StoredEvent[]): EventRecord[] {
    return rows.filter((row) => this.#isOurs(row)).map((row) => this.#record(row))
  }

  #record(row: StoredEvent): EventRecord {
    const definition = this.#definitions.get(row.type)!
    const key = row.key.slice(storedKey(this.#parts, '').length)
    const { data, failure } = this.#payload(definition, row, key)
    const told = toldBy(row)
    const fields = {
      id: row.id,
      key,
      version: row.version,
      text: row.data,
      timeMs: ('id' in told ? told.timeMs : undefined) ?? row.time_ms,
      correlationId: row.correlation_id ?? row.id,
      causationId: row.causation_id ?? undefined,
      hopCount: row.hops,
      traceparent: row.traceparent ?? undefined,
      metadataText: null,
    }
    const record = new EventRecord(definition, this.producer, fields, data)
    record.position = row.position
    record.sequence = sequenceOf(row)
    // What is between was looked at when it was received: nothing that this consumer wants is missing.
    record.previousSequence = 0
    record.failure = failure
    return record
  }

  #payload(definition: EntryDefinition, row: StoredEvent, key: string): { data?: unknown; failure?: Error } {
    try {
      const decoded = decodeJson(row.data, this.#parts.limits, row.type)
      const data = definition['~pabal'].parse(upcast(definition, row.version, decoded))
      const own = definition['~pabal'].key(data)
      // What a foreign producer sends was given the key that could be had when it came.
      if (own === key || 'id' in toldBy(row)) return { data }
      const detail = `${row.type} ${row.id}: it came with the key ${JSON.stringify(key)}, its payload says ${JSON.stringify(own)}`
      return { failure: new PabalError('PABAL_PAYLOAD_INVALID', detail) }
    } catch (error) {
      return { failure: isPabalError(error) ? error : new PabalError('PABAL_PAYLOAD_INVALID', String(error)) }
    }
  }

  head(): Promise<Head> {
    return this.#read((session) => this.#parts.store.log.head(session))
  }

  async readAfter({
    after,
    lane,
    limit,
  }: Parameters<EventSource['readAfter']>[0]): ReturnType<EventSource['readAfter']> {
    const { events, through } = await this.#read((session) =>
      this.#parts.store.log.readAfter(session, { after, types: this.#types, lane, limit }),
    )
    return { events: this.#records(events), through }
  }

  readKey(key: string, from: number, limit: number): Promise<readonly EventRecord[]> {
    return this.#read(async (session) => {
      const own = await this.#ownSequence(session, key, from)
      const rows = await this.#parts.store.log.readKey(session, storedKey(this.#parts, key), {
        from: own,
        types: this.#types,
        limit,
      })
      return this.#records(rows)
    })
  }

  /** Both sequences go up together, and the producer's is never behind ours: what it did not publish has a number there. */
  async #ownSequence(session: Session, key: string, from: number, of: Origination = this.#parts): Promise<number> {
    let low = 1
    let high = from
    while (low < high) {
      const middle = Math.floor((low + high) / 2)
      const [row] = await this.#parts.store.log.readKey(session, storedKey(of, key), { from: middle, limit: 1 })
      if (row === undefined || sequenceOf(row) >= from) high = middle
      else low = row.sequence + 1
    }
    return low
  }

  /** With the public stream. What retention has dropped there came, as all that was before it. */
  async #came(session: Session, { id, key, sequence, type }: EventRecord): Promise<boolean> {
    const { log } = this.#parts.store
    const trunk = { source: this.#parts.source, stream: publicStream }
    const stored = storedKey(trunk, key)
    const from = await this.#ownSequence(session, key, sequence, trunk)
    const [there] = await log.readKey(session, stored, { from, limit: 1 })
    if (there?.id === id) return true
    const [oldest] = await log.readKey(session, stored, { from: 1, limit: 1 })
    if (oldest !== undefined) return oldest.sequence > 1 && sequence < sequenceOf(oldest)
    const before = await log.previous(session, stored, Number.MAX_SAFE_INTEGER, [type])
    return before !== undefined && 'droppedSequence' in before
  }

  async identityAt(position: number): Promise<string | undefined> {
    return (await this.#read((session) => this.#parts.store.log.at(session, position)))?.id
  }

  async identityOf(key: string, sequence: number): Promise<string | undefined> {
    const [event] = await this.readKey(key, sequence, 1)
    return event?.sequence === sequence ? event.id : undefined
  }

  count(after: number, lane?: Parameters<EventSource['count']>[1]): Promise<number> {
    const prefix = storedKey(this.#parts, '')
    return this.#read((session) => this.#parts.store.log.count(session, { after, types: this.#types, lane, prefix }))
  }

  oldest(): Promise<number> {
    return this.#read((session) => this.#parts.store.log.oldest(session))
  }

  onAppend(listener: () => void): () => void {
    return this.#parts.bell.onRing(listener)
  }
}

const toldBy = ({ metadata }: StoredEvent): Place | Identity => JSON.parse(metadata!) as Place | Identity

const sequenceOf = (row: StoredEvent): number => {
  const told = toldBy(row)
  return 'sequence' in told ? told.sequence : row.sequence
}

/** Of which channel an entry is, and where it stands there; undefined for an event of the log's own context. */
export const receivedFrom = (
  row: StoredEvent,
): { readonly channel: string; readonly key: string; readonly sequence: number } | undefined => {
  if (!row.key.startsWith(receivedKeyPrefix)) return undefined
  const rest = row.key.slice(receivedKeyPrefix.length)
  const end = rest.indexOf(':')
  return { channel: rest.slice(0, end), key: rest.slice(end + 1), sequence: sequenceOf(row) }
}
