/**
 * The receiver: what a transport brings is entered into the receiving context's own log, each event once and in the order of its
 * key, and acknowledged when that is committed (P9). From there handlers take it as they take everything: a slow or failing one
 * never keeps a message on the broker, and a redelivery finds the key's head moved.
 */

import type { ContextRuntime } from '../context/runtime.ts'
import { PabalError } from '../core/errors.ts'
import type { SharedDefinition } from '../event/definition.ts'
import type { MessageLimits } from '../event/cloudevents/body.ts'
import { fromJson, toJson } from '../event/cloudevents/structured.ts'
import { receivedEvent, type SequencedEvent } from '../event/cloudevents/received-event.ts'
import type { EventRecord } from '../event/envelope.ts'
import type { EarlyEvent, InboxHead, InboxStream, Session } from '../store/store.ts'
import { type Arrived, type Sorted, sort } from './arrival.ts'
import { receivedName, receivedRecord } from './received-log.ts'
import { channelOf } from './exchange.ts'
import { typesWanted } from '../subscription/edition.ts'
import { takeBatch } from './taking.ts'
import type { Incoming, Take } from './transport.ts'

/** What stores take for the id of an event. */
const uuid = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** What waits was measured when it came: written down it is longer, and what is allowed now may be less. */
const unlimited: MessageLimits = {
  payloadBytes: Infinity,
  payloadDepth: Infinity,
  messageHeaders: Infinity,
  messageHeaderBytes: Infinity,
  batchEvents: Infinity,
  batchBytes: Infinity,
}

/** Where what was received from a context stands; not the name of any handler, so the place is nobody's but the receiver's. */
export const receptionOf = (source: string, stream: string): InboxStream => ({ consumer: ':received', source, stream })

export interface ReceiverParts {
  readonly runtime: ContextRuntime
  /** The producing context. */
  readonly source: string
  readonly stream: string
  /** Public events that handlers of this context want; of all others only the place is noted. */
  readonly definitions: readonly SharedDefinition[]
  /** False: it has joined a channel that others have read before, and a key begins with the first event that comes. */
  readonly fromFirst: boolean
}

export class Receiver {
  readonly #parts: ReceiverParts
  readonly #stream: InboxStream
  readonly #types: ReadonlySet<string>
  /** Nothing but whole states is wanted. */
  readonly #latest: boolean

  constructor(parts: ReceiverParts) {
    this.#parts = parts
    this.#stream = receptionOf(parts.source, parts.stream)
    this.#latest = parts.definitions.every((definition) => definition['~pabal'].kind === 'snapshot')
    this.#types = new Set(parts.definitions.map(({ type }) => type))
  }

  get fromFirst(): boolean {
    return this.#parts.fromFirst
  }

  /** One transaction for the batch. Rejects when nothing of it was stored. */
  readonly take: Take = (batch) =>
    takeBatch(
      batch,
      (incoming) => this.#read(incoming),
      (events) => this.enter(events),
    )

