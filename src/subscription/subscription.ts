/**
 * A named cursor at work: claims its lanes, reads batches, hands them to its handler, tries parked keys again, and sleeps until
 * somebody rings. Nothing polls: an idle subscription costs nothing but its part of the database's own watch.
 */

import type { DurableSpec } from '../context/handler.ts'
import type { ContextRuntime } from '../context/runtime.ts'
import { outside } from '../context/scope.ts'
import { backoffMs } from '../core/environment.ts'
import { Mutex } from '../core/mutex.ts'
import type { EventRecord } from '../event/envelope.ts'
import { slotOf } from '../store/slot.ts'
import { BatchSize } from './batch-size.ts'
import { Breaker, type BreakerOptions, defaultBreaker } from './breaker.ts'
import { applyBatch } from './database-effects.ts'
import { performBatch } from './external-effects.ts'
import { describeFailure } from './failure.ts'
import { Fenced, type Lane, Share, type SubscriptionParts } from './lane.ts'
import { Lateness } from './lateness.ts'
import type { BatchResult } from './one-by-one.ts'
import { Ownership, othersCheckMs, type Reading } from './ownership.ts'
import { redriveDue } from './redrive.ts'
import { somethingSucceeds } from './scout.ts'
import { Report } from './registration.ts'
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

/** The longest that a consumer with a backlog holds the event loop, give or take a batch. */
const breathMs = 20

/** Two batches of a consumer begin a millisecond apart for each event that the first had but one, so many at most, unless it was full. */
const paceMs = 5

/** Events that are read at least where others hold lanes, as far as the handler's batches are not smaller. */
const peekMin = 200

/** Positions that a cursor may lag behind what was scanned without finding anything. */
const keepUpEvery = 1_000

type Batch = Awaited<ReturnType<EventSource['readAfter']>>

/** A batch that is on its way, and what was asked for. */
interface Ahead {
  readonly after: number
  readonly lane: readonly number[]
  readonly limit: number
  readonly generation: number
  readonly batch: Promise<Batch>
}

