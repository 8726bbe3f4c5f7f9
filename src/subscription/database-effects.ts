/**
 * Handlers whose effects are in the consumer's own database: many events in one transaction with one cursor move. When one
 * fails the batch is undone and run again with a savepoint per event, so that a bad event costs its key and nothing else.
 */

import { type Scope, within } from '../context/unit-of-work.ts'
import { isPromise } from '../core/awaitable.ts'
import { PabalError } from '../core/errors.ts'
import type { EventRecord } from '../event/envelope.ts'
import type { Place } from '../store/store.ts'
import { Admissions, runWith } from './admission.ts'
import { afterFailure, park } from './exhaustion.ts'
import { Fenced, type Lane, type SubscriptionParts } from './lane.ts'

/** How far the cursor has come, and whether everything must be held because everything fails. */
export interface BatchResult {
  readonly place: Place
  readonly handled: number
  readonly breaks: unknown
}

/** More open subtransactions than this make a server spill their state (64 on Postgres). */
const savepointsMax = 50

/** A batch may take a third of the lease, so that its end is still under it. */
const boxMs = (parts: SubscriptionParts): number => parts.leaseMs / 3

class NeedsCare extends Error {}

export const applyBatch = async (
  parts: SubscriptionParts,
  lane: Lane,
  events: readonly EventRecord[],
  through: number,
): Promise<BatchResult> => {
  if (lane.suspect) return parkSuspect(parts, lane, events[0]!)
  if (!lane.alone && !parts.breaker.isOpen)
    try {
      return await allAtOnce(parts, lane, events, through)
    } catch (error) {
      if (error instanceof Fenced || parts.stopping().aborted) throw error
      // Which one it was is found by running them one by one; a failure of the database itself shows there again.
    }
  const chunk = events.slice(0, lane.alone || parts.breaker.isOpen ? 1 : savepointsMax)
  return oneByOne(parts, lane, chunk, chunk.length === events.length ? through : chunk.at(-1)!.position)
}

export const placeAt = async (
  parts: SubscriptionParts,
  lane: Lane,
  last: EventRecord | undefined,
  through: number,
): Promise<Place> => ({
  position: through,
  eventId: last?.position === through ? last.id : ((await parts.source.identityAt(through)) ?? null),
  incarnation: lane.incarnation,
})

const allAtOnce = async (
  parts: SubscriptionParts,
  lane: Lane,
  events: readonly EventRecord[],
  through: number,
): Promise<BatchResult> => {
  const { runtime, spec } = parts
  const { environment } = runtime
  const end = await placeAt(parts, lane, events.at(-1), through)
  const result = await runtime.inTransaction(async (scope): Promise<BatchResult> => {
    const admissions = await Admissions.open(parts, lane, scope.session, events)
    const unit = scope.unitOf(runtime)
    unit.signal = parts.signal()
    const startMs = environment.now()
    let handled = 0
    await within(scope, async () => {
      for (const event of events) {
        const admission = await admissions.admit(event)
        if (admission.kind === 'park' || event.failure !== undefined) throw new NeedsCare()
        if (admission.kind === 'wait') admissions.waits(event.key)
        else if (admission.kind === 'handle') {
          unit.metadataOf(event)
          const running = unit.handling(event, spec.handler)
          if (isPromise(running)) await running
          admissions.passed(event)
        }
        handled++
        if (environment.now() - startMs > boxMs(parts)) break
      }
      await scope.flush()
    })
    const last = events[handled - 1]!
    const place =
      handled === events.length ? end : { position: last.position, eventId: last.id, incarnation: lane.incarnation }
    if (!(await admissions.store(scope.session))) throw new NeedsCare()
    await lane.move(parts, scope.session, place)
    return { place, handled, breaks: undefined }
  })
  parts.breaker.succeeded()
  return result
}

const oneByOne = async (
  parts: SubscriptionParts,
  lane: Lane,
  events: readonly EventRecord[],
  through: number,
): Promise<BatchResult> => {
  const { runtime, breaker } = parts
  const end = await placeAt(parts, lane, events.at(-1), through)
  let succeeded = false
  const result = await runtime.inTransaction(async (scope): Promise<BatchResult> => {
    const admissions = await Admissions.open(parts, lane, scope.session, events)
    let before: Place = { position: lane.position, eventId: lane.eventId, incarnation: lane.incarnation }
    let handled = 0
    for (const event of events) {
      const admission = await admissions.admit(event)
      if (admission.kind === 'wait') admissions.waits(event.key)
      else if (admission.kind === 'park') {
        const dead = admission.error.code === 'PABAL_KEY_DIVERGED'
        await park(parts, lane, scope, event, {
          thrown: admission.error,
          attempt: 0,
          delayMs: dead ? undefined : 0,
          from: admission.from,
        })
        admissions.parked(event.key)
      } else if (admission.kind === 'handle') {
        const failure = await attemptInSavepoint(parts, scope, event, 1)
        if (failure === undefined) {
          succeeded = true
          admissions.passed(event)
        } else if (breaker.failed(event.key)) {
          // Not parked: it stays the next event, and everything waits.
          await admissions.store(scope.session)
          await lane.move(parts, scope.session, before)
          return { place: before, handled, breaks: failure.thrown }
        } else if ((await afterFailure(parts, lane, scope, event, { thrown: failure.thrown, attempt: 1 })) === 'parked')
          admissions.parked(event.key)
        else admissions.passed(event)
      }
      handled++
      before = { position: event.position, eventId: event.id, incarnation: lane.incarnation }
    }
    await admissions.store(scope.session)
    await lane.move(parts, scope.session, end)
    return { place: end, handled, breaks: undefined }
  })
  if (succeeded) breaker.succeeded()
  return result
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
      await within(scope, async () => {
        await runWith(parts, scope, event, attempt, (given) => parts.spec.handler(event as never, given))
        await scope.flush()
      })
    })
    return undefined
  } catch (thrown) {
    return { thrown }
  }
}

/** The event that ended several runs is parked without another one. */
export const parkSuspect = async (parts: SubscriptionParts, lane: Lane, event: EventRecord): Promise<BatchResult> => {
  const place = { position: event.position, eventId: event.id, incarnation: lane.incarnation }
  await parts.runtime.inTransaction(async (scope) => {
    const admissions = await Admissions.open(parts, lane, scope.session, [event])
    const admission = await admissions.admit(event)
    if (admission.kind === 'wait') admissions.waits(event.key)
    else {
      const thrown = new PabalError('PABAL_HANDLER_CRASHED', `${event.type} ${event.id}: its handler did not come back`)
      await park(parts, lane, scope, event, { thrown, attempt: 1, delayMs: undefined })
    }
    await admissions.store(scope.session)
    await lane.move(parts, scope.session, place)
  })
  return { place, handled: 1, breaks: undefined }
}
