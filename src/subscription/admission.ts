/** Which events of a batch may be handled now: not those of parked keys, nor duplicates, nor what would leave a gap (P4, P6, P9). */

import type { Scope } from '../context/scope.ts'
import type { Awaitable } from '../core/awaitable.ts'
import { PabalError } from '../core/errors.ts'
import type { EventRecord } from '../event/envelope.ts'
import type { InboxHead, InboxStream, Session } from '../store/store.ts'
import { judge } from './inbox.ts'
import type { Share, SubscriptionParts } from './lane.ts'
import { partingOf } from './registration.ts'

/** `handle` it; it `waits` behind its parked key; `pass` over a duplicate; or park the key from that sequence. */
export type Admission =
  | { readonly kind: 'handle' }
  | { readonly kind: 'wait' }
  | { readonly kind: 'pass' }
  | { readonly kind: 'park'; readonly from: number; readonly error: PabalError }

const handle: Admission = { kind: 'handle' }
const wait: Admission = { kind: 'wait' }
const pass: Admission = { kind: 'pass' }

export class Admissions {
  readonly #parts: SubscriptionParts
  readonly #stream: InboxStream | undefined
  readonly #incarnation: string
  readonly #parked: Set<string>
  readonly #heads: Map<string, InboxHead>
  /** Where keys stood when this stream became one of its own, of which not all up to there may have come. */
  readonly #partings: ReadonlyMap<string, InboxHead>
  readonly #advanced = new Map<string, InboxHead>()
  readonly #waiting: EventRecord[] = []

  private constructor(
    parts: SubscriptionParts,
    share: Share,
    parked: ReadonlySet<string>,
    heads: ReadonlyMap<string, InboxHead>,
    partings: ReadonlyMap<string, InboxHead>,
  ) {
    this.#parts = parts
    this.#stream = streamOf(parts)
    this.#incarnation = share.incarnation
    this.#parked = new Set(parked)
    this.#heads = new Map(heads)
    this.#partings = partings
  }

  /**
   * In a transaction the heads are locked to its end: they may be moved from another source too, while a context is on its way
   * from one exchange to another.
   */
  static async open(
    parts: SubscriptionParts,
    share: Share,
    session: Session,
    events: readonly EventRecord[],
    { lock = true }: { readonly lock?: boolean } = {},
  ): Promise<Admissions> {
    const { spec, source, runtime } = parts
    const { parking, inbox } = runtime.contextStore
    const keys = [...new Set(events.map(({ key }) => key))]
    const stream = streamOf(parts)
    return new Admissions(
      parts,
      share,
      await parking.parkedOf(session, spec.name, source.name, keys),
      stream === undefined ? new Map() : await inbox.heads(session, stream, keys, { lock }),
      await partingsOf(parts, session, keys),
    )
  }

  admit(event: EventRecord): Awaitable<Admission> {
    if (this.#parked.has(event.key)) return wait
    if (this.#stream === undefined) return handle
    const parting = this.#partings.get(event.key)
    return parting === undefined || event.sequence > parting.sequence
      ? this.#behind(event)
      : wasBrought(this.#parts, parting, event).then((was) => (was ? pass : this.#behind(event)))
  }

  #behind(event: EventRecord): Awaitable<Admission> {
    const head = this.#heads.get(event.key)
    if (head === undefined || head.incarnation === this.#incarnation) return this.#judge(event, head)
    return isSameHistory(this.#parts, head, event).then(async (same) => {
      if (same) return this.#judge(event, head)
      if (!isOlder(event, head)) return diverged(event, head)
      const later = await this.#laterOf(event, head)
      // It parks at its first new event; when none looks new, now, and behind what is there: what was applied last is gone.
      if (later.some((other) => !isOlder(other, head))) return pass
      return { ...diverged(event, head), from: (later.at(-1) ?? event).sequence + 1 }
    })
  }

  #judge(event: EventRecord, head: InboxHead | undefined): Admission {
    switch (judge(head, event)) {
      case 'apply':
        return handle
      case 'duplicate':
        return pass
      case 'diverged':
        return diverged(event, head!)
      default:
        return { kind: 'park', from: head!.sequence + 1, error: missingError(event, head!) }
    }
  }

  /** The key's events from this one on; as many as could be older than what was applied last, and one more. */
  #laterOf(event: EventRecord, head: InboxHead): Promise<readonly EventRecord[]> {
    return this.#parts.source.readKey(event.key, event.sequence, head.sequence - event.sequence + 1)
  }

