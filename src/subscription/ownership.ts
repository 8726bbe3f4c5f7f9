/**
 * Which lanes this process owns. A lease is taken when there is work and renewed by the work; an idle consumer renews nothing.
 * Whoever is wrong about owning a lane is stopped by its epoch, never by a clock.
 */

import { isPabalError, PabalError } from '../core/errors.ts'
import type { CursorId, CursorRow, Head, Place } from '../store/store.ts'
import { lanesToWishFor } from './fair-share.ts'
import { joinEdition, leaveEdition } from './edition.ts'
import { register, type Registered } from './registration.ts'
import { inTurn, Lane, Share, type SubscriptionParts } from './lane.ts'

/** About how often a process asks for a lane that another one holds while there is work in it. */
export const othersCheckMs = 1_000

/** How often a process tries to register where others hold the lanes for long. */
const registerTries = 6

/** How long a wish lasts where it is not repeated: longer than it takes to ask again, so that who wished is there in time. */
const wishMs = 3_000

/** Where a lane is read on, and as whose: its owner's, or just to see whether there is work. */
export interface Reading {
  readonly after: number
  /** Where its stored cursor was. */
  readonly stored: number
  readonly owned: Lane | undefined
}

export class Ownership {
  readonly #parts: SubscriptionParts
  readonly #warn: (error: unknown) => void
  readonly #lanes = new Map<number, Lane>()
  #generation: string
  /** The lane in which parked keys are tried again just now. */
  #caredFor: number | undefined
  readonly #claiming = new Map<number, Promise<Lane | undefined>>()
  /** Lanes that another process holds, and when to ask again: no sooner, so that a busy owner is not disturbed. */
  readonly #others = new Map<number, number>()
  /** Who had each lane when the cursors were read last. */
  readonly #owners = new Map<number, string | null>()
  /** Of lanes not owned: where the cursor stands, and up to where nothing was found for it. */
  readonly #peeked = new Map<number, { readonly stored: number; readonly through: number }>()
  /** Fixed when the consumer was registered first. */
  lanes = 1
  /** The consumer is paused: it is rung when somebody resumes it. */
  paused = false
  edition = 0
  #calls = 0
  #isMember = false
  #joinedMs = 0
  /** Other processes run a newer version of the handler, which knows what this one would pass over. */
  #superseded = false

  constructor(parts: SubscriptionParts, warn: (error: unknown) => void) {
    this.#parts = parts
    this.#warn = warn
    this.#generation = this.generation
  }

  /** @throws PABAL_START_AT_REQUIRED */
  async register(): Promise<void> {
    const { lanes, edition, superseded } = await this.#registered()
    this.#isMember = true
    this.#joinedMs = this.#parts.runtime.environment.now()
    this.lanes = lanes
    this.edition = edition
    this.#supersede(superseded)
  }

  /** Older processes hold their lanes while they handle a parked key: for longer, it may be, than one transaction waits. */
  async #registered(): Promise<Registered> {
    for (let tries = 1; ; tries++)
      try {
        return await register(this.#parts)
      } catch (error) {
        if (!isPabalError(error) || error.code !== 'PABAL_STORE_BUSY' || tries === registerTries) throw error
        this.#warn(error)
      }
  }

  #id(lane: number): CursorId {
    return { consumer: this.#parts.spec.name, source: this.#parts.source.name, lane }
  }

  owned(lane: number): Lane | undefined {
    return this.#lanes.get(lane)
  }

  get ownsAll(): boolean {
    return this.#lanes.size === this.lanes
  }

