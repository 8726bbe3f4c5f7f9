/** Parked keys for people: grouped by cause, listed, and one in full with what waits behind it. */

import { createHash } from 'node:crypto'
import { PabalError } from '../core/errors.ts'
import type { EventRecord } from '../event/envelope.ts'
import type { EditedEvent, ParkedFilter, ParkedKey, ParkedStatus } from '../store/store.ts'
import type { Subscription } from '../subscription/subscription.ts'
import { consumerNamed, contextsNamed, type Operated, type OperatedContext } from './operated.ts'

export interface DeadFilter {
  readonly context?: string | undefined
  /** A name, or `context/name`. */
  readonly consumer?: string | undefined
  readonly key?: string | undefined
  readonly type?: string | undefined
  /** A group's id, as `groupDead` gives it. */
  readonly group?: string | undefined
  /** Default 'dead'. 'all' shows also what is still being retried. */
  readonly status?: ParkedStatus | 'all' | undefined
}

export interface DeadLetter {
  /** The failing event. */
  readonly id: string
  readonly context: string
  readonly consumer: string
  readonly source: string
  readonly key: string
  readonly sequence: number
  readonly type: string
  readonly title: string | null
  readonly status: ParkedStatus
  /** Runs of the handler so far. */
  readonly attempts: number
  readonly nextAttemptAt: number | null
  readonly error: {
    readonly name: string
    readonly message: string
    readonly code: string | null
    readonly fingerprint: string
  }
  /** What failed for the same reason has the same. */
  readonly group: string
  readonly firstFailedAt: number
  readonly lastFailedAt: number
  readonly waiting: number
  readonly edited: { readonly id: string; readonly by: string; readonly reason: string } | null
}

export interface DeadGroup {
  readonly group: string
  readonly context: string
  readonly consumer: string
  readonly source: string
  readonly status: ParkedStatus
  readonly fingerprint: string
  readonly keys: number
  readonly waiting: number
  readonly firstFailedAt: number
  readonly lastFailedAt: number
  /** The newest of them. */
  readonly newest: DeadLetter
}

/** Found, with what is needed to change it. */
export interface FoundDeadLetter {
  readonly context: OperatedContext
  /** Undefined without a handler here. */
  readonly subscription: Subscription | undefined
  readonly row: ParkedKey
}

/** Short enough to type; of one consumer's error and its first frame. */
const groupOf = (context: string, consumer: string, fingerprint: string): string =>
  createHash('sha256').update(`${context}/${consumer}/${fingerprint}`).digest('hex').slice(0, 8)

/** The filter of each context that may have matches. @throws PABAL_CONSUMER_UNKNOWN, PABAL_USAGE */
export const filtersOf = async (
  operated: Operated,
  { context, consumer, key, type, group, status = 'dead' }: DeadFilter,
): Promise<readonly { readonly context: OperatedContext; readonly filter: ParkedFilter }[]> => {
  const qualified =
    consumer === undefined || context === undefined || consumer.includes('/') ? consumer : `${context}/${consumer}`
  const address = qualified === undefined ? undefined : await consumerNamed(operated, qualified)
  const contexts = address === undefined ? contextsNamed(operated, context) : [address.context]
  const filters = contexts.map((each) => ({
    context: each,
    filter: { consumer: address?.consumer, key, type, status: status === 'all' ? undefined : status },
  }))
  return group === undefined ? filters : narrowed(filters, group)
}

const narrowed = async (
  filters: readonly { readonly context: OperatedContext; readonly filter: ParkedFilter }[],
  group: string,
) => {
  for (const { context, filter } of filters) {
    const groups = await context.database.read((session) =>
      context.store.parking.groups(session, { ...filter, status: undefined }),
    )
    const found = groups.find(({ consumer, fingerprint }) => groupOf(context.context, consumer, fingerprint) === group)
    if (found !== undefined)
      return [{ context, filter: { ...filter, consumer: found.consumer, fingerprint: found.fingerprint } }]
  }
  throw new PabalError('PABAL_DEAD_LETTER_UNKNOWN', `no group ${group}`)
}

/** The newest first. */
export const listDead = async (
  operated: Operated,
  filter: DeadFilter,
  limit: number,
): Promise<readonly DeadLetter[]> => {
  const found: DeadLetter[] = []
  for (const { context, filter: own } of await filtersOf(operated, filter)) {
    const rows = await context.database.read((session) => context.store.parking.list(session, own, limit))
    found.push(...rows.map((row) => deadLetterOf(context, row)))
  }
  return found.toSorted((one, other) => other.lastFailedAt - one.lastFailedAt).slice(0, limit)
}

export interface DeadCount {
  readonly keys: number
  readonly waiting: number
}

