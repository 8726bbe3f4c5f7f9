/**
 * Handlers whose effects are in the consumer's own database: many events in one transaction with one cursor move. When one
 * fails the batch is undone and run again with a savepoint per event, so that a bad event costs its key and nothing else.
 */

import type { Scope } from '../context/scope.ts'
import { isPromise } from '../core/awaitable.ts'
import { isPabalError, PabalError } from '../core/errors.ts'
import type { EventRecord } from '../event/envelope.ts'
import type { Place } from '../store/store.ts'
import { Admissions, runWith } from './admission.ts'
import { park } from './exhaustion.ts'
import { Fenced, inTurn, type Share, type SubscriptionParts } from './lane.ts'
import { type Attempt, type BatchResult, OneByOne } from './one-by-one.ts'

/** More open subtransactions than this make a server spill their state (64 on Postgres). */
const savepointsMax = 50

/** As long as a batch goes on it has the one write lock and, on an embedded database, the event loop; a commit costs far less. */
const batchMs = 50

/** Nor may it take more than a third of the lease, so that its end is still under it. */
const boxMs = (parts: SubscriptionParts): number => Math.min(batchMs, parts.leaseMs / 3)

class NeedsCare extends Error {}

export const applyBatch = async (
  parts: SubscriptionParts,
  share: Share,
  events: readonly EventRecord[],
  through: number,
): Promise<BatchResult> => {
  if (share.suspect) return parkSuspect(parts, share, events[0]!)
  if (!share.alone && !parts.breaker.isOpen)
    try {
      return await allAtOnce(parts, share, events, through)
    } catch (error) {
      if (error instanceof Fenced || parts.stopping().aborted || isUnknown(error)) throw error
      // Which one it was is found by running them one by one; a failure of the database itself shows there again.
    }
  const chunk = events.slice(0, share.alone ? 1 : savepointsMax)
  const to = chunk.length === events.length ? through : chunk.at(-1)!.position
  try {
    return await oneByOne(parts, share, chunk, to)
  } catch (error) {
    if (!isOfTheHandlers(parts, error)) throw error
    return eachAlone(parts, share, chunk, to)
  }
}

/** The batch may be committed: the fence will tell, when it is tried again. */
const isUnknown = (error: unknown): boolean => isPabalError(error) && error.code === 'PABAL_COMMIT_UNKNOWN'

/** Neither a lost lane, nor our end, nor a database that cannot be written: something that an event's handler has left behind. */
export const isOfTheHandlers = (parts: SubscriptionParts, error: unknown): boolean =>
  !(
    error instanceof Fenced ||
    parts.stopping().aborted ||
    isUnknown(error) ||
    (isPabalError(error) && error.code.startsWith('PABAL_STORE_'))
  )

/**
 * A transaction per event, for what a savepoint does not hold: a deferred constraint fails at COMMIT, and SQLite ends some
 * transactions as a whole. Then that is the failure of the event.
 */
const eachAlone = async (
  parts: SubscriptionParts,
  share: Share,
  events: readonly EventRecord[],
  through: number,
): Promise<BatchResult> => {
  let handled = 0
  for (const event of events) {
    const alone = [event]
    const to = event === events.at(-1) ? through : event.position
    const result = await oneByOne(parts, share, alone, to).catch((thrown: unknown) => {
      if (!isOfTheHandlers(parts, thrown)) throw thrown
      return oneByOne(parts, share, alone, to, async () => ({ thrown }))
    })
    handled += result.handled
    if (result.breaks !== undefined || parts.stopping().aborted) return { ...result, handled }
    share.moved(parts, result.place, 0)
  }
  return { place: share.place, handled, breaks: undefined }
}

export const placeAt = async (
  parts: SubscriptionParts,
  share: Share,
  last: EventRecord | undefined,
  through: number,
): Promise<Place> => ({
  position: through,
  eventId: last?.position === through ? last.id : ((await parts.source.identityAt(through)) ?? null),
  incarnation: share.incarnation,
})

