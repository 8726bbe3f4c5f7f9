/** `within`: events that are not handled in time. After A, do B within a time; when not, it shows, and may raise an event. */

import type { EventRecord } from '../event/envelope.ts'
import { slotOf } from '../store/slot.ts'
import type { ParkedKey } from '../store/store.ts'
import { runWith } from './admission.ts'
import { inTurn, type Lane, Share, type SubscriptionParts } from './lane.ts'

const perCheck = 200

/** How often to ask whether a process that looks after this has gone. */
const othersMs = 5_000

/** So many events come due that each look takes several: a tenth of the time, at most 10 s. */
const restMs = (withinMs: number): number => Math.min(withinMs / 10, 10_000)

export class Lateness {
  readonly #parts: SubscriptionParts
  /** Nothing that may be late stands before this. */
  #passed = 0

  constructor(parts: SubscriptionParts) {
    this.#parts = parts
  }

  /** Looks once at every event whose time is over; in how many milliseconds to look again. */
  async check(own: () => Promise<Lane | undefined>): Promise<number> {
    const { spec, runtime } = this.#parts
    const { withinMs, onLate } = spec
    if (withinMs === undefined || onLate === undefined) return Number.MAX_SAFE_INTEGER
    const rows = await runtime.database.read((session) => runtime.contextStore.cursors.cursors(session, spec.name))
    const first = rows.find(({ source, lane }) => source === this.#parts.source.name && lane === 0)
    if (first === undefined) return Number.MAX_SAFE_INTEGER
    const events = await this.#readAfter(first.late)
    const nowMs = runtime.environment.now()
    // In the order of the log, though an earlier one may have been raised a little later: none is stepped over.
    const early = events.findIndex(({ timeMs }) => timeMs + withinMs > nowMs)
    const due = early === -1 ? events : events.slice(0, early)
    if (due.length > 0) {
      // The owner of the first lane decides for all, so that nothing is raised twice.
      const lane = await own()
      if (lane === undefined) return Math.max(withinMs, othersMs)
      await this.#raise(lane, due)
    }
    const next = events[due.length]
    // Whatever is appended rings.
    if (next === undefined) return due.length === perCheck ? 0 : Number.MAX_SAFE_INTEGER
    return Math.max(next.timeMs + withinMs - nowMs, restMs(withinMs))
  }

  /** The next events that may be late, however much of other types stands between. */
  async #readAfter(late: number): Promise<readonly EventRecord[]> {
    for (this.#passed = Math.max(this.#passed, late); ; ) {
      const { events, through } = await this.#parts.source.readAfter({
        after: this.#passed,
        lane: { lane: 0, lanes: 1 },
        limit: perCheck,
      })
      if (events.length > 0 || through <= this.#passed) return events
      this.#passed = through
    }
  }

  async #raise(lane: Lane, due: readonly EventRecord[]): Promise<void> {
    const { spec, runtime, source } = this.#parts
    const { cursors, parking } = runtime.contextStore
    await inTurn(this.#parts, async (scope) => {
      await new Share([lane]).hold(this.#parts, scope.session)
      const rows = await cursors.cursors(scope.session, spec.name)
      const lanes = rows.filter((row) => row.source === source.name)
      for (const event of due) {
        const parked = await parking.get(scope.session, spec.name, source.name, event.key)
        const cursor = lanes.find(({ lane: number }) => number === slotOf(event.key) % lanes.length)
        if (cursor !== undefined && event.position <= cursor.position && !isWaiting(parked, event)) continue
        await runWith(this.#parts, scope, event, 1, (unit) => spec.onLate!(event as never, unit))
      }
      await scope.flush()
      await cursors.late(scope.session, { ...lane.id, lane: 0 }, due.at(-1)!.position)
    })
  }
}

const isWaiting = (parked: ParkedKey | undefined, event: EventRecord): boolean =>
  parked !== undefined && event.sequence >= parked.sequence
