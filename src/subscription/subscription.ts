/**
 * A named cursor at work: claims its lanes, reads batches, hands them to its handler, tries parked keys again, and sleeps until
 * somebody rings. Nothing polls: an idle subscription costs nothing but its part of the database's own watch.
 */

import type { DurableSpec } from '../context/definition.ts'
import type { ContextRuntime } from '../context/runtime.ts'
import { outside } from '../context/unit-of-work.ts'
import { backoffMs } from '../core/environment.ts'
import { PabalError } from '../core/errors.ts'
import type { CursorRow, Place } from '../store/store.ts'
import { Breaker, type BreakerOptions, defaultBreaker } from './breaker.ts'
import { applyBatch } from './database-effects.ts'
import { performBatch } from './external-effects.ts'
import { describeFailure } from './failure.ts'
import { Fenced, Lane, type SubscriptionParts } from './lane.ts'
import { Lateness } from './lateness.ts'
import type { BatchResult } from './one-by-one.ts'
import { redrive } from './redrive.ts'
import type { EventSource } from './source.ts'
import { Bell } from './source.ts'

export interface SubscriptionOptions {
  readonly spec: DurableSpec
  readonly runtime: ContextRuntime
  readonly source: EventSource
  /** How long a lane stays with an owner that gives no sign of life. Default 15 s. */
  readonly leaseMs?: number
  readonly breaker?: BreakerOptions
  /** Rings when something has moved: `settle` listens. */
  readonly progress: Bell
  /** Told of what an operator should know. */
  readonly warn: (what: string, error: unknown) => void
}

export const defaultLeaseMs = 15_000

/** Positions between two reports to a producer: each is a write there. */
const reportEvery = 10_000

/** Two batches of a consumer begin at least so far apart, unless they are full. */
const paceMs = 5

/** About how often a process asks for a lane that another one holds while there is work in it. */
const othersCheckMs = 1_000

export class Subscription {
  readonly spec: DurableSpec
  readonly source: EventSource
  readonly #parts: SubscriptionParts
  readonly #progress: Bell
  readonly #warn: SubscriptionOptions['warn']
  #stopping = new AbortController()
  #abort = new AbortController()
  readonly #lanes = new Map<number, Lane>()
  readonly #owning = new Map<number, Promise<Lane | undefined>>()
  readonly #bell = new Bell()
  readonly #lateness: Lateness
  #laneCount = 1
  #reported: number | undefined
  #rings = 0
  #breakerUntilMs = 0
  #pacedUntilMs = 0
  /** Lanes that another process holds, and when to ask again: no sooner, so that a busy owner is not disturbed. */
  readonly #others = new Map<number, number>()
  #running: Promise<unknown> | undefined

