/**
 * Before everything is held: is it everything that fails, or only what stands first? The next events of keys further on in the
 * log are tried. A handler with database effects is rehearsed and undone; one with external effects is run, and will be run
 * again in its turn, with the same idempotency key.
 */

import type { EventRecord } from '../event/envelope.ts'
import { Admissions } from './admission.ts'
import { attemptInSavepoint, isOfTheHandlers } from './database-effects.ts'
import { renewing, runExternal } from './external-effects.ts'
import type { Share, SubscriptionParts } from './lane.ts'

/** Keys that are tried. */
const scouts = 10
/** How far it looks ahead. */
const pages = 20
const perPage = 500

/** True when one of them succeeds. */
export const somethingSucceeds = async (parts: SubscriptionParts, share: Share): Promise<boolean> => {
  const tried = spread(await furtherOn(parts, share), scouts)
  if (tried.length === 0) return false
  if (parts.spec.effects === 'external') return callAny(parts, share, tried)
  for (const event of tried) if (await rehearse(parts, event)) return true
  return false
}

/** The next event of each key that has not failed just now, is not parked, and may be handled. */
const furtherOn = async (parts: SubscriptionParts, share: Share): Promise<readonly EventRecord[]> => {
  const { source, runtime, breaker } = parts
  const next = new Map<string, EventRecord>()
  for (let page = 0, after = share.position; page < pages; page++) {
    const read = { after, lane: share.numbers, limit: perPage }
    const { events, through } = await source.readAfter(read)
    for (const event of events) if (!next.has(event.key)) next.set(event.key, event)
    if (through <= after) break
    after = through
  }
  const candidates = [...next.values()].filter(({ key }) => !breaker.hasFailed(key))
  return runtime.database.read(async (session) => {
    const admissions = await Admissions.open(parts, share, session, candidates, { lock: false })
    const found: EventRecord[] = []
    for (const event of candidates) if ((await admissions.admit(event)).kind === 'handle') found.push(event)
    return found
  })
}

/** So many of them, from the first to the last: what stands together may fail together. */
const spread = (events: readonly EventRecord[], count: number): readonly EventRecord[] =>
  events.length <= count
    ? events
    : Array.from({ length: count }, (_, i) => events[Math.round((i * (events.length - 1)) / (count - 1))]!)

class Rehearsed extends Error {
  readonly succeeded: boolean
  constructor(succeeded: boolean) {
    super()
    this.succeeded = succeeded
  }
}

/** Runs a handler in a transaction that is undone. */
const rehearse = async (parts: SubscriptionParts, event: EventRecord): Promise<boolean> => {
  try {
    await parts.runtime.inTransaction(async (scope) => {
      throw new Rehearsed((await attemptInSavepoint(parts, scope, event, 1)) === undefined)
    })
    return false
  } catch (error) {
    if (error instanceof Rehearsed) return error.succeeded
    if (!isOfTheHandlers(parts, error)) throw error
    return false
  }
}

const callAny = async (parts: SubscriptionParts, share: Share, events: readonly EventRecord[]): Promise<boolean> => {
  const lost = new AbortController()
  const signal = AbortSignal.any([parts.signal(), lost.signal])
  const calls = () => Promise.all(events.map((event) => runExternal(parts, share, event, 1, signal)))
  return (await renewing(parts, share, lost, calls)).some(({ ok }) => ok)
}
