/**
 * Another context's log in its public form: mapped when read, not stored twice. Each event carries its private sequence, and the
 * sequence of the one before it on this stream and key, so that the inbox tells a gap from what was not published.
 */

import { readIn } from '../context/scope.ts'
import { PabalError } from '../core/errors.ts'
import { perKeyNames } from '../event/attributes.ts'
import { type EventRecord, recordOf, type StoredEvent } from '../event/envelope.ts'
import type { JsonLimits } from '../event/json.ts'
import { type Publication, toPublic } from '../event/publication.ts'
import type { ContextStore, Database, Head, LaneFilter, Session } from '../store/store.ts'
import type { Bell, EventSource } from '../subscription/source.ts'
import { publicStream } from './exchange.ts'

export interface PublishedLogParts {
  readonly database: Database
  readonly store: ContextStore
  /** Of the producing context, for those public types that the consumer wants; earlier ones win where one event has several. */
  readonly publications: readonly Publication[]
  readonly limits: JsonLimits
  readonly bell: Bell
  /** Who reads, where it is not a consumer: the context's own relay, or who verifies what it has sent. Neither applies anything, so neither has an inbox. */
  readonly reader?: 'relay' | 'verifier'
}

/** Keys that are remembered by what was read of them last. */
const seenKeysMax = 10_000

interface Before {
  readonly sequence: number
  readonly id: string | undefined
  readonly attributes: EventRecord['attributes']
}

interface Seen {
  readonly sequence: number
  readonly published: Before
}

export class PublishedLog implements EventSource {
  readonly name: string
  readonly producer: string
  readonly stream: string | undefined
  readonly report: EventSource['report']
  readonly #parts: PublishedLogParts
  readonly #byType = new Map<string, Publication[]>()
  readonly #types: readonly string[]

  constructor(parts: PublishedLogParts) {
    const { database, store, reader } = parts
    this.name = store.name
    this.producer = store.name
    this.stream = reader === undefined ? publicStream : undefined
    // What the relay has not sent is kept as its own context's.
    this.report =
      reader === 'relay'
        ? undefined
        : (name, position) => database.transaction(async (session) => store.readers.report(session, name, position))
    this.#parts = parts
    for (const publication of parts.publications) {
      const { type } = publication.from
      this.#byType.set(type, [...(this.#byType.get(type) ?? []), publication])
    }
    this.#types = [...this.#byType.keys()]
  }

  get wants(): readonly string[] {
    return this.#parts.publications.map(({ from, to }) => `${from.type} ${from.version} as ${to.type}`)
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
      let published: EventRecord | undefined
      for (const publication of publications) {
        const form = toPublic(publication, event, this.#parts.limits)
        if (form === undefined) continue
        // A consumer that reads here takes the form that it wants. What is carried has one place in its stream, for one form.
        if (this.#parts.reader === undefined) return form
        if (published !== undefined)
          throw new PabalError(
            'PABAL_PUBLICATION_FAILED',
            `${row.type} ${row.id} is published as ${published.type} and as ${form.type}; a transport carries one of them`,
          )
        published = form
      }
      return published
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
    const seen = this.#seenKeys()
    for (const row of rows) {
      const event = this.#map(row)
      const last = seen.get(row.key)
      // The next of its key: nothing of it was left out, whoever has read what is between.
      const before = last?.sequence === row.sequence - 1 ? last.published : await this.#previous(session, row)
      if (event !== undefined) {
        event.previousSequence = before.sequence
        event.previousId = before.id
        if (this.#parts.reader !== undefined) event.failure ??= changedKey(event, before)
        published.push(event)
      }
      seen.delete(row.key)
      seen.set(row.key, {
        sequence: row.sequence,
        published: isPublished(event) ? placeOf(event) : before,
      })
      if (seen.size > seenKeysMax) seen.delete(seen.keys().next().value!)
    }
    return published
  }

  /** The last event of each key that was read here, and what of the key was published up to there. */
  readonly #seen = new Map<string, Seen>()
  #seenGeneration: number | undefined

  #seenKeys(): Map<string, Seen> {
    if (this.#seenGeneration !== this.generation) this.#seen.clear()
    this.#seenGeneration = this.generation
    return this.#seen
  }

  /** What was published before this one on the key: sequence 0 when nothing was, no id when it is not there any more. */
  async #previous(session: Session, row: StoredEvent): Promise<Before> {
    for (let before = row.sequence; before > 1; ) {
      const found = await this.#parts.store.log.previous(session, row.key, before, this.#types)
      if (found === undefined) break
      if ('droppedSequence' in found) return { sequence: found.droppedSequence, id: undefined, attributes: undefined }
      const event = this.#map(found)
      if (isPublished(event)) return placeOf(event)
      before = found.sequence
    }
    return { sequence: 0, id: undefined, attributes: undefined }
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

/**
 * What fails is nobody's predecessor: its key waits at it, and goes on only when it was mended, and is read again, or a person has left
 * it out, and it never comes.
 */
const isPublished = (event: EventRecord | undefined): event is EventRecord =>
  event !== undefined && event.failure === undefined

const placeOf = ({ sequence, id, attributes }: EventRecord): Before => ({ sequence, id, attributes })

/** A broker that goes by such an attribute would leave some of the key out. */
const changedKey = (event: EventRecord, { attributes, sequence }: Before): Error | undefined => {
  const name = perKeyNames(event.definition).find(
    (each) => attributes?.has(each) === true && attributes.get(each) !== event.attributes?.get(each),
  )
  if (name === undefined) return undefined
  return new PabalError(
    'PABAL_PUBLICATION_FAILED',
    `${event.type} ${event.id}: its attribute '${name}' is to stay the same for a key, and is another one than that of sequence ${sequence}`,
  )
}
