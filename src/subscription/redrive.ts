/** Parked keys that are due: their events from the log, in order, from the failing one to where the cursor is. */

import type { Scope } from '../context/scope.ts'
import type { EventRecord } from '../event/envelope.ts'
import type { ParkedKey } from '../store/store.ts'
import { attemptInSavepoint, isOfTheHandlers } from './database-effects.ts'
import { recordResult, renewing, runBatch, runExternal } from './external-effects.ts'
import { inTurn, Share, type Lane, type SubscriptionParts } from './lane.ts'
import { begin, first, type KeyRead, passInOrder, readParked, type Run, undoBegin, verdictOn } from './parked-key.ts'

/** Events of one key that one transaction handles. */
const perTransaction = 50
/** Keys of one lane that are taken up together where a handler takes batches. */
const keysTogether = 100

/** Handles what waits at the keys of a lane that are due. Each has failed again then, is free, or should be taken up again later. */
export const redriveDue = async (parts: SubscriptionParts, lane: Lane, nowMs: number): Promise<void> => {
  const { database, contextStore } = parts.runtime
  const together = parts.spec.handleBatch !== undefined
  const limit = together ? keysTogether : parts.spec.concurrency
  const rows = await database.read((session) => contextStore.parking.due(session, lane.id, nowMs, limit))
  if (rows.length === 0) return
  const share = new Share([lane])
  if (together) return redriveTogether(parts, share, rows)
  // All are waited for: none may run on beside its successor, or after the end.
  const outcomes = await Promise.allSettled(rows.map((row) => redrive(parts, share, row)))
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason as Error
}

const redrive = async (parts: SubscriptionParts, share: Share, row: ParkedKey): Promise<void> => {
  const read = await readParked(parts, row, perTransaction, (await parts.source.head()).position)
  const begun = await inTurn(parts, async (scope) => {
    await share.hold(parts, scope.session)
    return begin(parts, share, scope, read)
  })
  if (!begun) return
  if (parts.spec.effects === 'external') return redriveExternal(parts, share, read)
  const run = (scope: Scope): Run => {
    return (event, attempt) => attemptInSavepoint(parts, scope, event, attempt)
  }
  // A first attempt takes all with it; one that may be repeated for the first event's sake takes only that.
  if (row.attempts > 0) return firstAlone(parts, share, read, run)
  try {
    await commit(parts, share, read, run)
  } catch (error) {
    if (!isOfTheHandlers(parts, error)) throw error
    await firstAlone(parts, share, read, run)
  }
}

const commit = (parts: SubscriptionParts, share: Share, read: KeyRead, run: (scope: Scope) => Run): Promise<void> =>
  inTurn(parts, async (scope) => {
    const position = await share.hold(parts, scope.session)
    await passInOrder(parts, share, scope, read, position, run(scope))
  })

/** What fails at COMMIT fails with all that is in the transaction: alone in it, it is the failure of the event. */
const firstAlone = async (
  parts: SubscriptionParts,
  share: Share,
  read: KeyRead,
  run: (scope: Scope) => Run,
): Promise<void> => {
  const alone = first(read, 1)
  try {
    await commit(parts, share, alone, run)
  } catch (thrown) {
    if (!isOfTheHandlers(parts, thrown)) throw thrown
    await commit(parts, share, alone, () => async () => ({ thrown }))
  }
}

/** Outside of a transaction one event at a time: the run first, then its outcome. */
const redriveExternal = async (parts: SubscriptionParts, share: Share, read: KeyRead): Promise<void> => {
  const { runtime } = parts
  const { row } = read
  const lost = new AbortController()
  const signal = AbortSignal.any([parts.signal(), lost.signal])
  const [head] = read.events
  const position = await runtime.database.transaction((session) => share.hold(parts, session), {
    silentMs: parts.leaseMs,
  })
  const runs = head !== undefined && (await mayRun(parts, share, row, head, position))
  const outcome = runs
    ? await renewing(parts, share, lost, () => runExternal(parts, share, head, row.attempts + 1, signal))
    : undefined
  if (signal.aborted) return
  await firstAlone(parts, share, read, (scope) => async (event, attempt) => {
    if (outcome === undefined) return 'unrun'
    return outcome.ok ? recordResult(parts, scope, event, attempt, outcome.result) : outcome
  })
}

const mayRun = async (
  parts: SubscriptionParts,
  share: Share,
  row: ParkedKey,
  event: EventRecord,
  position: number,
): Promise<boolean> => event.position <= position && (await verdictOn(parts, share, row, event)) === 'apply'

/**
 * For a handler of batches, many keys at once: a broker that has refused a part of a batch would otherwise be given what waits
 * behind it one by one.
 */
const redriveTogether = async (parts: SubscriptionParts, share: Share, rows: readonly ParkedKey[]): Promise<void> => {
  const perKey = Math.max(1, Math.min(perTransaction, Math.floor(parts.batchSize.now / rows.length)))
  const readThrough = (await parts.source.head()).position
  const reads: KeyRead[] = []
  // One that has failed takes nothing with it that would be repeated for its sake.
  for (const row of rows) reads.push(await readParked(parts, row, row.attempts === 0 ? perKey : 1, readThrough))
  const { begun, position } = await inTurn(parts, async (scope) => {
    const held = await share.hold(parts, scope.session)
    const those: KeyRead[] = []
    for (const read of reads) if (await begin(parts, share, scope, read)) those.push(read)
    return { begun: those, position: held }
  })
  const events: EventRecord[] = []
  for (const read of begun) {
    const [head] = read.events
    if (head !== undefined && (await mayRun(parts, share, read.row, head, position)))
      events.push(...read.events.filter((event) => event.position <= position))
  }
  events.sort((a, b) => a.position - b.position)
  const lost = new AbortController()
  const signal = AbortSignal.any([parts.signal(), lost.signal])
  const settled = await renewing(parts, share, lost, () => runBatch(parts, share, events, signal)).catch(
    async (error: unknown) => {
      await inTurn(parts, async (scope) => {
        for (const read of begun) await undoBegin(parts, scope, read)
      })
      throw error
    },
  )
  if (signal.aborted) return
  const outcomes = new Map(events.map((event, index) => [event, settled[index]!]))
  const run: Run = async (event) => {
    const outcome = outcomes.get(event) ?? 'unrun'
    return outcome === 'unrun' ? outcome : outcome.ok ? undefined : outcome
  }
  await inTurn(parts, async (scope) => {
    const held = await share.hold(parts, scope.session)
    for (const read of begun) await passInOrder(parts, share, scope, read, held, run)
  })
}