const allAtOnce = async (
  parts: SubscriptionParts,
  share: Share,
  events: readonly EventRecord[],
  through: number,
): Promise<BatchResult> => {
  const { runtime, spec } = parts
  const { environment } = runtime
  const end = await placeAt(parts, share, events.at(-1), through)
  const result = await inTurn(parts, async (scope): Promise<BatchResult> => {
    const admissions = await Admissions.open(parts, share, scope.session, events)
    const unit = scope.unitOf(runtime)
    unit.signal = parts.signal()
    const startMs = environment.now()
    let handled = 0
    for (const event of events) {
      const admitting = admissions.admit(event)
      // Not awaited unless there is something to wait for: a turn of the queue costs as much as a small handler.
      const admission = isPromise(admitting) ? await admitting : admitting
      if (admission.kind === 'park' || event.failure !== undefined) throw new NeedsCare()
      if (admission.kind === 'wait') admissions.waits(event)
      else if (admission.kind === 'handle') {
        unit.metadataOf(event)
        const running = unit.handling(event, spec.handler)
        if (isPromise(running)) await running
        // Listeners are of one event: the next one must not be heard by them.
        if (scope.listens) await scope.flush()
        admissions.passed(event)
      }
      handled++
      if (environment.now() - startMs > boxMs(parts)) break
    }
    await scope.flush()
    const last = events[handled - 1]!
    const place =
      handled === events.length ? end : { position: last.position, eventId: last.id, incarnation: share.incarnation }
    if (!(await admissions.store(scope.session, place.position))) throw new NeedsCare()
    await share.move(parts, scope.session, place)
    return { place, handled, breaks: undefined }
  })
  // Well below, since what was read beyond is read again.
  if (result.handled < events.length) parts.batchSize.shrinkTo(Math.floor(result.handled * 0.8))
  else parts.batchSize.done(result.handled)
  parts.breaker.succeeded()
  return result
}

const oneByOne = async (
  parts: SubscriptionParts,
  share: Share,
  events: readonly EventRecord[],
  through: number,
  attempt: (scope: Scope, event: EventRecord) => Promise<Attempt> = (scope, event) =>
    attemptInSavepoint(parts, scope, event, 1),
): Promise<BatchResult> => {
  const end = await placeAt(parts, share, events.at(-1), through)
  return inTurn(parts, (scope) => OneByOne.run(parts, share, scope, events, end, (event) => attempt(scope, event)))
}

/** Undefined when it succeeded; its writes and events are undone when it failed. */
export const attemptInSavepoint = async (
  parts: SubscriptionParts,
  scope: Scope,
  event: EventRecord,
  attempt: number,
): Promise<{ readonly thrown: unknown } | undefined> => {
  try {
    await scope.savepoint(async () => {
      if (event.failure !== undefined) throw event.failure
      await runWith(parts, scope, event, attempt, (given) => parts.spec.handler(event as never, given))
      await scope.flush()
    })
    return undefined
  } catch (thrown) {
    // Nobody's failure: the database wants the whole transaction again, or is not there.
    if (isPabalError(thrown) && ['PABAL_STORE_CONFLICT', 'PABAL_STORE_UNREACHABLE'].includes(thrown.code)) throw thrown
    return { thrown }
  }
}

/** The event that ended several runs is parked without another one. */
export const parkSuspect = async (parts: SubscriptionParts, share: Share, event: EventRecord): Promise<BatchResult> => {
  const place = { position: event.position, eventId: event.id, incarnation: share.incarnation }
  await inTurn(parts, async (scope) => {
    const admissions = await Admissions.open(parts, share, scope.session, [event])
    const admission = await admissions.admit(event)
    if (admission.kind === 'wait') admissions.waits(event)
    else {
      const thrown = new PabalError('PABAL_HANDLER_CRASHED', `${event.type} ${event.id}: its handler did not come back`)
      await park(parts, share, scope, event, { thrown, attempt: 1, delayMs: undefined })
    }
    await admissions.store(scope.session, place.position)
    await share.move(parts, scope.session, place)
  })
  return { place, handled: 1, breaks: undefined }
}
