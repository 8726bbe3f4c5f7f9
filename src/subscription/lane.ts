/** One lane of a consumer as its owner sees it: where it is, under which epoch, and until when it may work. */

import type { ContextRuntime } from '../context/runtime.ts'
import type { DurableSpec } from '../context/handler.ts'
import type { CursorId, CursorRow, Place, Session } from '../store/store.ts'
import type { EventSource } from './source.ts'
import type { Breaker } from './breaker.ts'

/** What the parts of one subscription share. */
export interface SubscriptionParts {
  readonly spec: DurableSpec
  /** The context that the handler belongs to; its database holds cursor, inbox and parked keys. */
  readonly runtime: ContextRuntime
  readonly source: EventSource
  readonly leaseMs: number
  readonly breaker: Breaker
  /** Aborts when the subscription begins to stop: nothing new is begun. */
  readonly stopping: () => AbortSignal
  /** Aborts when the grace of stopping is over: handlers are told to end. */
  readonly signal: () => AbortSignal
}

/** The transaction lost its lane to another owner: everything in it is undone. */
export class Fenced extends Error {
  readonly lane: Lane
  constructor(lane: Lane) {
    super(`lane ${lane.id.lane} of '${lane.id.consumer}' has another owner`)
    this.name = 'Fenced'
    this.lane = lane
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
  /** Looked at up to here; ahead of `position` while only events of other types have come. */
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

  /** Inside the transaction, last statement but COMMIT: moves the cursor or throws `Fenced`. */
  async move(parts: SubscriptionParts, session: Session, to: Place): Promise<void> {
    const stalls = this.alone ? stallsAlone : 0
    if (
      !(await parts.runtime.contextStore.cursors.move(session, this.id, this.epoch, this.position, to, {
        leaseMs: parts.leaseMs,
        stalls,
      }))
    )
      throw new Fenced(this)
  }

  /** Says how many claims there have been, without a move. */
  async count(parts: SubscriptionParts, session: Session, stalls: number): Promise<void> {
    const { leaseMs, runtime } = parts
    const there = { position: this.position, eventId: this.eventId, incarnation: this.incarnation }
    if (
      !(await runtime.contextStore.cursors.move(session, this.id, this.epoch, this.position, there, {
        leaseMs,
        stalls,
      }))
    )
      throw new Fenced(this)
  }

  /** After its COMMIT. */
  moved(parts: SubscriptionParts, to: Place, handled: number): void {
    this.position = to.position
    this.eventId = to.eventId
    this.scanned = Math.max(this.scanned, to.position)
    this.untilMs = parts.runtime.environment.now() + parts.leaseMs
    this.suspect = false
    if (this.alone && (this.#aloneLeft -= handled) <= 0) this.alone = false
  }

  /** The fence without a move, inside a transaction: the stored position, or `Fenced`. */
  async hold(parts: SubscriptionParts, session: Session): Promise<number> {
    const position = await parts.runtime.contextStore.cursors.hold(session, this.id, this.epoch, parts.leaseMs)
    if (position === undefined) throw new Fenced(this)
    return position
  }
}
