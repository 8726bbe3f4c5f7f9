/** What a subscription reads: the own log, or another context's log in its public form. Positions are those of the log behind it. */

import { readIn } from '../context/scope.ts'
import { type EntryDefinition, isMessage } from '../event/definition.ts'
import { type EventRecord, recordOf, type StoredEvent } from '../event/envelope.ts'
import { receivedKeyPrefix } from '../event/reserved.ts'
import type { ContextStore, Database, Head, LaneFilter } from '../store/store.ts'

/** A stream of which another one was a part. */
export interface Trunk {
  readonly stream: string
  /** Its source, where it was received as a whole; elsewhere it was read in the producer's log. */
  readonly source: string
  /** What this handler wants of it beside this stream, as `wants`. */
  readonly wants: readonly string[]
  /** Whether the event came there, as far as that is kept. */
  readonly brought: (event: EventRecord) => Promise<boolean>
}

export interface EventSource {
  /** The log that it reads, as cursors name it: a context, or what was received from one. */
  readonly name: string
  /** The context that the events are of. */
  readonly producer: string
  /** The stable id of the stream that inbox heads belong to; undefined for the own log, which needs no inbox. */
  readonly stream: string | undefined
  /** What its events were part of before they had a stream of their own: who read there goes on from where that was. */
  readonly branchOf?: Trunk
  /** What it gives, up to which version, in words that are the same for the same. */
  readonly wants: readonly string[]
  /** Not all that was ever handled of a key is to be found here. */
  readonly isPart?: boolean
  /** Grows when the log behind it may have become another: places in it must be checked again. */
  readonly generation: number
  head(): Promise<Head>
  readAfter(options: {
    readonly after: number
    readonly lane: LaneFilter
    readonly limit: number
  }): Promise<{ readonly events: readonly EventRecord[]; readonly through: number }>
  /** One key's events from a sequence on. */
  readKey(key: string, from: number, limit: number): Promise<readonly EventRecord[]>
  /** Id of the event at a position; undefined when none is there (any more). */
  identityAt(position: number): Promise<string | undefined>
  /** Id of a key's event; undefined when it is not there (any more). */
  identityOf(key: string, sequence: number): Promise<string | undefined>
  /** Events after a position (of one lane) that this source would give, for lag and plans. */
  count(after: number, lane?: LaneFilter): Promise<number>
  /** Position of the oldest event that is still there. */
  oldest(): Promise<number>
  /** Tells the log's own database how far a consumer of another context has read, for its retention; undefined for the own log. */
  readonly report: ((reader: string, position: number) => Promise<void>) | undefined
  /** Calls back when there may be something new. */
  onAppend(listener: () => void): () => void
}

/** Wakes whoever waits for a log. A lost ring loses time, never an event: cursors are the truth. */
export class Bell {
  readonly #listeners = new Set<() => void>()
  ring(): void {
    for (const listener of this.#listeners) listener()
  }
  onRing(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }
}

/** A context's own log, as its own handlers read it. */
export class OwnLog implements EventSource {
  readonly name: string
  readonly producer: string
  readonly stream = undefined
  readonly report = undefined
  readonly #database: Database
  readonly #store: ContextStore
  readonly #definitions: ReadonlyMap<string, EntryDefinition>
  readonly #types: readonly string[]
  readonly #bell: Bell
  readonly #hasMessages: boolean

  constructor(parts: {
    readonly database: Database
    readonly store: ContextStore
    readonly definitions: readonly EntryDefinition[]
    readonly bell: Bell
  }) {
    this.name = parts.store.name
    this.producer = parts.store.name
    this.#database = parts.database
    this.#store = parts.store
    this.#definitions = new Map(parts.definitions.map((definition) => [definition.type, definition]))
    this.#types = [...this.#definitions.keys()]
    this.#bell = parts.bell
    this.#hasMessages = parts.definitions.some(isMessage)
  }

  get generation(): number {
    return this.#database.generation
  }

  get wants(): readonly string[] {
    return [...this.#definitions.values()].map(({ type, version }) => `${type} ${version}`)
  }

  /** Messages that others have sent stand in the same log, with the type of ours: they have a source of their own. */
  #records(rows: readonly StoredEvent[]): EventRecord[] {
    return rows
      .filter(({ key }) => !key.startsWith(receivedKeyPrefix))
      .map((row) => recordOf(this.#definitions.get(row.type)!, this.name, row))
  }

  head(): Promise<Head> {
    return readIn(this.#database, (session) => this.#store.log.head(session))
  }

  async readAfter({
    after,
    lane,
    limit,
  }: Parameters<EventSource['readAfter']>[0]): ReturnType<EventSource['readAfter']> {
    const { events, through } = await readIn(this.#database, (session) =>
      this.#store.log.readAfter(session, { after, types: this.#types, lane, limit }),
    )
    return { events: this.#records(events), through }
  }

  async readKey(key: string, from: number, limit: number): Promise<readonly EventRecord[]> {
    return this.#records(
      await readIn(this.#database, (session) =>
        this.#store.log.readKey(session, key, { from, types: this.#types, limit }),
      ),
    )
  }

  async identityAt(position: number): Promise<string | undefined> {
    return (await readIn(this.#database, (session) => this.#store.log.at(session, position)))?.id
  }

  async identityOf(key: string, sequence: number): Promise<string | undefined> {
    const [event] = await readIn(this.#database, (session) =>
      this.#store.log.readKey(session, key, { from: sequence, limit: 1 }),
    )
    return event?.sequence === sequence ? event.id : undefined
  }

  count(after: number, lane?: LaneFilter): Promise<number> {
    const exceptPrefix = this.#hasMessages ? receivedKeyPrefix : undefined
    return readIn(this.#database, (session) =>
      this.#store.log.count(session, { after, types: this.#types, lane, exceptPrefix }),
    )
  }

  oldest(): Promise<number> {
    return readIn(this.#database, (session) => this.#store.log.oldest(session))
  }

  onAppend(listener: () => void): () => void {
    return this.#bell.onRing(listener)
  }
}