export class Subscription {
  readonly spec: DurableSpec
  readonly source: EventSource
  readonly #parts: SubscriptionParts
  readonly #progress: Bell
  readonly #warn: SubscriptionOptions['warn']
  #stopping = new AbortController()
  #abort = new AbortController()
  readonly #ownership: Ownership
  readonly #report: Report
  readonly #lateness: Lateness
  readonly #bell = new Bell()
  #rings = 0
  #breakerUntilMs = 0
  /** An open breaker stands in the database: of this process, or of one that has ended with it. */
  #breakerShown = true
  #pacedUntilMs = 0
  #ahead: Ahead | undefined
  /** The main loop has another batch at hand: nobody needs to ask the database. */
  #isAtWork = false
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
      batchSize: new BatchSize(spec.batch),
      turns: new Mutex(),
      stopping: () => this.#stopping.signal,
      signal: () => this.#abort.signal,
    }
    this.#ownership = new Ownership(this.#parts, (error) => this.#tell(error))
    this.#report = new Report(this.#parts)
    this.#lateness = new Lateness(this.#parts)
  }

  get #runtime(): ContextRuntime {
    return this.#parts.runtime
  }

  get name(): string {
    return this.spec.name
  }

  /** The number of what this process wants of the source. */
  get edition(): number {
    return this.#ownership.edition
  }

  get context(): string {
    return this.#runtime.name
  }

  #tell(error: unknown): void {
    this.#warn(`'${this.name}' of '${this.context}'`, error)
  }

  /** Registers the consumer and its cursors; at the first time it decides where they start. @throws PABAL_START_AT_REQUIRED */
  async register(): Promise<void> {
    await this.#ownership.register()
    await this.#ownership.verify()
    await this.#report.send()
  }

  /** What is left to do, in words; undefined when nothing is. A dead key is settled, a paused consumer is not waited for. */
  async behind(): Promise<string | undefined> {
    if (this.#isAtWork) return 'a batch at hand'
    const { database, contextStore } = this.#runtime
    const { consumer, positions } = await database.read(async (session) => ({
      consumer: await contextStore.cursors.consumer(session, this.name),
      positions: (await contextStore.cursors.cursors(session, this.name)).filter(
        ({ source }) => source === this.source.name,
      ),
    }))
    if (consumer?.state === 'paused') return undefined
    const places = new Map(
      positions.map(({ lane, position }) => [lane, Math.max(position, this.#ownership.scanned(lane))]),
    )
    for (let after = Math.min(...places.values()), limit = 1; places.size > 0; limit = this.spec.batch) {
      // A stretch of other types, or of lanes that are further on, may be longer than one read.
      const lane = { lane: [...places.keys()], lanes: this.#ownership.lanes }
      const { events, through } = await this.source.readAfter({ after, lane, limit })
      const open = events.find(({ key, position }) => position > places.get(slotOf(key) % this.#ownership.lanes)!)
      if (open !== undefined) return `events after position ${open.position - 1}`
      if (through <= after) break
      after = through
    }
    // Last: what a batch has parked is stored with the cursor that was just seen behind it.
    const dueMs = await database.read((session) => contextStore.parking.nextDueMs(session, this.name, this.source.name))
    return dueMs === undefined ? undefined : 'a key that will be tried again'
  }

  run(): void {
    if (this.#running !== undefined) return
    this.#stopping = new AbortController()
    this.#abort = new AbortController()
    // What this process begins for a subscription belongs to no unit of work that happens to be open around start().
    const silence = this.source.onAppend(() => this.ring())
    this.#running = outside(() =>
      Promise.all([
        this.#loop(async () => {
          const idleMs = await this.#work()
          this.#isAtWork = idleMs === undefined && this.#ahead !== undefined
          return idleMs
        }),
        this.#loop(async () => {
          const stayMs = await this.#ownership.stay()
          const idleMs = await this.#care()
          return idleMs === undefined ? undefined : Math.min(idleMs, stayMs)
        }),
      ]),
    ).finally(() => {
      this.#isAtWork = false
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
    // A process that only sends and looks owns nothing, and knows nothing to report.
    if (this.#running === undefined) return this.#ownership.release()
    const ended = new AbortController()
    this.#stopping.abort()
    // Counted, so that a loop that is just about to sleep looks again.
    this.ring()
    const grace = this.#runtime.environment.sleep(graceMs, ended.signal).then(() => this.#abort.abort())
    await this.#running
    ended.abort()
    await grace
    this.#running = undefined
    await this.#ownership.release()
    await this.#report.send()
  }

  /** Runs `step` until stopped. A step says how long nothing will have to be done, or undefined when there is more at once. */
  async #loop(step: () => Promise<number | undefined>): Promise<void> {
    const { environment } = this.#runtime
    let breathedMs = environment.now()
    for (let failures = 0; !this.#stopping.signal.aborted; ) {
      const rings = this.#rings
      let idleMs: number | undefined
      try {
        idleMs = await step()
        failures = 0
      } catch (error) {
        if (this.#stopping.signal.aborted) return
        if (error instanceof Fenced)
          await this.#ownership.yieldTo(error.lanes).catch((thrown: unknown) => this.#tell(thrown))
        else this.#tell(error)
        this.#isAtWork = false
        idleMs = error instanceof Fenced ? undefined : backoffMs(++failures, 50, 5_000, environment.random)
      }
      this.#progress.ring()
      const sleeps = idleMs !== undefined && rings === this.#rings
      if (sleeps) await this.#sleep(idleMs!)
      // An embedded database answers without a turn of the event loop: a backlog would keep requests, timers and signals waiting.
      else if (environment.now() - breathedMs >= breathMs) await environment.sleep(0)
      else continue
      breathedMs = environment.now()
    }
  }

  async #sleep(ms: number): Promise<void> {
    const awake = new AbortController()
    const silence = this.#bell.onRing(() => awake.abort('rung'))
    await this.#runtime.environment.sleep(ms, awake.signal)
    silence()
  }

  /** One step of the main loop: a batch of all lanes that this process owns, or may own. */
  async #work(): Promise<number | undefined> {
    const { environment } = this.#runtime
    const nowMs = environment.now()
    if (nowMs < this.#breakerUntilMs) return this.#breakerUntilMs - nowMs
    // What comes one by one goes at once; a burst gathers, since a commit costs more than a batch.
    if (nowMs < this.#pacedUntilMs) {
      await environment.sleep(this.#pacedUntilMs - nowMs, this.#stopping.signal)
      if (this.#stopping.signal.aborted) return undefined
    }
    if (this.#ownership.isInDoubt) await this.#ownership.doubt()
    return (await this.#step(false)) || (await this.#step(true))
      ? undefined
      : (this.#ownership.nextAskMs() ?? Number.MAX_SAFE_INTEGER)
  }

  /** True when there may be more at once. `anew`: whether lanes are still ours is asked before it is said that nothing is there. */
  async #step(anew: boolean): Promise<boolean> {
    const parts = this.#parts
    const readings = await this.#ownership.read(anew)
    if (readings.size === 0) return false
    const after = Math.min(...[...readings.values()].map((reading) => reading.after))
    // What others hold is told by more than a few events: of that depends what is wished for.
    const peeks = [...readings.values()].some(({ owned }) => owned === undefined)
    const { now: most } = parts.batchSize
    const batch = await this.#readAfter(
      after,
      [...readings.keys()],
      peeks ? Math.max(most, Math.min(peekMin, this.spec.batch)) : most,
    )
    const { wanted, lanes } = this.#wanted(batch.events, readings)
    const share = await this.#shareFor(new Set(lanes), readings)
    if (wanted.length > 0 && share === undefined) return this.#stopping.signal.aborted ? false : this.#retry(readings)
    if (share === undefined) return this.#nothingFound(readings, batch.through, after)
    const ours = new Set(share.numbers.lane)
    const events = wanted.filter((_, index) => ours.has(lanes[index]!))
    const whole = events.length === wanted.length
    const apartMs = batch.isFull ? 0 : Math.min(paceMs, batch.events.length - 1)
    this.#pacedUntilMs = this.#runtime.environment.now() + apartMs
    const through = events.at(-1)!.position
    const result = await this.#ownership.calling(() =>
      this.spec.effects === 'external'
        ? performBatch(parts, share, events, through)
        : applyBatch(parts, share, events, through),
    )
    share.moved(parts, result.place, result.handled)
    if (whole && result.breaks === undefined) {
      // Of the other lanes nothing stands up to where all of it is done.
      const done = result.place.position === through ? batch.through : result.place.position
      for (const [lane, reading] of readings)
        if (reading.owned !== undefined || ours.has(lane)) this.#ownership.scannedTo(lane, done)
      await this.#ownership.keepUp(keepUpEvery)
    }
    if (this.#report.isDueAt(share.position)) await this.#report.send()
    if (result.breaks !== undefined && (await somethingSucceeds(parts, share))) {
      parts.breaker.notEverything()
      return true
    }
    await this.#observe(result)
    // A batch may have parked keys: the second loop wants to know when they are due.
    this.ring()
    if (result.breaks !== undefined) return false
    await this.#ownership.giveBack(share)
    return true
  }

  /** Events behind the places of their lanes, and the lane of each. */
  #wanted(
    events: readonly EventRecord[],
    readings: ReadonlyMap<number, Reading>,
  ): { readonly wanted: readonly EventRecord[]; readonly lanes: readonly number[] } {
    const wanted: EventRecord[] = []
    const lanes: number[] = []
    for (const event of events) {
      const lane = slotOf(event.key) % this.#ownership.lanes
      if (event.position <= readings.get(lane)!.after) continue
      wanted.push(event)
      lanes.push(lane)
    }
    return { wanted, lanes }
  }

  /** The next events of these lanes. Of a backlog the batch behind it is read while this one is handled. */
  async #readAfter(
    after: number,
    lane: readonly number[],
    most: number,
  ): Promise<Batch & { readonly isFull: boolean }> {
    const ahead = this.#ahead
    this.#ahead = undefined
    const isNext =
      ahead?.after === after && ahead.generation === this.source.generation && ahead.lane.join() === lane.join()
    const { limit, batch: reading } = isNext ? ahead : this.#read(after, lane, most)
    const batch = await reading
    const isFull = batch.events.length === limit
    if (isFull) {
      this.#ahead = this.#read(batch.through, lane, this.#parts.batchSize.now)
      // Nobody may come for it; who does is told.
      this.#ahead.batch.catch(() => {})
    }
    return { ...batch, isFull }
  }

  #read(after: number, lane: readonly number[], limit: number): Ahead {
    const { generation } = this.source
    const batch = this.source.readAfter({ after, lane: { lane, lanes: this.#ownership.lanes }, limit })
    return { after, lane, limit, generation, batch }
  }

  /** Some lanes could not be had, or have moved since: what is left is read again, unless others have all of it. */
  #retry(readings: ReadonlyMap<number, Reading>): boolean {
    return [...readings.keys()].some((lane) => this.#ownership.leftToOthersMs(lane) === 0) && !this.#ownership.paused
  }

  /** Those of the lanes that this process has or can get, and which are where they were read; a suspect one by itself. */
  async #shareFor(numbers: ReadonlySet<number>, readings: ReadonlyMap<number, Reading>): Promise<Share | undefined> {
    const lanes: Lane[] = []
    const refused = new Set<number>()
    for (const number of numbers) {
      if (this.#stopping.signal.aborted) return undefined
      const lane = await this.#ownership.ownForWork(number)
      if (lane === undefined) refused.add(number)
      // Claimed just now, it may have been moved by its last owner since the batch was read.
      if (lane === undefined || lane.scanned !== readings.get(number)!.after) continue
      if (lane.alone || lane.suspect) return new Share([lane])
      lanes.push(lane)
    }
    await this.#ownership.wishFor(refused)
    const [first] = lanes
    if (first === undefined) return undefined
    return new Share(lanes.filter(({ incarnation }) => incarnation === first.incarnation))
  }

  /** Only events of other types: the stored cursors follow from time to time, so that retention is not held up. */
  async #nothingFound(readings: ReadonlyMap<number, Reading>, through: number, after: number): Promise<boolean> {
    if (through <= after) return false
    for (const [lane, reading] of readings) this.#ownership.nothingThrough(lane, reading, through)
    await this.#ownership.keepUp(keepUpEvery)
    return true
  }

  /** Opens or closes the breaker, and shows it to whoever looks at the database. */
  async #observe(result: BatchResult): Promise<void> {
    const { environment, database, contextStore } = this.#runtime
    const { leaseMs: silentMs } = this.#parts
    if (result.breaks === undefined) {
      if (!this.#breakerShown || this.#parts.breaker.isOpen) return
      this.#breakerUntilMs = 0
      this.#breakerShown = false
      await database.transaction(
        (session) => contextStore.cursors.update(session, this.name, { breaker_until_ms: null, breaker_error: null }),
        { silentMs },
      )
      return
    }
    this.#breakerUntilMs = environment.now() + this.#parts.breaker.open()
    this.#breakerShown = true
    const failure = describeFailure(result.breaks)
    this.#warn(`'${this.name}' of '${this.context}': everything fails, held`, result.breaks)
    await database.transaction(
      (session) =>
        contextStore.cursors.update(session, this.name, {
          breaker_until_ms: this.#breakerUntilMs,
          breaker_error: `${failure.name}: ${failure.message}`,
        }),
      { silentMs },
    )
  }

  /** One step of the second loop: parked keys that are due, and events that are late. */
  async #care(): Promise<number | undefined> {
    const { environment, database, contextStore } = this.#runtime
    const nowMs = environment.now()
    if (nowMs < this.#breakerUntilMs) return this.#breakerUntilMs - nowMs
    // While everything fails a parked key would only use up its attempts; the main loop finds out when it is over, and rings.
    const nextMs = this.#parts.breaker.isOpen
      ? undefined
      : await database.read((session) => contextStore.parking.nextDueMs(session, this.name, this.source.name))
    if (nextMs !== undefined && nextMs <= nowMs) {
      for (let lane = 0; lane < this.#ownership.lanes; lane++)
        await this.#ownership.careFor(lane, (owned) =>
          this.#ownership.calling(() => redriveDue(this.#parts, owned, nowMs)),
        )
      if (this.#ownership.paused) return Number.MAX_SAFE_INTEGER
      // Not ours: its owner sees to it; look again when the lease may be free.
      return this.#ownership.ownsAll ? undefined : othersCheckMs
    }
    const lateMs = await this.#lateness.check(() => this.#ownership.own(0))
    return Math.min(nextMs === undefined ? Number.MAX_SAFE_INTEGER : nextMs - nowMs, lateMs)
  }
}