  /**
   * Where each lane is read on, of those that are not left to others. What this process owns it knows; `anew` asks the database,
   * which alone knows that a lane was taken away (pause, reset, another owner): then its place is not ours any more.
   */
  async read(anew: boolean): Promise<ReadonlyMap<number, Reading>> {
    const numbers = Array.from({ length: this.lanes }, (_, lane) => lane).filter(
      (lane) => this.leftToOthersMs(lane) === 0,
    )
    // Looked at now. One whose time is over a moment later stays, so that somebody wakes up for it.
    for (const lane of numbers) this.#others.delete(lane)
    const readings = new Map<number, Reading>()
    if (numbers.length === 0) return readings
    if (!anew && numbers.every((lane) => this.#lanes.has(lane))) {
      for (const lane of numbers) {
        const owned = this.#lanes.get(lane)!
        readings.set(lane, { after: owned.scanned, stored: owned.position, owned })
      }
      return readings
    }
    const { database, contextStore } = this.#parts.runtime
    const { consumer, source } = this.#id(0)
    const known = new Map(this.#lanes)
    const fenced: Lane[] = []
    const cursors = await database.read((session) => contextStore.cursors.cursors(session, consumer))
    const byLane = new Map(cursors.filter((row) => row.source === source).map((row) => [row.lane, row]))
    for (const { lane, owner } of byLane.values()) this.#owners.set(lane, owner)
    for (const lane of numbers) {
      const cursor = byLane.get(lane)
      const owned = this.#lanes.get(lane)
      const stored = cursor?.position ?? 0
      if (owned !== undefined && owned.epoch === cursor?.epoch)
        readings.set(lane, { after: owned.scanned, stored, owned })
      // Claimed while we asked: the answer is older than the claim.
      else if (owned !== undefined && owned !== known.get(lane))
        readings.set(lane, { after: owned.scanned, stored: owned.position, owned })
      else {
        this.#lanes.delete(lane)
        if (owned !== undefined && cursor?.owner === database.owner) fenced.push(owned)
        const peeked = this.#peeked.get(lane)
        readings.set(lane, { after: peeked?.stored === stored ? peeked.through : stored, stored, owned: undefined })
      }
    }
    await this.yieldTo(fenced)
    return readings
  }

  /** Nothing was found there for this consumer. What has been claimed or reset since the reading began is not touched. */
  nothingThrough(lane: number, { stored, owned, after }: Reading, through: number): void {
    if (owned === undefined) this.#peeked.set(lane, { stored, through: Math.max(after, through) })
    else owned.scanned = Math.max(owned.scanned, through)
  }

  scannedTo(lane: number, position: number): void {
    const owned = this.#lanes.get(lane)
    if (owned !== undefined) owned.scanned = Math.max(owned.scanned, position)
  }

  /** Up to where a lane was looked at in this process. */
  scanned(lane: number): number {
    return this.#lanes.get(lane)?.scanned ?? 0
  }

  /** How long a lane is left to its other owner; 0 when it may be asked for. */
  leftToOthersMs(lane: number): number {
    const untilMs = this.#others.get(lane)
    return untilMs === undefined ? 0 : Math.max(0, untilMs - this.#parts.runtime.environment.now())
  }

  /** Until one of the lanes that others hold may be asked for; undefined when they hold none. */
  nextAskMs(): number | undefined {
    const waitsMs = [...this.#others.keys()].map((lane) => this.leftToOthersMs(lane))
    return waitsMs.length === 0 ? undefined : Math.max(1, Math.min(...waitsMs))
  }

  /** Says again that this process is there, where that is not known otherwise. Returns when to say it next. */
  async stay(): Promise<number> {
    const { environment, database, contextStore } = this.#parts.runtime
    const { stayMs } = contextStore.editions
    if (stayMs === undefined) return Number.MAX_SAFE_INTEGER
    if (environment.now() - this.#joinedMs >= stayMs) {
      this.edition = await database.transaction((session) => joinEdition(this.#parts, session))
      this.#joinedMs = environment.now()
    }
    return Math.max(1, this.#joinedMs + stayMs - environment.now())
  }

  /** Handlers run meanwhile, which cannot be undone. */
  async calling<R>(fn: () => Promise<R>): Promise<R> {
    this.#calls++
    try {
      return await fn()
    } finally {
      this.#calls--
    }
  }

  /** They were taken away, and what was under way has ended: a newer version that waits for that is let in. */
  async yieldTo(lanes: readonly Lane[]): Promise<void> {
    this.forget(lanes)
    if (this.#parts.spec.effects === 'external' && this.#calls === 0)
      for (const { id } of lanes) await this.own(id.lane)
  }

  /** Somebody else has them now. */
  forget(lanes: readonly Lane[]): void {
    for (const lane of lanes) if (this.#lanes.get(lane.id.lane) === lane) this.#lanes.delete(lane.id.lane)
  }

  /** Changes when the log, or the database that the cursors are in, may have become another. */
  get generation(): string {
    return `${this.#parts.source.generation} ${this.#parts.runtime.database.generation}`
  }

  get isInDoubt(): boolean {
    return this.#generation !== this.generation
  }

  /** Nothing that is known of the log holds any more: what is owned is claimed again, and checked (P8). */
  async doubt(): Promise<void> {
    const { generation } = this
    this.#lanes.clear()
    this.#peeked.clear()
    this.edition = await this.#parts.runtime.database.transaction((session) => joinEdition(this.#parts, session))
    // Only when it was seen: a server that is away for the moment may come back as another one.
    await this.verify()
    this.#generation = generation
  }

  /**
   * The lane with a lease that lasts, for the next events at its cursor: should this process end before the cursor moves, the
   * claim counts against them.
   */
  async ownForWork(number: number): Promise<Lane | undefined> {
    const lane = await this.own(number)
    if (lane === undefined || lane.counted) return lane
    const { leaseMs, runtime } = this.#parts
    await runtime.database.transaction((session) => lane.count(this.#parts, session, lane.stalls), {
      silentMs: leaseMs,
    })
    lane.counted = true
    lane.untilMs = runtime.environment.now() + leaseMs
    return lane
  }

  /** For parked keys: the lane, if it can be had, which is not given back meanwhile. */
  async careFor(number: number, fn: (lane: Lane) => Promise<void>): Promise<void> {
    this.#caredFor = number
    try {
      const lane = await this.own(number)
      if (lane !== undefined) await fn(lane)
    } finally {
      this.#caredFor = undefined
    }
  }

  /** The lane with a lease that lasts; claimed, or claimed again before it runs out. Two loops ask: one claim serves both. */
  own(lane: number): Promise<Lane | undefined> {
    let claiming = this.#claiming.get(lane)
    if (claiming === undefined) {
      claiming = this.#claim(lane).finally(() => this.#claiming.delete(lane))
      this.#claiming.set(lane, claiming)
    }
    return claiming
  }

  async #claim(number: number): Promise<Lane | undefined> {
    const { leaseMs, runtime, spec } = this.#parts
    const { environment, database, contextStore } = runtime
    const known = this.#lanes.get(number)
    if (known !== undefined && known.untilMs - environment.now() > leaseMs / 2) return known
    const id = this.#id(number)
    this.#others.delete(number)
    const row = await database.transaction(
      async (session) => {
        const consumer = await contextStore.cursors.consumer(session, id.consumer)
        this.paused = consumer === undefined || consumer.state === 'paused'
        if (this.paused) return undefined
        const held =
          known !== undefined && (await contextStore.cursors.hold(session, id, known.epoch, leaseMs)) !== undefined
        const claimed = held ? undefined : await contextStore.cursors.claim(session, id, leaseMs)
        const epoch = held ? known.epoch : claimed?.epoch
        if (epoch === undefined) return undefined
        // Now that nobody else can take it away before this is committed.
        if (this.#supersede(await contextStore.editions.isSuperseded(session, id, this.edition))) {
          // What is under way in the other loop must have ended before anybody else begins.
          if (this.#calls === 0) await contextStore.cursors.release(session, id, epoch, held ? 0 : claimed!.stalls - 1)
          return undefined
        }
        if (held) return 'held' as const
        // Parked keys keep an account of their own; who comes for them must not make a suspect of what is at the cursor.
        await new Lane(claimed!, this.lanes, spec.batch).count(this.#parts, session, claimed!.stalls - 1)
        return claimed
      },
      { silentMs: leaseMs },
    )
    if (row === 'held') {
      known!.untilMs = environment.now() + leaseMs
      return known
    }
    this.#lanes.delete(number)
    if (row !== undefined) return this.#accept(row)
    if (!this.paused) this.#leaveToOthers(number)
    return undefined
  }

  #supersede(superseded: boolean): boolean {
    if (superseded && !this.#superseded)
      this.#warn(
        new PabalError(
          'PABAL_HANDLER_SUPERSEDED',
          `another process runs a newer version of '${this.#parts.spec.name}', which handles what this one would pass over: it is left to that`,
        ),
      )
    this.#superseded = superseded
    return superseded
  }

  /** Whoever has this lane has those that it had when they were looked at, most likely: they are not asked for one by one. */
  #leaveToOthers(number: number): void {
    const { now, random } = this.#parts.runtime.environment
    const untilMs = now() + othersCheckMs * (0.5 + random())
    this.#others.set(number, untilMs)
    const owner = this.#owners.get(number)
    if (owner === undefined || owner === null) return
    for (const [lane, other] of this.#owners)
      if (other === owner && !this.#lanes.has(lane)) this.#others.set(lane, untilMs)
  }

  /** Lanes with work in them that others hold: asks for some, where that is fair. */
  async wishFor(withWork: ReadonlySet<number>): Promise<void> {
    if (withWork.size === 0 || this.paused || this.#superseded) return
    const { leaseMs, runtime } = this.#parts
    const { database, contextStore } = runtime
    const id = this.#id(0)
    const holders = await database.read((session) => contextStore.cursors.holders(session, id))
    const lanes = lanesToWishFor(holders, database.owner, withWork)
    if (lanes.length === 0) return
    await database.transaction((session) => contextStore.cursors.wish(session, id, lanes, wishMs), {
      silentMs: leaseMs,
    })
  }

  /**
   * Between two batches: gives back what was wished for. A lane under suspicion stays until it is known what is wrong with it, and
   * one in which a parked key is tried until that has ended: what runs outside of a transaction would run again elsewhere.
   */
  async giveBack({ wished, alone }: Share): Promise<void> {
    const given = alone ? [] : wished.filter(({ id }) => id.lane !== this.#caredFor)
    if (given.length === 0) return
    this.forget(given)
    for (const { id } of given) this.#leaveToOthers(id.lane)
    const { leaseMs, runtime } = this.#parts
    await runtime.database.transaction(
      async (session) => {
        for (const { id, epoch } of given) await runtime.contextStore.cursors.release(session, id, epoch)
      },
      { silentMs: leaseMs },
    )
  }

  /** At a start: a log that was rewound is noticed at once, not with its next event. */
  async verify(): Promise<void> {
    const { database, contextStore } = this.#parts.runtime
    const { consumer, source } = this.#id(0)
    const cursors = await database.read((session) => contextStore.cursors.cursors(session, consumer))
    for (const row of cursors)
      if (row.source === source && !(await this.#isSame(row, await this.#parts.source.head()))) await this.own(row.lane)
  }

  /** A claimed lane, once its log is known to be the one that the cursor was in (P8). */
  async #accept(row: CursorRow): Promise<Lane | undefined> {
    const { source, spec } = this.#parts
    const head = await source.head()
    const lane = new Lane({ ...row, incarnation: head.incarnation }, this.lanes, spec.batch)
    if (!(await this.#isSame(row, head))) return this.#rewound(lane, row)
    this.#lanes.set(lane.id.lane, lane)
    return lane
  }

  /** The event at the cursor is the one that was handled there, or retention has dropped it since. */
  async #isSame(row: CursorRow, head: Head): Promise<boolean> {
    const { source } = this.#parts
    if (row.position > head.position) return false
    if (row.position === 0 || row.event_id === null) return true
    const there = await source.identityAt(row.position)
    return there === undefined ? row.position < (await source.oldest()) : there === row.event_id
  }

  /**
   * The log does not hold what was handled at the cursor. With an inbox the cursor goes back to the start and every key is
   * compared; without one, only a person can say where to go on.
   */
  async #rewound(lane: Lane, row: CursorRow): Promise<undefined> {
    const { source, runtime, spec } = this.#parts
    const { cursors, inbox } = runtime.contextStore
    const error = new PabalError(
      'PABAL_LOG_REWOUND',
      `'${spec.name}' of '${runtime.name}' handled event ${row.event_id} at position ${row.position} of '${source.name}', which is not there`,
    )
    this.#warn(error)
    await runtime.database.transaction(async (session) => {
      if (source.stream === undefined) {
        await cursors.update(session, spec.name, { state: 'paused', reason: error.message })
        await cursors.revoke(session, spec.name)
        return
      }
      await inbox.distrust(session, spec.name, source.producer)
      const to = { position: 0, eventId: null, incarnation: lane.incarnation }
      const moves = [{ lane: lane.id.lane, epoch: lane.epoch, from: lane.position, to }]
      await cursors.move(session, lane.id, moves, { leaseMs: 0, stalls: 0 })
      await cursors.release(session, lane.id, lane.epoch)
    })
    return undefined
  }

  /** Stored cursors follow what was scanned without finding anything, where they lag behind it by so much. */
  async keepUp(by: number): Promise<void> {
    const lagging = [...this.#lanes.values()].filter((lane) => lane.scanned - lane.position >= by)
    if (lagging.length === 0 || this.isInDoubt) return
    for (const lane of lagging) if ((await this.own(lane.id.lane)) !== lane) return
    const share = new Share(lagging)
    // Each to where the least of them was looked at: all of it is behind every one.
    const place = await this.#placeAt(Math.min(...lagging.map(({ scanned }) => scanned)), share.incarnation)
    await inTurn(this.#parts, ({ session }) => share.move(this.#parts, session, place))
    share.moved(this.#parts, place, 0)
  }

  async #placeAt(position: number, incarnation: string): Promise<Place> {
    return { position, eventId: (await this.#parts.source.identityAt(position)) ?? null, incarnation }
  }

  /** Gives all lanes back, with what was scanned: this process does not run the consumer any more. */
  async release(): Promise<void> {
    const { database, contextStore } = this.#parts.runtime
    for (const lane of this.#lanes.values()) {
      // What was scanned was another log's, it may be.
      const to =
        lane.scanned > lane.position && !this.isInDoubt
          ? await this.#placeAt(lane.scanned, lane.incarnation)
          : undefined
      await database.transaction(async (session) => {
        if (to !== undefined) {
          const moves = [{ lane: lane.id.lane, epoch: lane.epoch, from: lane.position, to }]
          await contextStore.cursors.move(session, lane.id, moves, { leaseMs: 0, stalls: 0 })
        }
        await contextStore.cursors.release(session, lane.id, lane.epoch)
      })
    }
    this.#lanes.clear()
    // Who cannot say so is gone when its connection is.
    if (!this.#isMember) return
    this.#isMember = false
    await database
      .transaction((session) => leaveEdition(this.#parts, session))
      .catch((error: unknown) => this.#warn(error))
  }
}
