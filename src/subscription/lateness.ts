/** `within`: events that are not handled in time. After A, do B within a time; when not, it shows, and may raise an event. */

import { within } from '../context/unit-of-work.ts'
import type { EventRecord } from '../event/envelope.ts'
import type { ParkedKey } from '../store/store.ts'
import { runWith } from './admission.ts'
import type { Lane, SubscriptionParts } from './lane.ts'

const perCheck = 200

/** So many events come due that each look takes several: a tenth of the time, at most 10 s. */
const restMs = (withinMs: number): number => Math.min(withinMs / 10, 10_000)

export class Lateness {
  readonly #parts: SubscriptionParts

  constructor(parts: SubscriptionParts) {
    this.#parts = parts
  }

  /** Looks once at every event whose time is over; in how many milliseconds to look again. */
  async check(own: () => Promise<Lane | undefined>): Promise<number> {
    const { spec, runtime, source } = this.#parts
    const { withinMs, onLate } = spec
    if (withinMs === undefined || onLate === undefined) return Number.MAX_SAFE_INTEGER
    const row = await runtime.database.read((session) => runtime.contextStore.cursors.consumer(session, spec.name))
    if (row === undefined) return withinMs
    const { events } = await source.readAfter({ after: row.late, lane: { lane: 0, lanes: 1 }, limit: perCheck })
    const nowMs = runtime.environment.now()
    const due = events.filter(({ timeMs }) => timeMs + withinMs <= nowMs)
    if (due.length > 0) {
      // The owner of the first lane decides for all, so that nothing is raised twice.
      const lane = await own()
      if (lane === undefined) return withinMs
      await this.#raise(lane, due)
    }
    const next = events[due.length]
    if (next === undefined) return due.length === perCheck ? 0 : withinMs
    return Math.max(next.timeMs + withinMs - nowMs, restMs(withinMs))
  }

  async #raise(lane: Lane, due: readonly EventRecord[]): Promise<void> {
    const { spec, runtime, source } = this.#parts
    const { cursors, parking } = runtime.contextStore
    await runtime.inTransaction(async (scope) => {
      await lane.hold(this.#parts, scope.session)
      const rows = await cursors.cursors(scope.session, spec.name)
      const behind = Math.min(...rows.filter((row) => row.source === source.name).map(({ position }) => position))
      for (const event of due) {
        const parked = await parking.get(scope.session, spec.name, source.name, event.key)
        if (event.position <= behind && !isWaiting(parked, event)) continue
        await within(scope, () => runWith(this.#parts, scope, event, 1, (unit) => spec.onLate!(event as never, unit)))
      }
      await within(scope, () => scope.flush())
      await cursors.update(scope.session, spec.name, { late: due.at(-1)!.position })
    })
  }
}

const isWaiting = (parked: ParkedKey | undefined, event: EventRecord): boolean =>
  parked !== undefined && event.sequence >= parked.sequence
