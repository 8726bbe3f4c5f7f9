/** Parked keys that are due: their events from the log, in order, from the failing one to where the cursor is. */

import { type Scope, within } from '../context/unit-of-work.ts'
import { PabalError } from '../core/errors.ts'
import { EventRecord } from '../event/envelope.ts'
import type { ParkedKey } from '../store/store.ts'
import { streamOf } from './admission.ts'
import { attemptInSavepoint } from './database-effects.ts'
import { afterFailure } from './exhaustion.ts'
import { recordResult, runExternal } from './external-effects.ts'
import { goOn, passInbox } from './going-on.ts'
import { judge } from './inbox.ts'
import type { Lane, SubscriptionParts } from './lane.ts'

/** Events of one key that one transaction handles. */
const perTransaction = 50

/** A key's events from where it is parked, read while its log ended at `readThrough`. */
interface KeyRead {
  readonly events: readonly EventRecord[]
  readonly readThrough: number
}

/** Handles what waits at one parked key. Resolves when the key failed again, is free, or should be taken up again later. */
export const redrive = async (parts: SubscriptionParts, lane: Lane, row: ParkedKey): Promise<void> => {
  const { source } = parts
  const readThrough = (await source.head()).position
  const found = await source.readKey(row.key, row.sequence, perTransaction + 1)
  const events =
    row.edited === null ? found : found.map((event) => (event.sequence === row.sequence ? edit(event, row) : event))
  const read = { events, readThrough }
  if (parts.spec.effects === 'external') return redriveExternal(parts, lane, row, read)
  await parts.runtime.inTransaction((scope) =>
    inOrder(parts, lane, scope, row, read, (event, attempt) => attemptInSavepoint(parts, scope, event, attempt)),
  )
}

/** Outside of a transaction one event at a time: the run first, then its outcome. */
const redriveExternal = async (
  parts: SubscriptionParts,
  lane: Lane,
  row: ParkedKey,
  { events, readThrough }: KeyRead,
): Promise<void> => {
  const { runtime } = parts
  const signal = parts.signal()
  const [head] = events
  const position = await runtime.database.transaction((session) => lane.hold(parts, session))
  const skips = head === undefined || head.position > position || (await passedBefore(parts, lane, row, head))
  const run = skips ? undefined : await runExternal(parts, head, row.attempts + 1, signal)
  if (signal.aborted) return
  await runtime.inTransaction((scope) =>
    inOrder(
      parts,
      lane,
      scope,
      row,
      { events: events.slice(0, 1), readThrough },
      async (event, attempt) => {
        if (run === undefined) return undefined
        return run.ok ? recordResult(parts, scope, event, attempt, run.result) : run
      },
      events[1],
    ),
  )
}

const passedBefore = async (
  parts: SubscriptionParts,
  lane: Lane,
  row: ParkedKey,
  event: EventRecord,
): Promise<boolean> => {
  const verdict = await parts.runtime.database.read((session) => verdictOn(parts, lane, session, row, event))
  return verdict !== 'apply'
}

const verdictOn = async (
  parts: SubscriptionParts,
  lane: Lane,
  session: Scope['session'],
  row: ParkedKey,
  event: EventRecord,
): Promise<ReturnType<typeof judge>> => {
  const stream = streamOf(parts)
  // A person has taken the producer's history as it is now.
  if (stream === undefined || (row.error.code === 'PABAL_KEY_DIVERGED' && event.sequence === row.sequence))
    return 'apply'
  const head = (await parts.runtime.contextStore.inbox.heads(session, stream, [event.key])).get(event.key)
  return judge(head, event)
}

/** In one transaction: events until one fails; then the key stays parked there, or is free when nothing is left. */
const inOrder = async (
  parts: SubscriptionParts,
  lane: Lane,
  scope: Scope,
  row: ParkedKey,
  { events, readThrough }: KeyRead,
  attempt: (event: EventRecord, attempt: number) => Promise<{ readonly thrown: unknown } | undefined>,
  following?: EventRecord,
): Promise<void> => {
  const { runtime, spec, source, breaker } = parts
  const { parking } = runtime.contextStore
  const position = await lane.hold(parts, scope.session)
  const current = await parking.get(scope.session, spec.name, source.name, row.key)
  // A person was quicker: skipped, edited, or retried it just now.
  if (
    current === undefined ||
    current.status !== 'retrying' ||
    current.sequence !== row.sequence ||
    current.edited?.id !== row.edited?.id
  )
    return
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
    const verdict = await verdictOn(parts, lane, scope.session, row, event)
    if (verdict === 'duplicate') continue
    const first = index === 0
    const attempts = first ? row.attempts + 1 : 1
    const failure = verdict === 'apply' ? await attempt(event, attempts) : { thrown: refusal(verdict, event, row) }
    if (failure !== undefined) {
      const parked = { ...current, waiting }
      const place = verdict === 'gap' ? { from } : {}
      const failed = { thrown: failure.thrown, attempt: attempts, row: parked, ...place }
      if ((await afterFailure(parts, lane, scope, event, failed)) === 'parked') return
    } else breaker.succeeded()
    await passInbox(runtime.contextStore, scope.session, stream, event.key, {
      sequence: event.sequence,
      eventId: originalId(event, row),
      incarnation: lane.incarnation,
    })
    if (!first) waiting = Math.max(0, waiting - 1)
    if (index === perTransaction - 1) break
  }
  await within(scope, () => scope.flush())
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
