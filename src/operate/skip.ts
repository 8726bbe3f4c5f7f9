/** A dead letter is left out for good, with a reason; its key goes on behind it. */

import { PabalError } from '../core/errors.ts'
import type { EventRecord } from '../event/envelope.ts'
import type { Head, ParkedKey, Session } from '../store/store.ts'
import { goOn, passInbox } from '../subscription/going-on.ts'
import { type DeadFilter, filtersOf, type FoundDeadLetter, handlerOf, subscriptionOf } from './dead-letters.ts'
import { type Operated, type OperatedContext, type Operator, ring } from './operated.ts'
import { consumerKey, recordAction } from './operator-events.ts'
import { causeOf, changedSince, checkPlan, checkUnchanged, matchOf, planDead } from './retry.ts'

/** Skipping needs a reason: it is what remains of the event. */
export interface Skipper extends Operator {
  readonly reason: string
}

export interface Skipped {
  readonly skipped: number
  /** Keys that somebody else had changed meanwhile; they were left alone. */
  readonly changed: number
}

/** Keys that one transaction lets go on, and that one command does. */
const perTransaction = 200
const skipsMax = 10_000

/** Leaves out the event that a key waits at. @throws PABAL_PLAN_CHANGED when the key is not as it was found */
export const skipOne = async (operated: Operated, found: FoundDeadLetter, operator: Skipper): Promise<void> => {
  const { context, row } = found
  const cause = await causeOf(found)
  const place = await readPlace(found)
  await context.database.transaction(async (session) => {
    checkUnchanged(found, await context.store.parking.get(session, row.consumer, row.source, row.key))
    await leaveOut(operated, found, session, place, operator)
    await recordAction(operated, context, session, operator, {
      type: 'pabal.dead-letter-skipped',
      key: consumerKey(row.consumer),
      what: { consumer: row.consumer, source: row.source, key: row.key, event: row.event_id },
      ...(cause === undefined ? {} : { cause }),
    })
  })
  ring(context, row.consumer)
}

/**
 * Leaves out every dead letter that matches now. What comes up behind them is not touched, dead or not.
 * @throws PABAL_PLAN_CHANGED before anything is changed, PABAL_USAGE for more than 10,000
 */
export const skipAll = async (
  operated: Operated,
  filter: DeadFilter,
  operator: Skipper,
  expected?: number,
): Promise<Skipped> => {
  const plan = await planDead(operated, filter)
  checkPlan(plan, expected)
  if (plan.keys > skipsMax)
    throw new PabalError(
      'PABAL_USAGE',
      `${plan.keys} dead letters match; at most ${skipsMax} are skipped at once: narrow the filter`,
    )
  const sum = { skipped: 0, changed: 0 }
  for (const { context, filter: own } of await filtersOf(operated, { ...filter, status: 'dead' })) {
    const rows = await context.database.read((session) => context.store.parking.list(session, own, plan.keys))
    for (const [consumer, ofConsumer] of Map.groupBy(rows, (row) => row.consumer))
      for (let from = 0; from < ofConsumer.length; from += perTransaction) {
        const chunk = ofConsumer.slice(from, from + perTransaction)
        const skipped = await skipSome(operated, context, consumer, chunk, operator, filter)
        sum.skipped += skipped
        sum.changed += chunk.length - skipped
      }
  }
  return sum
}

const skipSome = async (
  operated: Operated,
  context: OperatedContext,
  consumer: string,
  rows: readonly ParkedKey[],
  operator: Skipper,
  filter: DeadFilter,
): Promise<number> => {
  const chunk = rows.map((row): FoundDeadLetter => ({ context, row, subscription: subscriptionOf(context, row) }))
  const places = await Promise.all(chunk.map(readPlace))
  const skipped = await context.database.transaction(async (session) => {
    let keys = 0
    for (const [index, found] of chunk.entries()) {
      const { row } = found
      if (changedSince(found, await context.store.parking.get(session, row.consumer, row.source, row.key))) continue
      await leaveOut(operated, found, session, places[index]!, operator)
      keys++
    }
    await recordAction(operated, context, session, operator, {
      type: 'pabal.dead-letters-skipped',
      key: consumerKey(consumer),
      what: { consumer, keys, filter: matchOf(filter) },
    })
    return keys
  })
  ring(context, consumer)
  return skipped
}

/** What stands in the log where the key waits. */
interface KeyPlace {
  readonly head: Head
  /** The event to leave out; undefined when it is missing (PABAL_EVENT_MISSING). */
  readonly event: EventRecord | undefined
  readonly next: EventRecord | undefined
  /** Identity of the event that `next` follows on its stream, for the inbox. */
  readonly before: string | undefined
}

const readPlace = async (found: FoundDeadLetter): Promise<KeyPlace> => {
  const { source } = handlerOf(found)
  const { row } = found
  const head = await source.head()
  const [first, second] = await source.readKey(row.key, row.sequence, 2)
  if (first?.sequence === row.sequence) return { head, event: first, next: second, before: undefined }
  const before = first === undefined ? undefined : await source.identityOf(row.key, previousOf(first))
  return { head, event: undefined, next: first, before }
}

const previousOf = (event: EventRecord): number => event.previousSequence ?? event.sequence - 1

/** Inside the transaction: recorded, taken as passed by the inbox, and the key goes on. */
const leaveOut = async (
  { environment }: Operated,
  { context, row, subscription }: FoundDeadLetter,
  session: Session,
  { head, event, next, before }: KeyPlace,
  { by, reason }: Skipper,
): Promise<void> => {
  const { store } = context
  const nowMs = environment.now()
  const { consumer, source, key, sequence, type } = row
  const { stream, producer = source } = subscription?.source ?? {}
  const inbox = stream === undefined ? undefined : { consumer, source: producer, stream }
  const cursors = await store.cursors.cursors(session, consumer)
  const position = cursors.find((cursor) => cursor.source === source && cursor.lane === row.lane)?.position ?? 0
  const { incarnation } = head
  await store.parking.skip(session, {
    consumer,
    source,
    event_id: event?.id ?? `${key}#${sequence}`,
    key,
    sequence,
    type,
    reason,
    by,
    at_ms: nowMs,
  })
  const current = (await store.parking.get(session, consumer, source, key))!
  if (event !== undefined) {
    await passInbox(store, session, inbox, key, { sequence, eventId: event.id, incarnation })
    await goOn(store, session, current, event, {
      next,
      readThrough: head.position,
      position,
      waiting: current.waiting,
      nowMs,
    })
    return
  }
  // The gap itself is left out: what waited for it follows at once, and was not counted as waiting.
  const passed = next === undefined ? sequence : previousOf(next)
  await passInbox(store, session, inbox, key, { sequence: passed, eventId: before ?? '', incarnation })
  const waiting = current.waiting + (next === undefined ? 0 : 1)
  await goOn(
    store,
    session,
    current,
    { sequence: passed },
    { next, readThrough: head.position, position, waiting, nowMs },
  )
}
