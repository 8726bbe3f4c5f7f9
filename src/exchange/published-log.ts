/**
 * Another context's log in its public form: mapped when read, not stored twice. Each event carries its private sequence, and the
 * sequence of the one before it on this stream and key, so that the inbox tells a gap from what was not published.
 */

import { readIn } from '../context/scope.ts'
import { PabalError } from '../core/errors.ts'
import { type EventRecord, recordOf, type StoredEvent } from '../event/envelope.ts'
import type { JsonLimits } from '../event/json.ts'
import { type Publication, toPublic } from '../event/publication.ts'
import type { ContextStore, Database, Head, LaneFilter, Session } from '../store/store.ts'
import type { Bell, EventSource } from '../subscription/source.ts'

/** The one stream of a context's public events; its id is part of every inbox row and never changes. */
export const publicStream = 'public'

export interface PublishedLogParts {
  readonly database: Database
  readonly store: ContextStore
  /** Of the producing context, for those public types that the consumer wants; earlier ones win where one event has several. */
  readonly publications: readonly Publication[]
  readonly limits: JsonLimits
  readonly bell: Bell
}

export class PublishedLog implements EventSource {
  readonly name: string
  readonly stream: string = publicStream
  readonly report = (reader: string, position: number): Promise<void> =>
    this.#parts.database.transaction(async (session) => this.#parts.store.readers.report(session, reader, position))
  readonly #parts: PublishedLogParts
  readonly #byType = new Map<string, Publication[]>()
  readonly #types: readonly string[]

  constructor(parts: PublishedLogParts) {
    this.name = parts.store.name
    this.#parts = parts
    for (const publication of parts.publications) {
      const { type } = publication.from
      this.#byType.set(type, [...(this.#byType.get(type) ?? []), publication])
    }
    this.#types = [...this.#byType.keys()]
  }

  get generation(): number {
    return this.#parts.database.generation
  }

  #read<R>(fn: (session: Session) => R | Promise<R>): Promise<R> {
    return readIn(this.#parts.database, fn)
  }

  head(): Promise<Head> {
    return this.#read((session) => this.#parts.store.log.head(session))
  }

  readAfter({ after, lane, limit }: Parameters<EventSource['readAfter']>[0]): ReturnType<EventSource['readAfter']> {
    return this.#read(async (session) => {
      const { events, through } = await this.#parts.store.log.readAfter(session, {
        after,
        types: this.#types,
        lane,
        limit,
      })
      return { events: await this.#publish(session, events), through }
    })
  }

  readKey(key: string, from: number, limit: number): Promise<readonly EventRecord[]> {
    return this.#read(async (session) =>
      this.#publish(session, await this.#parts.store.log.readKey(session, key, { from, types: this.#types, limit })),
    )
  }

  /** The public event of a row; undefined when it is not published. What fails to map is published as a failure. */
  #map(row: StoredEvent): EventRecord | undefined {
    const publications = this.#byType.get(row.type)!
    const event = recordOf(publications[0]!.from, this.name, row)
    try {
      for (const publication of publications) {
        const published = toPublic(publication, event, this.#parts.limits)
        if (published !== undefined) return published
      }
      return undefined
    } catch (error) {
      const broken = recordOf(publications[0]!.to, this.name, row)
      broken.failure =
        error instanceof PabalError
          ? error
          : new PabalError('PABAL_PUBLICATION_FAILED', `${row.type} ${row.id}: ${String(error)}`)
      return broken
    }
  }

  async #publish(session: Session, rows: readonly StoredEvent[]): Promise<EventRecord[]> {
    const published: EventRecord[] = []
    const last = new Map<string, number>()
    for (const row of rows) {
      const event = this.#map(row)
      if (event === undefined) continue
      event.previousSequence = last.get(row.key) ?? (await this.#previous(session, row))
      last.set(row.key, row.sequence)
      published.push(event)
    }
    return published
  }

  /** The sequence that was published before this one on the key; 0 when none was. */
  async #previous(session: Session, row: StoredEvent): Promise<number> {
    for (let before = row.sequence; before > 1; ) {
      const found = await this.#parts.store.log.previous(session, row.key, before, this.#types)
      if (found === undefined) return 0
      if ('droppedSequence' in found) return found.droppedSequence
      if (this.#map(found) !== undefined) return found.sequence
      before = found.sequence
    }
    return 0
  }

  async identityAt(position: number): Promise<string | undefined> {
    return (await this.#read((session) => this.#parts.store.log.at(session, position)))?.id
  }

  async identityOf(key: string, sequence: number): Promise<string | undefined> {
    const [event] = await this.#read((session) =>
      this.#parts.store.log.readKey(session, key, { from: sequence, limit: 1 }),
    )
    return event?.sequence === sequence ? event.id : undefined
  }

  count(after: number, lane?: LaneFilter): Promise<number> {
    return this.#read((session) => this.#parts.store.log.count(session, { after, types: this.#types, lane }))
  }

  oldest(): Promise<number> {
    return this.#read((session) => this.#parts.store.log.oldest(session))
  }

  onAppend(listener: () => void): () => void {
    return this.#parts.bell.onRing(listener)
  }
}
