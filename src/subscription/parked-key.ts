/** What waits at one parked key: read from the log, its attempt counted, its events passed in order within a transaction. */

import { readIn, type Scope } from '../context/scope.ts'
import { backoffMs } from '../core/environment.ts'
import { PabalError } from '../core/errors.ts'
import { EventRecord } from '../event/envelope.ts'
import type { ParkedKey } from '../store/store.ts'
import { isSameHistory, partingsOf, streamOf, wasBrought } from './admission.ts'
import { afterFailure, park } from './exhaustion.ts'
import { goOn, passInbox } from './going-on.ts'
import { judge } from './inbox.ts'
import type { Share, SubscriptionParts } from './lane.ts'
import type { Attempt } from './one-by-one.ts'

/** A key's events from where it is parked, read when its log had come to `readThrough` at least. */
export interface KeyRead {
  readonly row: ParkedKey
  readonly events: readonly EventRecord[]
  /** The one behind them. */
  readonly following: EventRecord | undefined
  readonly readThrough: number
}

/** Runs the handler on an event, or says what a run before has come to. */
export type Run = (event: EventRecord, attempt: number) => Promise<Attempt>

export const readParked = async (
  { source }: SubscriptionParts,
  row: ParkedKey,
  limit: number,
  readThrough: number,
): Promise<KeyRead> => {
  const found = await source.readKey(row.key, row.sequence, limit + 1)
  const events =
    row.edited === null ? found : found.map((event) => (event.sequence === row.sequence ? edit(event, row) : event))
  return first({ row, events, following: undefined, readThrough }, limit)
}

/** Of what was read, so many events. */
export const first = (read: KeyRead, count: number): KeyRead => ({
  ...read,
  events: read.events.slice(0, count),
  following: read.events[count] ?? read.following,
})

/** Runs that begin and do not end, after which the event is not run again, though its policy would allow fewer. */
const crashesMin = 3

/**
 * Counts the attempt before it is run: one that ends the process would be repeated for ever. False: there is nothing to run,
 * because a person was quicker or because too many runs have not come back. In a transaction that holds the lane.
 */
export const begin = async (
  parts: SubscriptionParts,
  share: Share,
  scope: Scope,
  { row, events: [event] }: KeyRead,
): Promise<boolean> => {
  if (event === undefined) return true
  const { runtime, spec, source } = parts
  const { parking } = runtime.contextStore
  const { random, now } = runtime.environment
  const current = await parking.get(scope.session, spec.name, source.name, row.key)
  if (current === undefined || !isSame(current, row)) return false
  if (current.attempts >= Math.max(spec.retry.attempts, crashesMin)) {
    const thrown = new PabalError('PABAL_HANDLER_CRASHED', `${event.type} ${event.id}: its handler did not come back`)
    await park(parts, share, scope, event, { thrown, attempt: current.attempts, delayMs: undefined, row: current })
    return false
  }
  const attempts = current.attempts + 1
  const delayMs = backoffMs(attempts, spec.retry.firstMs, spec.retry.maxMs, random)
  await parking.put(scope.session, { ...current, attempts, next_ms: now() + delayMs })
  return true
}

/** The run has come to nothing that would be the event's own doing. */
export const undoBegin = async (
  { runtime, spec, source }: SubscriptionParts,
  scope: Scope,
  { row }: KeyRead,
): Promise<void> => {
  const { parking } = runtime.contextStore
  const { attempts, next_ms } = row
  const current = await parking.get(scope.session, spec.name, source.name, row.key)
  if (current !== undefined && isSame(current, row) && current.attempts === attempts + 1)
    await parking.put(scope.session, { ...current, attempts, next_ms })
}

/** A person was not quicker: it is not skipped, edited, or retried since. */
const isSame = (current: ParkedKey, row: ParkedKey): boolean =>
  current.status === 'retrying' && current.sequence === row.sequence && current.edited?.id === row.edited?.id

