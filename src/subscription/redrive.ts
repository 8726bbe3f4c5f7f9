/** Parked keys that are due: their events from the log, in order, from the failing one to where the cursor is. */

import { type Scope, within } from '../context/unit-of-work.ts'
import { EventRecord } from '../event/envelope.ts'
import type { ParkedKey } from '../store/store.ts'
import { streamOf } from './admission.ts'
import { attemptInSavepoint } from './database-effects.ts'
import { afterFailure } from './exhaustion.ts'
import { recordResult, runExternal } from './external-effects.ts'
import { judge } from './inbox.ts'
import type { Lane, SubscriptionParts } from './lane.ts'

/** Events of one key that one transaction handles. */
const perTransaction = 50

/** Handles what waits at one parked key. Resolves when the key failed again, is free, or should be taken up again later. */
export const redrive = async (parts: SubscriptionParts, lane: Lane, row: ParkedKey): Promise<void> => {
  const { source } = parts
  const found = await source.readKey(row.key, row.sequence, perTransaction + 1)
  const events =
    row.edited === null ? found : found.map((event) => (event.sequence === row.sequence ? edit(event, row) : event))
  if (parts.spec.effects === 'external') return redriveExternal(parts, lane, row, events)
  await parts.runtime.inTransaction((scope) =>
    inOrder(parts, lane, scope, row, events, (event, attempt) => attemptInSavepoint(parts, scope, event, attempt)),
  )
}

/** Outside of a transaction one event at a time: the run first, then its outcome. */
const redriveExternal = async (
  parts: SubscriptionParts,
  lane: Lane,
  row: ParkedKey,
  events: readonly EventRecord[],
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
      events.slice(0, 1),
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
  events: readonly EventRecord[],
  attempt: (event: EventRecord, attempt: number) => Promise<{ readonly thrown: unknown } | undefined>,
  following?: EventRecord,
): Promise<void> => {
  const { runtime, spec, source, breaker } = parts
  const { parking, inbox } = runtime.contextStore
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
  for (const [index, event] of events.entries()) {
    next = events[index + 1] ?? following
    if (event.position > position) {
      next = undefined
      break
    }
    const verdict = await verdictOn(parts, lane, scope.session, row, event)
    if (verdict === 'duplicate') continue
    const first = index === 0
    const attempts = first ? row.attempts + 1 : 1
    const failure = verdict === 'apply' ? await attempt(event, attempts) : { thrown: rowError(row) }
    if (failure !== undefined) {
      const parked = { ...current, waiting }
      if (
        (await afterFailure(parts, lane, scope, event, { thrown: failure.thrown, attempt: attempts, row: parked })) ===
        'parked'
      )
        return
    } else breaker.succeeded()
    if (stream !== undefined)
      await inbox.advance(
        scope.session,
        stream,
        new Map([
          [event.key, { sequence: event.sequence, eventId: originalId(event, row), incarnation: lane.incarnation }],
        ]),
      )
    if (!first) waiting = Math.max(0, waiting - 1)
    if (index === perTransaction - 1) break
  }
  await within(scope, () => scope.flush())
  if (next === undefined || next.position > position)
    return parking.remove(scope.session, spec.name, source.name, row.key)
  // More than one transaction's worth: the key goes on with the next event, at once.
  await parking.put(scope.session, {
    ...current,
    waiting: Math.max(0, waiting - 1),
    sequence: next.sequence,
    position: next.position,
    event_id: next.id,
    type: next.type,
    attempts: 0,
    next_ms: runtime.environment.now(),
    edited: null,
  })
}

/** What is still missing stays as it was described. */
const rowError = (row: ParkedKey): Error => Object.assign(new Error(row.error.message), { name: row.error.name })

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
