/** Parked keys that are due: their events from the log, in order, from the failing one to where the cursor is. */

import { readIn, type Scope } from '../context/scope.ts'
import { backoffMs } from '../core/environment.ts'
import { PabalError } from '../core/errors.ts'
import { EventRecord } from '../event/envelope.ts'
import type { ParkedKey } from '../store/store.ts'
import { isSameHistory, partingsOf, streamOf, wasBrought } from './admission.ts'
import { attemptInSavepoint, isOfTheHandlers } from './database-effects.ts'
import { afterFailure, park } from './exhaustion.ts'
import { recordResult, renewing, runExternal } from './external-effects.ts'
import { goOn, passInbox } from './going-on.ts'
import { judge } from './inbox.ts'
import { inTurn, type Share, type SubscriptionParts } from './lane.ts'

/** Events of one key that one transaction handles. */
const perTransaction = 50

/** A key's events from where it is parked, read while its log ended at `readThrough`. */
interface KeyRead {
  readonly events: readonly EventRecord[]
  readonly readThrough: number
}

/** Handles what waits at one parked key. Resolves when the key failed again, is free, or should be taken up again later. */
export const redrive = async (parts: SubscriptionParts, share: Share, row: ParkedKey): Promise<void> => {
  const { source } = parts
  const readThrough = (await source.head()).position
  const found = await source.readKey(row.key, row.sequence, perTransaction + 1)
  const events =
    row.edited === null ? found : found.map((event) => (event.sequence === row.sequence ? edit(event, row) : event))
  const [head] = events
  if (head !== undefined && !(await begin(parts, share, row, head))) return
  // A first attempt takes all with it; one that may be repeated for the first event's sake takes only that.
  const read = { events: row.attempts === 0 ? events : events.slice(0, 2), readThrough }
  if (parts.spec.effects === 'external') return redriveExternal(parts, share, row, read)
  if (row.attempts > 0) return firstAlone(parts, share, row, read, databaseRun(parts))
  const run = databaseRun(parts)
  try {
    await inTurn(parts, (scope) => inOrder(parts, share, scope, row, read, run(scope)))
  } catch (error) {
    if (!isOfTheHandlers(parts, error)) throw error
    await firstAlone(parts, share, row, read, run)
  }
}

/** Runs that begin and do not end, after which the event is not run again, though its policy would allow fewer. */
const crashesMin = 3

/**
 * Counts the attempt before it is run: one that ends the process would be repeated for ever. False: there is nothing to run,
 * because a person was quicker or because too many runs have not come back.
 */
const begin = (parts: SubscriptionParts, share: Share, row: ParkedKey, event: EventRecord): Promise<boolean> => {
  const { runtime, spec, source } = parts
  const { parking } = runtime.contextStore
  const { random, now } = runtime.environment
  return inTurn(parts, async (scope) => {
    await share.hold(parts, scope.session)
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
  })
}

/** A person was not quicker: it is not skipped, edited, or retried since. */
const isSame = (current: ParkedKey, row: ParkedKey): boolean =>
  current.status === 'retrying' && current.sequence === row.sequence && current.edited?.id === row.edited?.id

const databaseRun =
  (parts: SubscriptionParts) =>
  (scope: Scope): Run =>
  (event, attempt) =>
    attemptInSavepoint(parts, scope, event, attempt)

type Run = (event: EventRecord, attempt: number) => Promise<{ readonly thrown: unknown } | undefined>

/** What fails at COMMIT fails with all that is in the transaction: alone in it, it is the failure of the event. */
const firstAlone = async (
  parts: SubscriptionParts,
  share: Share,
  row: ParkedKey,
  { events, readThrough }: KeyRead,
  run: (scope: Scope) => Run,
): Promise<void> => {
  const first = { events: events.slice(0, 1), readThrough }
  const commit = (attempt: (scope: Scope) => Run) =>
    inTurn(parts, (scope) => inOrder(parts, share, scope, row, first, attempt(scope), events[1]))
  try {
    await commit(run)
  } catch (thrown) {
    if (thrown instanceof NotRun || !isOfTheHandlers(parts, thrown)) throw thrown
    await commit(() => async () => ({ thrown }))
  }
}