  /** The event was handled, or left out by policy: its key goes on behind it. */
  passed(event: EventRecord): void {
    if (this.#stream === undefined) return
    const head = { sequence: event.sequence, eventId: event.id, incarnation: this.#incarnation }
    this.#heads.set(event.key, head)
    this.#advanced.set(event.key, head)
  }

  parked(key: string): void {
    this.#parked.add(key)
  }

  waits(event: EventRecord): void {
    this.#waiting.push(event)
  }

  /**
   * Writes what was learned, in the transaction of the effects; what waits is counted up to where the cursor goes. False: a key
   * was unparked meanwhile, read again.
   */
  async store(session: Session, through: number): Promise<boolean> {
    const { spec, source, runtime } = this.#parts
    const { parking, inbox } = runtime.contextStore
    if (this.#advanced.size > 0) await inbox.advance(session, this.#stream!, this.#advanced)
    const counts = new Map<string, number>()
    for (const { key, position } of this.#waiting) if (position <= through) counts.set(key, (counts.get(key) ?? 0) + 1)
    return counts.size === 0 || (await parking.addWaiting(session, spec.name, source.name, counts))
  }
}

/**
 * The producer's log was restored: is what we applied last still there? When retention has dropped it, what follows it is enough;
 * where it need not be there at all, anything that does not contradict it.
 */
export const isSameHistory = async (
  { source }: SubscriptionParts,
  head: InboxHead,
  event: EventRecord,
): Promise<boolean> => {
  const id = await source.identityOf(event.key, head.sequence)
  if (id === undefined) return source.isPart === true || event.sequence > head.sequence
  return id === head.eventId
}

/** Of keys whose events came with those of another stream before: where they stood when that ended. */
export const partingsOf = async (
  parts: SubscriptionParts,
  session: Session,
  keys: readonly string[],
): Promise<ReadonlyMap<string, InboxHead>> => {
  const { source, runtime } = parts
  const stream = streamOf(parts)
  if (stream === undefined || source.branchOf === undefined) return new Map()
  return runtime.contextStore.inbox.heads(
    session,
    { ...stream, stream: partingOf(source.branchOf, stream.stream) },
    keys,
  )
}

/** The event came there: it was handled, since it is not behind the place where its key stood. */
export const wasBrought = async (
  { source }: SubscriptionParts,
  parting: InboxHead | undefined,
  event: EventRecord,
): Promise<boolean> =>
  parting !== undefined && event.sequence <= parting.sequence && (await source.branchOf!.brought(event))

export const streamOf = ({ spec, source }: SubscriptionParts): InboxStream | undefined =>
  source.stream === undefined ? undefined : { consumer: spec.name, source: source.producer, stream: source.stream }

const diverged = (event: EventRecord, head: InboxHead): Admission => ({
  kind: 'park',
  from: event.sequence,
  error: divergedError(event, head),
})

const divergedError = (event: EventRecord, head: InboxHead): PabalError =>
  new PabalError(
    'PABAL_KEY_DIVERGED',
    `key ${JSON.stringify(event.key)} of '${event.source}': ${head.eventId} was applied as number ${head.sequence}, its log does not have that`,
  )

const missingError = (event: EventRecord, head: InboxHead): PabalError =>
  new PabalError(
    'PABAL_EVENT_MISSING',
    `key ${JSON.stringify(event.key)} of '${event.source}': number ${event.sequence} came, ${event.previousSequence} was not seen, ${head.sequence} was applied last`,
  )

/**
 * Was it raised before what we applied last? Then it is of the part that both histories share, applied long ago. Ids are
 * UUIDv7, whose text sorts by time, and what replaced a lost event was raised after the loss.
 */
const isOlder = (event: EventRecord, head: InboxHead): boolean =>
  event.sequence < head.sequence && event.id < head.eventId

/** Runs a handler or callback in a scope with its event as the cause. */
export const runWith = (
  parts: SubscriptionParts,
  scope: Scope,
  event: EventRecord,
  attempt: number,
  fn: (unit: never) => unknown,
): unknown => {
  const unit = scope.unitOf(parts.runtime)
  unit.metadataOf(event)
  unit.attempt = attempt
  unit.signal = parts.signal()
  return unit.handling(event, (_event, given) => fn(given))
}
