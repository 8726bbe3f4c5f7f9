/** After a failure, inside the transaction: the key parks for a retry or for a person, or goes on by its policy (P6). */

import type { Scope } from '../context/scope.ts'
import { isPabalError } from '../core/errors.ts'
import type { EventRecord } from '../event/envelope.ts'
import type { ParkedKey } from '../store/store.ts'
import { runWith } from './admission.ts'
import { decideNext, describeFailure } from './failure.ts'
import type { Share, SubscriptionParts } from './lane.ts'

/** `parked`: the key waits. `passed`: the event was left out by policy, the key goes on. */
export type Outcome = 'parked' | 'passed'

export const park = async (
  parts: SubscriptionParts,
  share: Share,
  scope: Scope,
  event: EventRecord,
  how: {
    readonly thrown: unknown
    readonly attempt: number
    readonly delayMs: number | undefined
    readonly from?: number
    readonly row?: ParkedKey | undefined
  },
): Promise<Outcome> => {
  const { spec, source, runtime } = parts
  const nowMs = runtime.environment.now()
  const { row, attempt, delayMs } = how
  const sequence = how.from ?? event.sequence
  const sameEvent = row?.sequence === sequence
  await runtime.contextStore.parking.put(scope.session, {
    consumer: spec.name,
    source: source.name,
    key: event.key,
    lane: share.laneOf(event.key),
    status: delayMs === undefined ? 'dead' : 'retrying',
    sequence,
    position: event.position,
    event_id: sameEvent ? row.event_id : event.id,
    type: event.type,
    attempts: attempt,
    next_ms: nowMs + (delayMs ?? 0),
    error: describeFailure(how.thrown),
    first_failed_ms: sameEvent ? row.first_failed_ms : nowMs,
    last_failed_ms: nowMs,
    waiting: row?.waiting ?? 0,
    edited: sameEvent ? row.edited : null,
  })
  return 'parked'
}

/** What the consumer's policy says after run number `attempt` has failed. `row` is there when the key was parked before. */
export const afterFailure = async (
  parts: SubscriptionParts,
  share: Share,
  scope: Scope,
  event: EventRecord,
  failure: {
    readonly thrown: unknown
    readonly attempt: number
    readonly row?: ParkedKey | undefined
    readonly from?: number
  },
): Promise<Outcome> => {
  const { spec, runtime } = parts
  const { thrown, attempt } = failure
  // Parked as missing or diverged by us, not failed by the handler: no retry policy applies to what is not there.
  if (isPabalError(thrown) && thrown.code === 'PABAL_KEY_DIVERGED')
    return park(parts, share, scope, event, { ...failure, delayMs: undefined })
  let delayMs: number | undefined
  try {
    delayMs = decideNext(spec.retry, thrown, attempt, runtime.environment.random).delayMs
  } catch (error) {
    // A policy that fails decides nothing, and must not stop the other keys.
    return park(parts, share, scope, event, { ...failure, thrown: error, delayMs: undefined })
  }
  const missing = isPabalError(thrown) && thrown.code === 'PABAL_EVENT_MISSING'
  if (delayMs !== undefined || spec.onExhausted === 'park' || missing)
    return park(parts, share, scope, event, { ...failure, delayMs })
  const reason = describeFailure(thrown).message
  const { onExhausted } = spec
  if (onExhausted !== 'skip') {
    try {
      await scope.savepoint(async () => {
        await runWith(parts, scope, event, attempt, (given) => onExhausted(thrown, event as never, given))
        await scope.flush()
      })
    } catch (error) {
      return park(parts, share, scope, event, { ...failure, thrown: error, delayMs: undefined })
    }
  }
  await runtime.contextStore.parking.skip(scope.session, {
    consumer: spec.name,
    source: parts.source.name,
    event_id: event.id,
    key: event.key,
    sequence: event.sequence,
    type: event.type,
    reason,
    by: onExhausted === 'skip' ? 'onExhausted: skip' : 'onExhausted',
    at_ms: runtime.environment.now(),
  })
  return 'passed'
}
