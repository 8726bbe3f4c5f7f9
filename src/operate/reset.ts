/** Putting a consumer's cursor elsewhere: back, so that events are handled again, or on, so that they are left out. */

import { PabalError } from '../core/errors.ts'
import type { CursorRow, Place } from '../store/store.ts'
import type { EventSource } from '../subscription/source.ts'
import type { Subscription } from '../subscription/subscription.ts'
import { parkedEvents } from './lag.ts'
import { type ConsumerAddress, type Operated, type Operator, ring } from './operated.ts'
import { consumerKey, recordAction } from './operator-events.ts'

export type ResetTarget = 'beginning' | 'now' | { readonly position: number }

export interface SourcePlan {
  readonly source: string
  readonly from: readonly number[]
  readonly to: number
  /** Events that were handled and will be again, counting those that a filter leaves out. */
  readonly again: number
  /** Events that were not handled and will not be. */
  readonly leftOut: number
  readonly parkedKeys: number
  /** Events before this one are not in the log any more. */
  readonly oldest: number
}

export interface ResetPlan {
  readonly context: string
  readonly consumer: string
  readonly effects: 'database' | 'external'
  readonly state: 'active' | 'paused'
  readonly again: number
  readonly leftOut: number
  readonly sources: readonly SourcePlan[]
}

/**
 * Counts what a reset would do, and does nothing.
 * @throws PABAL_CONSUMER_NOT_RESETTABLE when a handler with external effects would go back, PABAL_USAGE for a target that is not there
 */
export const planReset = async (address: ConsumerAddress, target: ResetTarget, source?: string): Promise<ResetPlan> => {
  const { context, consumer } = address
  const row = await context.database.read((session) => context.store.cursors.consumer(session, consumer))
  const chosen = subscriptionsOf(address, source)
  if (row === undefined)
    throw new PabalError('PABAL_CONSUMER_UNKNOWN', `'${context.context}/${consumer}' was never started`)
  if (typeof target === 'object' && chosen.length > 1)
    throw new PabalError(
      'PABAL_USAGE',
      `'${consumer}' reads several logs: add --source (${chosen.map((each) => each.source.name).join(', ')})`,
    )
  const sources: SourcePlan[] = []
  for (const subscription of chosen) sources.push(await planSource(address, subscription, target, row.lanes))
  return {
    context: context.context,
    consumer,
    effects: row.effects,
    state: row.state,
    again: sources.reduce((sum, each) => sum + each.again, 0),
    leftOut: sources.reduce((sum, each) => sum + each.leftOut, 0),
    sources,
  }
}

const subscriptionsOf = (
  { context, consumer }: ConsumerAddress,
  source: string | undefined,
): readonly Subscription[] => {
  const all = context.subscriptions.filter(({ name }) => name === consumer)
  if (all.length === 0)
    throw new PabalError('PABAL_CONSUMER_UNKNOWN', `'${context.context}/${consumer}' has no handler in this app`)
  const chosen = source === undefined ? all : all.filter((each) => each.source.name === source)
  if (chosen.length === 0)
    throw new PabalError(
      'PABAL_USAGE',
      `'${consumer}' does not read '${source}'; it reads ${all.map((each) => each.source.name).join(', ')}`,
    )
  return chosen
}

const cursorsOf = ({ context, consumer }: ConsumerAddress, source: string): Promise<readonly CursorRow[]> =>
  context.database.read(async (session) =>
    (await context.store.cursors.cursors(session, consumer)).filter((cursor) => cursor.source === source),
  )

