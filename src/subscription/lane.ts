/** Lanes of a consumer as their owner sees them: where each is, under which epoch; and a share of them that goes on as one. */

import type { ContextRuntime } from '../context/runtime.ts'
import { type Scope, within } from '../context/scope.ts'
import type { DurableSpec } from '../context/handler.ts'
import type { Mutex } from '../core/mutex.ts'
import { slotOf } from '../store/slot.ts'
import type { CursorId, CursorRow, Place, Session } from '../store/store.ts'
import type { EventSource } from './source.ts'
import type { BatchSize } from './batch-size.ts'
import type { Breaker } from './breaker.ts'

/** What the parts of one subscription share. */
export interface SubscriptionParts {
  readonly spec: DurableSpec
  /** The context that the handler belongs to; its database holds cursor, inbox and parked keys. */
  readonly runtime: ContextRuntime
  readonly source: EventSource
  readonly leaseMs: number
  readonly breaker: Breaker
  readonly batchSize: BatchSize
  /** Batches and parked keys of one consumer take turns with their transactions: they touch the same rows. */
  readonly turns: Mutex
  /** Aborts when the subscription begins to stop: nothing new is begun. */
  readonly stopping: () => AbortSignal
  /** Aborts when the grace of stopping is over: handlers are told to end. */
  readonly signal: () => AbortSignal
}

/** A transaction of a consumer, in its turn. A process that is silent in it for as long as a lease loses it. */
export const inTurn = async <R>(parts: SubscriptionParts, fn: (scope: Scope) => Promise<R>): Promise<R> => {
  const { turns, runtime, leaseMs } = parts
  const turn = turns.acquire(Number.POSITIVE_INFINITY)
  if (turn !== true) await turn
  try {
    return await runtime.inTransaction((scope) => within(scope, () => fn(scope)), { silentMs: leaseMs })
  } finally {
    turns.release()
  }
}

/** The transaction lost its lanes to another owner: everything in it is undone. */
export class Fenced extends Error {
  readonly lanes: readonly Lane[]
  constructor(lanes: readonly Lane[]) {
    const [{ id }] = lanes as [Lane]
    super(`lane ${lanes.map((lane) => lane.id.lane).join(', ')} of '${id.consumer}' has another owner`)
    this.name = 'Fenced'
    this.lanes = lanes
  }
}

/** Claims without progress after which events are handled one by one, and after which the first one is parked unhandled. */
const stallsAlone = 3
const stallsSuspect = 6

export class Lane {
  readonly id: CursorId
  readonly lanes: number
  readonly epoch: number
  readonly incarnation: string
  /** The stored cursor. */
  position: number
  eventId: string | null
  /** Looked at up to here; ahead of `position` while only events of other types or lanes have come. */
  scanned: number
  untilMs: number
  /** Claims since the cursor last moved, with this one. */
  readonly stalls: number
  /** The stored number has this claim in it. */
  counted = false
  /** Runs and processes have ended on what comes next: handle one event at a time. */
  alone: boolean
  /** … and the next one is the cause: do not run it again. */
  suspect: boolean
  #aloneLeft: number

  constructor(row: CursorRow, lanes: number, batch: number) {
    this.id = { consumer: row.consumer, source: row.source, lane: row.lane }
    this.lanes = lanes
    this.epoch = row.epoch
    this.incarnation = row.incarnation
    this.position = row.position
    this.eventId = row.event_id
    this.scanned = row.position
    this.untilMs = row.until_ms
    this.stalls = row.stalls
    this.alone = row.stalls > stallsAlone
    this.suspect = row.stalls > stallsSuspect
    this.#aloneLeft = batch
  }

  get place(): Place {
    return { position: this.position, eventId: this.eventId, incarnation: this.incarnation }
  }

  /** Says how many claims there have been, without a move. */
  async count(parts: SubscriptionParts, session: Session, stalls: number): Promise<void> {
    const { leaseMs, runtime } = parts
    const { id, epoch, position: from, place: to } = this
    const moves = [{ lane: id.lane, epoch, from, to }]
    if (!(await runtime.contextStore.cursors.move(session, id, moves, { leaseMs, stalls }))) throw new Fenced([this])
  }

  /** After the COMMIT that has moved it. */
  moved(to: Place, untilMs: number, handled: number): void {
    if (to.position > this.position) {
      this.position = to.position
      this.eventId = to.eventId
    }
    this.scanned = Math.max(this.scanned, to.position)
    this.untilMs = untilMs
    this.suspect = false
    if (this.alone && (this.#aloneLeft -= handled) <= 0) this.alone = false
  }
}

/** Lanes of one owner whose events are handled together, in the order of the log. One that is under suspicion goes alone. */
export class Share {
  readonly lanes: readonly Lane[]
  /** Those that somebody wished for when the cursors were moved. */
  wished: readonly Lane[] = []
  readonly #first: Lane

  constructor(lanes: readonly Lane[]) {
    this.lanes = lanes
    this.#first = lanes[0]!
  }

  get incarnation(): string {
    return this.#first.incarnation
  }

  /** Everything up to here is behind all of them. */
  get position(): number {
    return Math.min(...this.lanes.map(({ position }) => position))
  }

  /** Where it stays when nothing was handled. */
  get place(): Place {
    return this.lanes.reduce((least, lane) => (lane.position < least.position ? lane : least)).place
  }

  get alone(): boolean {
    return this.#first.alone
  }

  get suspect(): boolean {
    return this.#first.suspect
  }

  get numbers(): { readonly lane: readonly number[]; readonly lanes: number } {
    return { lane: this.lanes.map(({ id }) => id.lane), lanes: this.#first.lanes }
  }

  laneOf(key: string): number {
    return slotOf(key) % this.#first.lanes
  }

  /** Inside the transaction, last statement but COMMIT: moves each cursor that is not there yet, fences all, or throws `Fenced`. */
  async move(parts: SubscriptionParts, session: Session, to: Place): Promise<void> {
    const { cursors } = parts.runtime.contextStore
    const moves = this.lanes.map(({ id, epoch, position, place }) => ({
      lane: id.lane,
      epoch,
      from: position,
      to: to.position > position ? to : place,
    }))
    const stalls = this.alone ? stallsAlone : 0
    const wished = await cursors.move(session, this.#first.id, moves, { leaseMs: parts.leaseMs, stalls })
    if (wished === undefined) throw new Fenced(this.lanes)
    this.wished = wished.length === 0 ? [] : this.lanes.filter(({ id }) => wished.includes(id.lane))
  }

  /** After its COMMIT. */
  moved(parts: SubscriptionParts, to: Place, handled: number): void {
    const untilMs = parts.runtime.environment.now() + parts.leaseMs
    for (const lane of this.lanes) lane.moved(to, untilMs, handled)
  }

  /** The fence without a move, inside a transaction: the stored position of the least, or `Fenced`. */
  async hold(parts: SubscriptionParts, session: Session): Promise<number> {
    let least = Number.MAX_SAFE_INTEGER
    for (const { id, epoch } of this.lanes) {
      const position = await parts.runtime.contextStore.cursors.hold(session, id, epoch, parts.leaseMs)
      if (position === undefined) throw new Fenced(this.lanes)
      least = Math.min(least, position)
    }
    return least
  }
}
