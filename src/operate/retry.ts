/** Dead letters are handled again, in the order of their keys: the owner of the lane takes them up by itself. */

import { PabalError } from '../core/errors.ts'
import type { Cause } from '../event/envelope.ts'
import type { ParkedKey } from '../store/store.ts'
import {
  countDead,
  type DeadCount,
  type DeadFilter,
  type DeadGroup,
  type DeadLetter,
  eventsOf,
  filtersOf,
  type FoundDeadLetter,
  groupDead,
  handlerOf,
  listDead,
} from './dead-letters.ts'
import { type Operated, type Operator, ring } from './operated.ts'
import { consumerKey, recordAction } from './operator-events.ts'

/** What a bulk operation would do; `keys` is what running it checks. */
export interface DeadPlan extends DeadCount {
  readonly groups: readonly DeadGroup[]
  /** The newest of them. */
  readonly sample: readonly DeadLetter[]
}

const sampleSize = 5

/** Everything dead that matches; what is being retried already is left alone. */
export const planDead = async (operated: Operated, filter: DeadFilter): Promise<DeadPlan> => {
  const dead = { ...filter, status: 'dead' } as const
  return {
    ...(await countDead(operated, dead)),
    groups: await groupDead(operated, dead),
    sample: await listDead(operated, dead, sampleSize),
  }
}

/** @throws PABAL_PLAN_CHANGED */
export const checkPlan = (plan: DeadCount, expected: number | undefined): void => {
  if (expected !== undefined && plan.keys !== expected)
    throw new PabalError('PABAL_PLAN_CHANGED', `${expected} keys were planned, there are ${plan.keys} now`)
}

/** The cause of an action about one event, so that it shows in that event's trace. */
export const causeOf = async (found: FoundDeadLetter): Promise<Cause | undefined> => {
  const [event] = await eventsOf(found, 1)
  return event?.sequence === found.row.sequence ? event : undefined
}

/** Retries one key now, whether it is dead or waits for its next attempt. @throws PABAL_PLAN_CHANGED when it is not as it was found */
export const retryOne = async (operated: Operated, found: FoundDeadLetter, operator: Operator): Promise<void> => {
  const { context, row } = found
  handlerOf(found)
  const cause = await causeOf(found)
  await context.database.transaction(async (session) => {
    const current = await context.store.parking.get(session, row.consumer, row.source, row.key)
    checkUnchanged(found, current)
    await context.store.parking.put(session, {
      ...current!,
      status: 'retrying',
      attempts: 0,
      next_ms: operated.environment.now(),
    })
    await recordAction(operated, context, session, operator, {
      type: 'pabal.dead-letter-retried',
      key: consumerKey(row.consumer),
      what: {
        consumer: row.consumer,
        source: row.source,
        key: row.key,
        event: row.event_id,
        error: row.error.fingerprint,
      },
      ...(cause === undefined ? {} : { cause }),
    })
  })
  ring(context, row.consumer)
}

/** Somebody may have been quicker: the handler, or another person. */
export const changedSince = ({ row }: FoundDeadLetter, current: ParkedKey | undefined): boolean =>
  current?.sequence !== row.sequence || current.edited?.id !== row.edited?.id

/** @throws PABAL_PLAN_CHANGED */
export const checkUnchanged = (found: FoundDeadLetter, current: ParkedKey | undefined): void => {
  if (!changedSince(found, current)) return
  const { row } = found
  const now = current === undefined ? 'is not parked any more' : `waits at number ${current.sequence} now`
  throw new PabalError('PABAL_PLAN_CHANGED', `key ${JSON.stringify(row.key)} of '${row.consumer}' ${now}`)
}

/**
 * Retries every dead key that matches, each context's in one transaction.
 * @throws PABAL_PLAN_CHANGED when there are not as many as were planned; then nothing of that context was changed
 */
export const retryAll = async (
  operated: Operated,
  filter: DeadFilter,
  operator: Operator,
  expected?: number,
): Promise<DeadCount> => {
  const plan = await planDead(operated, filter)
  checkPlan(plan, expected)
  for (const { context, filter: own } of await filtersOf(operated, { ...filter, status: 'dead' })) {
    const planned = plan.groups.filter((group) => group.context === context.context)
    await context.database.transaction(async (session) => {
      const nowMs = operated.environment.now()
      for (const consumer of new Set(planned.map((group) => group.consumer))) {
        const keys = await context.store.parking.retry(session, { ...own, consumer }, nowMs)
        const count = planned.filter((group) => group.consumer === consumer).reduce((sum, group) => sum + group.keys, 0)
        checkPlan({ keys, waiting: 0 }, count)
        await recordAction(operated, context, session, operator, {
          type: 'pabal.dead-letters-retried',
          key: consumerKey(consumer),
          what: { consumer, keys, filter: matchOf(filter) },
        })
      }
    })
    for (const consumer of new Set(planned.map((group) => group.consumer))) ring(context, consumer)
  }
  return { keys: plan.keys, waiting: plan.waiting }
}

/** What was asked for, as it is recorded. */
export const matchOf = ({ context, consumer, key, type, group }: DeadFilter): Record<string, string> =>
  Object.fromEntries(
    Object.entries({ context, consumer, key, type, group }).filter(
      (pair): pair is [string, string] => pair[1] !== undefined,
    ),
  )