const planSource = async (
  address: ConsumerAddress,
  { source, spec }: Subscription,
  target: ResetTarget,
  laneCount: number,
): Promise<SourcePlan> => {
  const cursors = await cursorsOf(address, source.name)
  const head = await source.head()
  const to = target === 'beginning' ? 0 : target === 'now' ? head.position : target.position
  if (to > head.position)
    throw new PabalError('PABAL_USAGE', `position ${to} is beyond the end of '${source.name}' (${head.position})`)
  // Where a restored log ends, what was handled beyond it is gone: going to its end is not going back.
  const mayRepeat = spec.effects === 'database' || spec.repeatable === true
  if (!mayRepeat && cursors.some(({ position }) => to < Math.min(position, head.position)))
    throw new PabalError(
      'PABAL_CONSUMER_NOT_RESETTABLE',
      `'${address.context.context}/${address.consumer}' is at position ${Math.max(...cursors.map(({ position }) => position))}, ${to} would be back`,
    )
  let again = 0
  let leftOut = 0
  for (const { lane, position } of cursors) {
    const [old, next] = [
      await source.count(position, { lane, lanes: laneCount }),
      await source.count(to, { lane, lanes: laneCount }),
    ]
    if (to < position) again += next - old
    else leftOut += old - next
  }
  const parked = await parkedBefore(address, source, cursors, to)
  // What is parked was not handled: it is handled as if new when it comes after the target, and left out otherwise.
  return {
    source: source.name,
    from: cursors.map(({ position }) => position),
    to,
    again: Math.max(0, again - parked.after),
    leftOut: leftOut + parked.before,
    parkedKeys: parked.keys,
    oldest: await source.oldest(),
  }
}

const parkedBefore = async (
  { context, consumer }: ConsumerAddress,
  source: EventSource,
  cursors: readonly CursorRow[],
  to: number,
) => {
  const sum = { keys: 0, before: 0, after: 0 }
  for await (const { events } of parkedEvents(context, consumer, source, cursors)) {
    const before = events.filter(({ position }) => position <= to).length
    sum.keys++
    sum.before += before
    sum.after += events.length - before
  }
  return sum
}

/**
 * Does what was planned; parked keys of these sources are forgotten. A consumer that was paused because its log was rewound goes on.
 * @throws PABAL_PLAN_CHANGED when the consumer has moved, or more events would be handled again than `expected`
 */
export const reset = async (
  operated: Operated,
  address: ConsumerAddress,
  plan: ResetPlan,
  operator: Operator,
  expected?: number,
): Promise<void> => {
  const { context, consumer } = address
  if (expected !== undefined && plan.again !== expected)
    throw new PabalError(
      'PABAL_PLAN_CHANGED',
      `${expected} events were planned to be handled again, it would be ${plan.again} now`,
    )
  const moves: {
    readonly source: string
    readonly producer: string
    readonly from: readonly number[]
    readonly place: Place
  }[] = []
  for (const { source, from, to } of plan.sources) {
    const log = subscriptionsOf(address, source)[0]!.source
    const { incarnation } = await log.head()
    moves.push({
      source,
      producer: log.producer,
      from,
      place: { position: to, eventId: (await log.identityAt(to)) ?? null, incarnation },
    })
    // Before the cursor goes back, so that the producer's retention keeps what is needed again.
    await log.report?.(`${context.context}/${consumer}`, Math.min(to, ...from))
  }
  await context.database.transaction(async (session) => {
    const row = await context.store.cursors.consumer(session, consumer)
    const cursors = await context.store.cursors.cursors(session, consumer)
    for (const { source, producer, from, place } of moves) {
      const now = cursors.filter((cursor) => cursor.source === source).map(({ position }) => position)
      if (now.join() !== from.join())
        throw new PabalError(
          'PABAL_PLAN_CHANGED',
          `'${consumer}' has moved from ${from.join(', ')} to ${now.join(', ')}; pause it first`,
        )
      await context.store.cursors.reset(session, consumer, source, place)
      await context.store.inbox.forget(session, consumer, producer)
    }
    if (row?.state === 'paused' && row.reason?.startsWith('PABAL_LOG_REWOUND') === true)
      await context.store.cursors.update(session, consumer, { state: 'active', reason: null })
    await recordAction(operated, context, session, operator, {
      type: 'pabal.consumer-reset',
      key: consumerKey(consumer),
      what: {
        consumer,
        sources: plan.sources.map(({ source, from, to, again, leftOut }) => ({ source, from, to, again, leftOut })),
      },
    })
  })
  ring(context, consumer)
}