  #read(incoming: Incoming): SequencedEvent {
    const { runtime, source, stream } = this.#parts
    const event = receivedEvent(incoming.decode(runtime.limits))
    const refuse = (reason: string) => new PabalError('PABAL_MESSAGE_INVALID', `${event.type} ${event.id}: ${reason}`)
    if (!event.sequenced) {
      const hint = event.context === undefined ? '; a producer that is no context of pabal is named in `foreign`' : ''
      throw refuse(`it has no place in a stream: ${event.missing.join(', ')}${hint}`)
    }
    // What a store cannot hold would keep back whatever comes with it.
    if (!uuid.test(event.id)) throw refuse('its id is no UUID')
    if (event.text?.includes('\0') === true) throw refuse('its data has a NUL, which is not JSON')
    if (event.context !== source) throw refuse(`it is of ${JSON.stringify(event.source)}, not of '${source}'`)
    if (event.stream !== stream) throw refuse(`its stream is ${JSON.stringify(event.stream)}`)
    if ((event.hopCount ?? 0) > runtime.limits.hops)
      throw new PabalError('PABAL_HOP_LIMIT', `${event.type} ${event.id} is event ${event.hopCount} of its chain`)
    return event
  }

  /** Events from wherever: those that are known are passed over. */
  async enter(events: readonly SequencedEvent[]): Promise<void> {
    await this.#parts.runtime.database.transaction((session) => this.#store(session, events))
  }

  async #store(session: Session, events: readonly SequencedEvent[]): Promise<void> {
    const { runtime } = this.#parts
    const { inbox, log, early } = runtime.contextStore
    let wanted = await this.#wanted(session, events)
    const keys = [...new Set(events.map(({ key }) => key))]
    const heads = await inbox.heads(session, this.#stream, keys, { lock: true })
    const arrived = new Map<string, Arrived[]>(keys.map((key) => [key, []]))
    for (const event of events) arrived.get(event.key)!.push({ event, early: false })

    const sortedBy = new Map<string, Sorted>()
    for (const [key, of] of arrived) sortedBy.set(key, await this.#sort(session, wanted, heads.get(key), of))
    // What waits can go on behind what goes on, and nowhere else: of a key that stands nothing is read, however much waits.
    const going = keys.filter((key) => sortedBy.get(key)!.next.length > 0)
    const waiting = going.length === 0 ? [] : await early.ofKeys(session, this.#stream, going)
    const again = waiting.map(({ text }) => this.#again(text))
    for (const event of again) arrived.get(event.key)!.push({ event, early: true })
    if (wanted === this.#types) wanted = await this.#wanted(session, again)
    for (const key of new Set(waiting.map((each) => each.key)))
      sortedBy.set(key, await this.#sort(session, wanted, heads.get(key), arrived.get(key)!))

    const records: EventRecord[] = []
    const advanced = new Map<string, InboxHead>()
    const kept: EarlyEvent[] = []
    const gone: Pick<EarlyEvent, 'key' | 'sequence' | 'eventId'>[] = []
    for (const [key, sorted] of sortedBy) {
      for (const { event } of sorted.next) {
        if (wanted.has(event.type)) records.push(receivedRecord(event, this.#stream, runtime.environment.now()))
      }
      if (sorted.next.length > 0) advanced.set(key, sorted.head!)
      for (const { event, early: before } of [...sorted.next, ...sorted.over])
        if (before) gone.push({ key, sequence: event.sequence, eventId: event.id })
      for (const { arrived: each, for: reason } of sorted.waiting)
        if (!each.early) kept.push(this.#early(each.event, reason))
    }
    if (gone.length > 0) await early.remove(session, this.#stream, gone)
    if (kept.length > 0) await early.put(session, this.#stream, kept)
    if (advanced.size > 0) await inbox.advance(session, this.#stream, advanced)
    if (records.length > 0) await log.append(session, records)
  }

  /** What this process wants of it, and what others do that run a newer version of a handler. */
  async #wanted(session: Session, events: readonly SequencedEvent[]): Promise<ReadonlySet<string>> {
    const { contextStore } = this.#parts.runtime
    // Whoever wants more may want all that comes, where whole states alone are not waited for.
    if (!this.#latest && events.every(({ type }) => this.#types.has(type))) return this.#types
    const { source, stream } = this.#stream
    const others = await typesWanted(contextStore, session, receivedName(channelOf(source, stream).context))
    return others.isSubsetOf(this.#types) ? this.#types : this.#types.union(others)
  }

  #sort(
    session: Session,
    wanted: ReadonlySet<string>,
    head: InboxHead | undefined,
    of: readonly Arrived[],
  ): Promise<Sorted> {
    const { runtime, fromFirst } = this.#parts
    // Of what nobody here wants nothing is kept, and nothing can be wrong.
    const isKnown = async ({ id, type }: SequencedEvent) =>
      !wanted.has(type) || (await runtime.contextStore.log.byId(session, id)) !== undefined
    return sort(head, of, { fromFirst, isKnown, latest: this.#latest && wanted === this.#types })
  }

  #early({ key, sequence, id, cloudEvent: { attributes, data } }: SequencedEvent, reason: string): EarlyEvent {
    // In base64 it is what came, also where that is not the JSON that it says it is.
    const text = toJson({ attributes, data: typeof data === 'string' ? Buffer.from(data) : data })
    return { key, sequence, eventId: id, reason, text, sinceMs: this.#parts.runtime.environment.now() }
  }

  #again(text: string): SequencedEvent {
    return receivedEvent(fromJson(text, unlimited)) as SequencedEvent
  }
}