export const countDead = async (operated: Operated, filter: DeadFilter): Promise<DeadCount> => {
  const sum = { keys: 0, waiting: 0 }
  for (const { context, filter: own } of await filtersOf(operated, filter)) {
    const { keys, waiting } = await context.database.read((session) => context.store.parking.count(session, own))
    sum.keys += keys
    sum.waiting += waiting
  }
  return sum
}

/** By what failed for the same reason; those that hold up most first. */
export const groupDead = async (operated: Operated, filter: DeadFilter): Promise<readonly DeadGroup[]> => {
  const groups: DeadGroup[] = []
  for (const { context, filter: own } of await filtersOf(operated, filter))
    groups.push(
      ...(await context.database.read(async (session) => {
        const rows = await context.store.parking.groups(session, own)
        return Promise.all(
          rows.map(
            async ({ consumer, source, status, fingerprint, keys, waiting, first_failed_ms, last_failed_ms }) => {
              const [newest] = await context.store.parking.list(
                session,
                { ...own, consumer, source, status, fingerprint },
                1,
              )
              return {
                group: groupOf(context.context, consumer, fingerprint),
                context: context.context,
                consumer,
                source,
                status,
                fingerprint,
                keys,
                waiting,
                firstFailedAt: first_failed_ms,
                lastFailedAt: last_failed_ms,
                newest: deadLetterOf(context, newest!),
              }
            },
          ),
        )
      })),
    )
  return groups.toSorted((one, other) => other.keys + other.waiting - (one.keys + one.waiting))
}

export const deadLetterOf = (context: OperatedContext, row: ParkedKey): DeadLetter => ({
  id: row.event_id,
  context: context.context,
  consumer: row.consumer,
  source: row.source,
  key: row.key,
  sequence: row.sequence,
  type: row.type,
  title: subscriptionOf(context, row)?.spec.definitions.find(({ type }) => type === row.type)?.title ?? null,
  status: row.status,
  attempts: row.attempts,
  nextAttemptAt: row.status === 'retrying' ? row.next_ms : null,
  error: {
    name: row.error.name,
    message: row.error.message,
    code: row.error.code ?? null,
    fingerprint: row.error.fingerprint,
  },
  group: groupOf(context.context, row.consumer, row.error.fingerprint),
  firstFailedAt: row.first_failed_ms,
  lastFailedAt: row.last_failed_ms,
  waiting: row.waiting,
  edited: row.edited === null ? null : editOf(row.edited),
})

const editOf = ({ id, by, reason }: EditedEvent) => ({ id, by, reason })

export const subscriptionOf = (
  { subscriptions }: OperatedContext,
  { consumer, source }: ParkedKey,
): Subscription | undefined => subscriptions.find((known) => known.name === consumer && known.source.name === source)

/**
 * The one dead letter that an event's id (or consumer and key) names.
 * @throws PABAL_DEAD_LETTER_UNKNOWN; PABAL_USAGE when several match, naming them
 */
export const findDead = async (
  operated: Operated,
  id: string | undefined,
  filter: DeadFilter,
): Promise<FoundDeadLetter> => {
  const found: FoundDeadLetter[] = []
  for (const { context, filter: own } of await filtersOf(operated, { status: 'all', ...filter })) {
    const rows = await context.database.read((session) =>
      context.store.parking.list(session, { ...own, event_id: id?.toLowerCase() }, 20),
    )
    found.push(...rows.map((row) => ({ context, subscription: subscriptionOf(context, row), row })))
  }
  if (found.length === 1) return found[0]!
  if (found.length === 0) throw new PabalError('PABAL_DEAD_LETTER_UNKNOWN', id ?? JSON.stringify(filter))
  const choices = found.map(({ context, row }) => `${row.event_id} --consumer ${context.context}/${row.consumer}`)
  throw new PabalError('PABAL_USAGE', `several dead letters match: ${choices.join(', ')}`)
}

/** @throws PABAL_CONSUMER_UNKNOWN where no handler is there to go on with it */
export const handlerOf = ({ context, subscription, row }: FoundDeadLetter): Subscription => {
  if (subscription !== undefined) return subscription
  throw new PabalError('PABAL_CONSUMER_UNKNOWN', `'${context.context}/${row.consumer}' has no handler in this app`)
}

/** The failing event and those behind it, as its handler sees them; `done` events of the cursor are not among them. */
export const eventsOf = async (found: FoundDeadLetter, limit: number): Promise<readonly EventRecord[]> => {
  const { context, row } = found
  const { source } = handlerOf(found)
  const cursors = await context.database.read((session) => context.store.cursors.cursors(session, row.consumer))
  const passed = cursors.find((cursor) => cursor.source === row.source && cursor.lane === row.lane)?.position ?? 0
  const events = await source.readKey(row.key, row.sequence, limit)
  return events.filter(({ position }) => position <= passed)
}