/** Whether the inbox lets an event pass. */
export const verdictOn = async (
  parts: SubscriptionParts,
  share: Share,
  row: ParkedKey,
  event: EventRecord,
  { lock = false }: { readonly lock?: boolean } = {},
): Promise<ReturnType<typeof judge>> => {
  const { database, contextStore } = parts.runtime
  const stream = streamOf(parts)
  // A person has taken the producer's history as it is now.
  if (stream === undefined || (row.error.code === 'PABAL_KEY_DIVERGED' && event.sequence === row.sequence))
    return 'apply'
  const { head, parting } = await readIn(database, async (session) => ({
    head: (await contextStore.inbox.heads(session, stream, [event.key], { lock })).get(event.key),
    parting: (await partingsOf(parts, session, [event.key])).get(event.key),
  }))
  if (await wasBrought(parts, parting, event)) return 'duplicate'
  if (head !== undefined && head.incarnation !== share.incarnation && !(await isSameHistory(parts, head, event)))
    return 'diverged'
  return judge(head, event)
}

/**
 * In one transaction that holds the lane, with the cursor at `position`: events until one fails; then the key stays parked there,
 * or is free when nothing is left.
 */
export const passInOrder = async (
  parts: SubscriptionParts,
  share: Share,
  scope: Scope,
  { row, events, following, readThrough }: KeyRead,
  position: number,
  run: Run,
): Promise<void> => {
  const { runtime, spec, source, breaker } = parts
  const { parking } = runtime.contextStore
  const current = await parking.get(scope.session, spec.name, source.name, row.key)
  if (current === undefined || !isSame(current, row)) return
  const stream = streamOf(parts)
  let waiting = current.waiting
  let next = following
  let sequence = row.sequence - 1
  for (const [index, event] of events.entries()) {
    next = event
    if (event.position > position) break
    const verdict = await verdictOn(parts, share, row, event, { lock: true })
    if (verdict !== 'duplicate') {
      const attempt = index === 0 ? row.attempts + 1 : 1
      const outcome = verdict === 'apply' ? await run(event, attempt) : { thrown: refusal(verdict, event, row) }
      // What stood in its way has gone meanwhile: it is run the next time, never taken as done.
      if (outcome === 'unrun' && index === 0) return
      if (outcome === 'unrun') break
      if (index > 0) waiting = Math.max(0, waiting - 1)
      if (outcome === undefined) breaker.succeeded()
      else {
        // What is missing keeps its place, so that it is read when it is there.
        const place = verdict === 'gap' ? { from: sequence + 1 } : {}
        const failed = { thrown: outcome.thrown, attempt, row: { ...current, waiting }, ...place }
        if ((await afterFailure(parts, share, scope, event, failed)) === 'parked') return
      }
      await passInbox(runtime.contextStore, scope.session, stream, event.key, {
        sequence: event.sequence,
        eventId: originalId(event, row),
        incarnation: share.incarnation,
      })
    }
    sequence = event.sequence
    next = events[index + 1] ?? following
  }
  await scope.flush()
  const nowMs = runtime.environment.now()
  await goOn(
    runtime.contextStore,
    scope.session,
    current,
    { sequence },
    { next, readThrough, position, waiting, nowMs },
  )
}

/** Why an event may not be handled now. What is still so stays as it was described. */
const refusal = (verdict: 'gap' | 'diverged', event: EventRecord, { error }: ParkedKey): PabalError => {
  const code = verdict === 'gap' ? 'PABAL_EVENT_MISSING' : 'PABAL_KEY_DIVERGED'
  const detail = `key ${JSON.stringify(event.key)} of '${event.source}': number ${event.sequence} does not follow what was applied`
  return new PabalError(code, error.code === code ? error.message.replace(`${code}: `, '') : detail)
}

/** An edited copy: new id, caused by the original, in the original's place for this consumer only. */
const edit = (original: EventRecord, { edited }: ParkedKey): EventRecord => {
  const copy = new EventRecord(original.definition, original.source, {
    id: edited!.id,
    key: original.key,
    version: original.definition.version,
    text: edited!.data,
    timeMs: original.timeMs,
    correlationId: original.correlationId,
    causationId: original.id,
    hopCount: original.hopCount,
    traceparent: original.traceparent,
    metadataText: original.metadataText,
  })
  copy.position = original.position
  copy.sequence = original.sequence
  copy.previousSequence = original.previousSequence
  return copy
}

/** The inbox remembers what the producer sent, not what a person made of it. */
const originalId = (event: EventRecord, { edited }: ParkedKey): string =>
  edited !== null && event.id === edited.id ? event.causationId! : event.id