  constructor({
    spec,
    runtime,
    source,
    leaseMs = defaultLeaseMs,
    breaker = defaultBreaker,
    progress,
    warn,
  }: SubscriptionOptions) {
    this.spec = spec
    this.source = source
    this.#progress = progress
    this.#warn = warn
    this.#parts = {
      spec,
      runtime,
      source,
      leaseMs,
      breaker: new Breaker(breaker, runtime.environment.random),
      stopping: () => this.#stopping.signal,
      signal: () => this.#abort.signal,
    }
    this.#lateness = new Lateness(this.#parts)
  }

  get #runtime(): ContextRuntime {
    return this.#parts.runtime
  }

  get name(): string {
    return this.spec.name
  }

  get context(): string {
    return this.#runtime.name
  }

  /** Registers the consumer and its cursors; at the first time it decides where they start. @throws PABAL_START_AT_REQUIRED */
  async register(): Promise<void> {
    const { spec, source } = this
    const { database, contextStore } = this.#runtime
    const types = spec.definitions.map(({ type }) => type)
    const known = await database.read((session) => contextStore.cursors.cursors(session, spec.name))
    const present = known.some((cursor) => cursor.source === source.name)
    const start = present ? undefined : await this.#start()
    await database.transaction(async (session) => {
      const row = await contextStore.cursors.register(session, {
        name: spec.name,
        effects: spec.effects,
        lanes: spec.lanes ?? database.defaultLanes,
        types,
      })
      this.#laneCount = row.lanes
      if (start !== undefined)
        for (let lane = 0; lane < row.lanes; lane++)
          await contextStore.cursors.create(session, { consumer: spec.name, source: source.name, lane }, start)
    })
    await this.#report()
  }

  /** Says at the producer what is not needed here any more: all lanes have passed it, and no parked key waits there. */
  async #report(): Promise<void> {
    const { source } = this
    if (source.report === undefined) return
    const { database, contextStore } = this.#runtime
    const needed = await database.read(async (session) => {
      const cursors = await contextStore.cursors.cursors(session, this.name)
      const parked = await contextStore.parking.oldestNeeded(session, source.name, this.name)
      const passed = cursors.filter((cursor) => cursor.source === source.name).map(({ position }) => position)
      return Math.min(...passed, parked === undefined ? Number.MAX_SAFE_INTEGER : parked - 1)
    })
    if (needed === this.#reported) return
    await source.report(`${this.context}/${this.name}`, needed)
    this.#reported = needed
  }

  async #start(): Promise<Place> {
    const { startAt, effects, name } = this.spec
    const head = await this.source.head()
    if (startAt === undefined && effects === 'external' && (await this.source.count(0)) > 0)
      throw new PabalError(
        'PABAL_START_AT_REQUIRED',
        `'${name}' of '${this.context}' is new, has external effects, and the log of '${this.source.name}' already has events for it`,
      )
    const position =
      startAt === 'now' ? head.position : typeof startAt === 'object' ? Math.min(startAt.position, head.position) : 0
    return { position, eventId: (await this.source.identityAt(position)) ?? null, incarnation: head.incarnation }
  }

  /** What is left to do, in words; undefined when nothing is. A dead key is settled, a paused consumer is not waited for. */
  async behind(): Promise<string | undefined> {
    const { database, contextStore } = this.#runtime
    const { consumer, positions, dueMs } = await database.read(async (session) => ({
      consumer: await contextStore.cursors.consumer(session, this.name),
      positions: (await contextStore.cursors.cursors(session, this.name)).filter(
        ({ source }) => source === this.source.name,
      ),
      dueMs: await contextStore.parking.nextDueMs(session, this.name, this.source.name),
    }))
    if (consumer?.state === 'paused') return undefined
    if (dueMs !== undefined) return 'a key that will be tried again'
    for (const { lane, position } of positions) {
      const after = Math.max(position, this.#lanes.get(lane)?.scanned ?? 0)
      const { events, through } = await this.source.readAfter({
        after,
        lane: { lane, lanes: this.#laneCount },
        limit: 1,
      })
      if (events.length > 0 || through > after) return `events after position ${after}`
    }
    return undefined
  }

  run(): void {
    if (this.#running !== undefined) return
    this.#stopping = new AbortController()
    this.#abort = new AbortController()
    // What this process begins for a subscription belongs to no unit of work that happens to be open around start().
    const silence = this.source.onAppend(() => this.ring())
    this.#running = outside(() =>
      Promise.all([this.#loop(() => this.#work()), this.#loop(() => this.#care())]),
    ).finally(() => {
      silence()
    })
  }

  /** Something may have changed: look. */
  ring(): void {
    this.#rings++
    this.#bell.ring()
  }

  /**
   * Begins nothing new, waits for what runs, then gives the lanes back. Handlers that run for longer than `graceMs` are told by
   * their signal; their events are handled again by the next owner.
   */
  async stop(graceMs: number): Promise<void> {
    const ended = new AbortController()
    this.#stopping.abort()
    this.#bell.ring()
    const grace = this.#runtime.environment.sleep(graceMs, ended.signal).then(() => this.#abort.abort())
    await this.#running
    ended.abort()
    await grace
    this.#running = undefined
    const { database, contextStore } = this.#runtime
    for (const lane of this.#lanes.values())
      await database.transaction(async (session) => {
        if (lane.scanned > lane.position) {
          const place = {
            position: lane.scanned,
            eventId: (await this.source.identityAt(lane.scanned)) ?? null,
            incarnation: lane.incarnation,
          }
          await contextStore.cursors.move(session, lane.id, lane.epoch, place, { leaseMs: 0, stalls: 0 })
        }
        await contextStore.cursors.release(session, lane.id, lane.epoch)
      })
    this.#lanes.clear()
    await this.#report()
  }

  /** Runs `step` until stopped. A step says how long nothing will have to be done, or undefined when there is more at once. */
  async #loop(step: () => Promise<number | undefined>): Promise<void> {
    const { environment } = this.#runtime
    for (let failures = 0; !this.#stopping.signal.aborted; ) {
      const rings = this.#rings
      let idleMs: number | undefined
      try {
        idleMs = await step()
        failures = 0
      } catch (error) {
        if (this.#stopping.signal.aborted) return
        if (error instanceof Fenced) this.#forget(error.lane)
        else this.#warn(`'${this.name}' of '${this.context}'`, error)
        idleMs = error instanceof Fenced ? undefined : backoffMs(++failures, 50, 5_000, environment.random)
      }
      this.#progress.ring()
      if (idleMs !== undefined && rings === this.#rings) await this.#sleep(idleMs)
    }
  }

  async #sleep(ms: number): Promise<void> {
    const awake = new AbortController()
    const silence = this.#bell.onRing(() => awake.abort())
    await this.#runtime.environment.sleep(ms, awake.signal)
    silence()
  }

  /** One step of the main loop: a batch of every lane that this process owns, or an attempt to own it. */
  async #work(): Promise<number | undefined> {
    const nowMs = this.#runtime.environment.now()
    if (nowMs < this.#breakerUntilMs) return this.#breakerUntilMs - nowMs
    let moved = false
    // The first event of a burst goes at once; those behind it gather, since a commit costs more than a batch.
    if (nowMs < this.#pacedUntilMs) {
      await this.#runtime.environment.sleep(this.#pacedUntilMs - nowMs, this.#stopping.signal)
      if (this.#stopping.signal.aborted) return undefined
    }
    for (let lane = 0; lane < this.#laneCount && !this.#stopping.signal.aborted; lane++)
      if (this.#askAgainMs(lane) === 0 && (await this.#step(lane))) moved = true
    if (moved) return undefined
    const waitsMs = [...this.#others.keys()].map((lane) => this.#askAgainMs(lane))
    return waitsMs.length === 0 ? Number.MAX_SAFE_INTEGER : Math.max(1, Math.min(...waitsMs))
  }

  /** How long a lane is left to its other owner; 0 when it may be asked for. */
  #askAgainMs(lane: number): number {
    const untilMs = this.#others.get(lane)
    return untilMs === undefined ? 0 : Math.max(0, untilMs - this.#runtime.environment.now())
  }

  /** True when there may be more at once. */
  async #step(number: number): Promise<boolean> {
    const parts = this.#parts
    const known = this.#lanes.get(number)
    const after = known?.scanned ?? (await this.#storedPosition(number))
    const batch = await this.source.readAfter({
      after,
      lane: { lane: number, lanes: this.#laneCount },
      limit: this.spec.batch,
    })
    this.#others.delete(number)
    if (batch.events.length === 0) {
      if (batch.through > after && known !== undefined) known.scanned = batch.through
      return batch.through > after && known !== undefined && (await this.#keepUp(known))
    }
    const lane = await this.#own(number)
    if (lane === undefined) return false
    // Claimed just now, the lane may have been moved by its last owner since the batch was read.
    if (lane.scanned !== after) return true
    this.#pacedUntilMs = batch.events.length === this.spec.batch ? 0 : this.#runtime.environment.now() + paceMs
    const result = await (this.spec.effects === 'external'
      ? performBatch(parts, lane, batch.events, batch.through)
      : applyBatch(parts, lane, batch.events, batch.through))
    lane.moved(parts, result.place, result.handled)
    if (lane.position - (this.#reported ?? 0) >= reportEvery) await this.#report()
    await this.#observe(result)
    // A batch may have parked keys: the second loop wants to know when they are due.
    this.ring()
    return result.breaks === undefined
  }

  async #storedPosition(number: number): Promise<number> {
    const { database, contextStore } = this.#runtime
    const cursors = await database.read((session) => contextStore.cursors.cursors(session, this.name))
    return cursors.find(({ source, lane }) => source === this.source.name && lane === number)?.position ?? 0
  }

  /** Only events of other types: the stored cursor follows from time to time, so that retention is not held up. */
  async #keepUp(lane: Lane): Promise<boolean> {
    if (lane.scanned - lane.position < 1_000) return false
    const parts = this.#parts
    const owned = await this.#own(lane.id.lane)
    if (owned === undefined) return false
    owned.scanned = Math.max(owned.scanned, lane.scanned)
    const place = {
      position: owned.scanned,
      eventId: (await this.source.identityAt(owned.scanned)) ?? null,
      incarnation: owned.incarnation,
    }
    await this.#runtime.database.transaction((session) => owned.move(parts, session, place))
    owned.moved(parts, place, 0)
    return false
  }

  #forget(lane: Lane): void {
    if (this.#lanes.get(lane.id.lane) === lane) this.#lanes.delete(lane.id.lane)
  }

  /** The lane with a lease that lasts; claimed, or claimed again before it runs out. Both loops ask: one claim serves both. */
  #own(number: number): Promise<Lane | undefined> {
    let owning = this.#owning.get(number)
    if (owning === undefined) {
      owning = this.#claim(number).finally(() => this.#owning.delete(number))
      this.#owning.set(number, owning)
    }
    return owning
  }

  async #claim(number: number): Promise<Lane | undefined> {
    const { environment, database, contextStore } = this.#runtime
    const { leaseMs } = this.#parts
    const known = this.#lanes.get(number)
    if (known !== undefined && known.untilMs - environment.now() > leaseMs / 2) return known
    const id = { consumer: this.name, source: this.source.name, lane: number }
    this.#others.delete(number)
    const row = await database.transaction(async (session) => {
      const consumer = await contextStore.cursors.consumer(session, this.name)
      if (consumer === undefined || consumer.state === 'paused') return 'paused' as const
      if (known !== undefined && (await contextStore.cursors.hold(session, id, known.epoch, leaseMs)) !== undefined)
        return 'held' as const
      return contextStore.cursors.claim(session, id, leaseMs)
    })
    if (row === 'held') {
      known!.untilMs = environment.now() + leaseMs
      return known
    }
    this.#lanes.delete(number)
    // A paused consumer is rung when it is resumed.
    if (row === 'paused') return undefined
    if (row === undefined) {
      this.#others.set(number, environment.now() + othersCheckMs * (0.5 + environment.random()))
      return undefined
    }
    return this.#accept(row)
  }

  /** A claimed lane, once its log is known to be the one that the cursor was in (P8). */
  async #accept(row: CursorRow): Promise<Lane | undefined> {
    const { source } = this
    const head = await source.head()
    const there = row.position === 0 || row.event_id === null ? row.event_id : await source.identityAt(row.position)
    const dropped = there === undefined && row.position < (await source.oldest())
    const same =
      row.position <= head.position &&
      (row.position === 0 || row.event_id === null || there === row.event_id || dropped)
    const lane = new Lane({ ...row, incarnation: head.incarnation }, this.#laneCount, this.spec.batch)
    if (!same) return this.#rewound(lane, row)
    this.#lanes.set(lane.id.lane, lane)
    return lane
  }

  /**
   * The log does not hold what was handled at the cursor. With an inbox the cursor goes back to the start and every key is
   * compared; without one, only a person can say where to go on.
   */
  async #rewound(lane: Lane, row: CursorRow): Promise<undefined> {
    const { database, contextStore } = this.#runtime
    const error = new PabalError(
      'PABAL_LOG_REWOUND',
      `'${this.name}' of '${this.context}' handled event ${row.event_id} at position ${row.position} of '${this.source.name}', which is not there`,
    )
    this.#warn(`'${this.name}' of '${this.context}'`, error)
    await database.transaction(async (session) => {
      if (this.source.stream === undefined) {
        await contextStore.cursors.update(session, this.name, { state: 'paused', reason: error.message })
        await contextStore.cursors.revoke(session, this.name)
        return
      }
      await contextStore.inbox.distrust(session, this.name, this.source.name)
      const start = { position: 0, eventId: null, incarnation: lane.incarnation }
      await contextStore.cursors.move(session, lane.id, lane.epoch, start, { leaseMs: 0, stalls: 0 })
      await contextStore.cursors.release(session, lane.id, lane.epoch)
    })
    this.#rings++
    return undefined
  }

  /** Opens or closes the breaker, and shows it to whoever looks at the database. */
  async #observe(result: BatchResult): Promise<void> {
    const { environment, database, contextStore } = this.#runtime
    if (result.breaks === undefined) {
      if (this.#breakerUntilMs === 0 || this.#parts.breaker.isOpen) return
      this.#breakerUntilMs = 0
      await database.transaction((session) =>
        contextStore.cursors.update(session, this.name, { breaker_until_ms: null, breaker_error: null }),
      )
      return
    }
    this.#breakerUntilMs = environment.now() + this.#parts.breaker.open()
    const failure = describeFailure(result.breaks)
    this.#warn(`'${this.name}' of '${this.context}': everything fails, held`, result.breaks)
    await database.transaction((session) =>
      contextStore.cursors.update(session, this.name, {
        breaker_until_ms: this.#breakerUntilMs,
        breaker_error: `${failure.name}: ${failure.message}`,
      }),
    )
  }

  /** One step of the second loop: parked keys that are due, and events that are late. */
  async #care(): Promise<number | undefined> {
    const { environment, database, contextStore } = this.#runtime
    const nowMs = environment.now()
    if (nowMs < this.#breakerUntilMs) return this.#breakerUntilMs - nowMs
    const nextMs = await database.read((session) =>
      contextStore.parking.nextDueMs(session, this.name, this.source.name),
    )
    if (nextMs !== undefined && nextMs <= nowMs) {
      for (let lane = 0; lane < this.#laneCount; lane++) {
        const owned = await this.#own(lane)
        if (owned === undefined) continue
        const due = await database.read((session) =>
          contextStore.parking.due(session, owned.id, nowMs, this.spec.concurrency),
        )
        await Promise.all(due.map((row) => redrive(this.#parts, owned, row)))
      }
      // Not ours: its owner sees to it; look again when the lease may be free.
      return this.#lanes.size < this.#laneCount ? othersCheckMs : undefined
    }
    const lateMs = await this.#lateness.check(() => this.#own(0))
    return Math.min(nextMs === undefined ? Number.MAX_SAFE_INTEGER : nextMs - nowMs, lateMs)
  }
}