/** Outside of a transaction one event at a time: the run first, then its outcome. */
const redriveExternal = async (
  parts: SubscriptionParts,
  share: Share,
  row: ParkedKey,
  read: KeyRead,
): Promise<void> => {
  const { runtime } = parts
  const lost = new AbortController()
  const signal = AbortSignal.any([parts.signal(), lost.signal])
  const [head] = read.events
  const position = await runtime.database.transaction((session) => share.hold(parts, session), {
    silentMs: parts.leaseMs,
  })
  const skips = head === undefined || head.position > position || (await passedBefore(parts, share, row, head))
  const run = skips
    ? undefined
    : await renewing(parts, share, lost, () => runExternal(parts, share, head, row.attempts + 1, signal))
  if (signal.aborted) return
  const outcome =
    (scope: Scope): Run =>
    async (event, attempt) => {
      // What stood in its way has gone meanwhile: it is run the next time, never taken as done.
      if (run === undefined) throw new NotRun()
      return run.ok ? recordResult(parts, scope, event, attempt, run.result) : run
    }
  try {
    await firstAlone(parts, share, row, read, outcome)
  } catch (error) {
    if (!(error instanceof NotRun)) throw error
  }
}

class NotRun extends Error {}

const passedBefore = async (
  parts: SubscriptionParts,
  share: Share,
  row: ParkedKey,
  event: EventRecord,
): Promise<boolean> => {
  return (await verdictOn(parts, share, row, event)) !== 'apply'
}

const verdictOn = async (
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

/** In one transaction: events until one fails; then the key stays parked there, or is free when nothing is left. */
const inOrder = async (
  parts: SubscriptionParts,
  share: Share,
  scope: Scope,
  row: ParkedKey,
  { events, readThrough }: KeyRead,
  attempt: Run,
  following?: EventRecord,
): Promise<void> => {
  const { runtime, spec, source, breaker } = parts
  const { parking } = runtime.contextStore
  const position = await share.hold(parts, scope.session)
  const current = await parking.get(scope.session, spec.name, source.name, row.key)
  if (current === undefined || !isSame(current, row)) return
  const stream = streamOf(parts)
  let waiting = current.waiting
  let next: EventRecord | undefined = following
  let done: { readonly sequence: number } = { sequence: row.sequence - 1 }
  for (const [index, event] of events.entries()) {
    next = events[index + 1] ?? following
    if (event.position > position) {
      next = event
      break
    }
    // What is missing keeps its place, so that it is read when it is there.
    const from = done.sequence + 1
    done = event
    const verdict = await verdictOn(parts, share, row, event, { lock: true })
    if (verdict === 'duplicate') continue
    const first = index === 0
    const attempts = first ? row.attempts + 1 : 1
    const failure = verdict === 'apply' ? await attempt(event, attempts) : { thrown: refusal(verdict, event, row) }
    if (failure !== undefined) {
      const parked = { ...current, waiting: first ? waiting : Math.max(0, waiting - 1) }
      const place = verdict === 'gap' ? { from } : {}
      const failed = { thrown: failure.thrown, attempt: attempts, row: parked, ...place }
      if ((await afterFailure(parts, share, scope, event, failed)) === 'parked') return
    } else breaker.succeeded()
    await passInbox(runtime.contextStore, scope.session, stream, event.key, {
      sequence: event.sequence,
      eventId: originalId(event, row),
      incarnation: share.incarnation,
    })
    if (!first) waiting = Math.max(0, waiting - 1)
    if (index === perTransaction - 1) break
  }
  await scope.flush()
  await goOn(runtime.contextStore, scope.session, current, done, {
    next,
    readThrough,
    position,
    waiting,
    nowMs: runtime.environment.now(),
  })
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
