/** What a person does to a consumer: pause, resume, rename, remove. Each is recorded in the log with who and why. */

import { PabalError } from '../core/errors.ts'
import type { ConsumerRow } from '../store/store.ts'
import { isRewound } from './consumer-status.ts'
import { type ConsumerAddress, type Operated, type Operator, ring } from './operated.ts'
import { consumerKey, recordAction } from './operator-events.ts'

/** False: nothing had to be done. */
export type Changed = boolean

const rowOf = async ({ context, consumer }: ConsumerAddress): Promise<ConsumerRow> => {
  const row = await context.database.read((session) => context.store.cursors.consumer(session, consumer))
  if (row !== undefined) return row
  throw new PabalError('PABAL_CONSUMER_UNKNOWN', `'${context.context}/${consumer}' has a handler but was never started`)
}

/**
 * Stops a consumer at once, in every process. What its handlers are just doing is not recorded: effects in the database are
 * undone, those outside happen again after resuming, with the same idempotency key.
 */
export const pause = async (operated: Operated, address: ConsumerAddress, operator: Operator): Promise<Changed> => {
  const { context, consumer } = address
  if ((await rowOf(address)).state === 'paused') return false
  await context.database.transaction(async (session) => {
    const reason = operator.reason ?? `paused by ${operator.by}`
    await context.store.cursors.update(session, consumer, { state: 'paused', reason })
    await context.store.cursors.revoke(session, consumer)
    await recordAction(operated, context, session, operator, {
      type: 'pabal.consumer-paused',
      key: consumerKey(consumer),
      what: { consumer },
    })
  })
  ring(context, consumer)
  return true
}

/** Lets a paused consumer go on. @throws PABAL_LOG_REWOUND when the cause of the pause is still there */
export const resume = async (operated: Operated, address: ConsumerAddress, operator: Operator): Promise<Changed> => {
  const { context, consumer } = address
  if ((await rowOf(address)).state === 'active') return false
  const cursors = await context.database.read((session) => context.store.cursors.cursors(session, consumer))
  for (const { name, source } of context.subscriptions) {
    const lanes = cursors.filter((cursor) => cursor.source === source.name)
    // Another context's log is compared key by key; in the own one only a person can say where to go on.
    if (name === consumer && source.stream === undefined && (await isRewound(source, lanes)))
      throw new PabalError(
        'PABAL_LOG_REWOUND',
        `'${context.context}/${consumer}' would be paused again: the log does not hold what was handled at its cursor`,
      )
  }
  await context.database.transaction(async (session) => {
    await context.store.cursors.update(session, consumer, { state: 'active', reason: null })
    await recordAction(operated, context, session, operator, {
      type: 'pabal.consumer-resumed',
      key: consumerKey(consumer),
      what: { consumer },
    })
  })
  ring(context, consumer)
  return true
}

export interface ConsumerPlan {
  readonly context: string
  readonly consumer: string
  readonly effects: 'database' | 'external'
  /** Whether a handler of that name is in this app. */
  readonly handler: boolean
  readonly cursors: number
  readonly parkedKeys: number
  readonly waiting: number
  readonly skipped: number
}

/** What renaming would carry along, and removing would forget. */
export const planConsumer = async (address: ConsumerAddress): Promise<ConsumerPlan> => {
  const { context, consumer } = address
  const { effects, skipped } = await rowOf(address)
  return context.database.read(async (session) => {
    const { keys, waiting } = await context.store.parking.count(session, { consumer })
    return {
      context: context.context,
      consumer,
      effects,
      handler: context.subscriptions.some(({ name }) => name === consumer),
      cursors: (await context.store.cursors.cursors(session, consumer)).length,
      parkedKeys: keys,
      waiting,
      skipped,
    }
  })
}

const namePattern = /^[a-z][a-z0-9_-]{0,99}$/

/** @throws PABAL_CONSUMER_NAME_TAKEN, PABAL_USAGE for what is no name */
export const rename = async (
  operated: Operated,
  address: ConsumerAddress,
  to: string,
  operator: Operator,
): Promise<void> => {
  const { context, consumer } = address
  if (!namePattern.test(to))
    throw new PabalError(
      'PABAL_USAGE',
      `'${to}' is not a name: lower case, digits, '-' and '_', at most 100 characters`,
    )
  await rowOf(address)
  await reportAs(operated, address, to)
  await context.database.transaction(async (session) => {
    await context.store.cursors.revoke(session, consumer)
    await context.store.cursors.rename(session, consumer, to)
    await recordAction(operated, context, session, operator, {
      type: 'pabal.consumer-renamed',
      key: consumerKey(to),
      what: { consumer: to, from: consumer },
    })
  })
  await forgetReader(operated, address)
  ring(context, to)
}

/** Only a consumer without a handler in this app can be removed. @throws PABAL_USAGE */
export const remove = async (operated: Operated, address: ConsumerAddress, operator: Operator): Promise<void> => {
  const { context, consumer } = address
  await rowOf(address)
  if (context.subscriptions.some(({ name }) => name === consumer))
    throw new PabalError(
      'PABAL_USAGE',
      `'${context.context}/${consumer}' has a handler in this app; only a consumer without one is removed`,
    )
  await context.database.transaction(async (session) => {
    await context.store.cursors.remove(session, consumer)
    await recordAction(operated, context, session, operator, {
      type: 'pabal.consumer-removed',
      key: consumerKey(consumer),
      what: { consumer },
    })
  })
  await forgetReader(operated, address)
}

const readerName = (context: string, consumer: string): string => `${context}/${consumer}`

/** Producers keep what a consumer of theirs still needs, under its name: the new name first, so that nothing is dropped between. */
const reportAs = async ({ logs }: Operated, { context, consumer }: ConsumerAddress, to: string): Promise<void> => {
  for (const { database, store } of logs) {
    const readers = await database.read((session) => store.readers.list(session))
    const known = readers.find(({ name }) => name === readerName(context.context, consumer))
    if (known !== undefined)
      await database.transaction(async (session) =>
        store.readers.report(session, readerName(context.context, to), known.position),
      )
  }
}

const forgetReader = async ({ logs }: Operated, { context, consumer }: ConsumerAddress): Promise<void> => {
  const name = readerName(context.context, consumer)
  for (const { database, store } of logs) {
    const readers = await database.read((session) => store.readers.list(session))
    if (readers.some((reader) => reader.name === name))
      await database.transaction(async (session) => store.readers.forget(session, name))
  }
}
