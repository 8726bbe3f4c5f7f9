/**
 * What contexts have refused of what a broker brought: no events at all, events of somebody else, or of a kind that this code does not
 * know. The broker keeps it with the reason; here it is looked at, given to its context once more, or thrown away.
 */

import type { App } from '../app/app.ts'
import { describeError, PabalError } from '../core/errors.ts'
import type { CloudEvent } from '../event/cloudevents/cloud-event.ts'
import type { RefusedHere } from '../exchange/carrier.ts'
import type { Refused } from '../exchange/transport.ts'
import { type Operated, type OperatedContext, type Operator, operate } from './operated.ts'
import { recordAction, refusedKey } from './operator-events.ts'

export interface RefusedFilter {
  /** That has refused it. */
  readonly context?: string | undefined
  /** Context or foreign producer that it was received from. */
  readonly source?: string | undefined
  /** One message, as `listRefused` names it. */
  readonly id?: string | undefined
}

export interface RefusedMessage {
  readonly transport: string
  readonly context: string
  readonly source: string
  readonly stream: string
  /** Names it among those of its context, source and transport. */
  readonly id: string
  /** Null: the broker has set it aside by itself, after many deliveries. */
  readonly reason: string | null
  /** Of the event in it; null where none can be read. */
  readonly event: { readonly id: string; readonly type: string; readonly key: string | null } | null
  readonly bytes: number
}

export interface RefusedDetail extends RefusedMessage {
  /** As it came; what is no UTF-8 is replaced. */
  readonly body: string
}

export interface Retried {
  /** Taken now, or known already; they are gone from the broker. */
  readonly taken: number
  /** Refused once more; they stay. */
  readonly refused: readonly (RefusedMessage & { readonly again: string })[]
}

/** Of each place that keeps refused messages, so many are acted on by one call. */
const actedOnMax = 10_000

type Visit = (message: RefusedMessage, here: RefusedHere) => Promise<boolean>

/** The oldest first, `limit` at most of each place. Changes nothing. @throws PABAL_TRANSPORT_UNREACHABLE, PABAL_TRANSPORT_INVALID */
export const listRefused = async (
  app: App,
  filter: RefusedFilter = {},
  limit: number = actedOnMax,
): Promise<readonly RefusedMessage[]> => {
  const found: RefusedMessage[] = []
  await visit(app, filter, limit, async (message) => {
    found.push(message)
    return false
  })
  return found
}

/** @throws PABAL_USAGE when it is not there; PABAL_TRANSPORT_UNREACHABLE, PABAL_TRANSPORT_INVALID */
export const showRefused = async (
  app: App,
  filter: RefusedFilter & { readonly id: string },
): Promise<RefusedDetail> => {
  const found: RefusedDetail[] = []
  await visit(app, filter, actedOnMax, async (message, { refused }) => {
    found.push({ ...message, body: textOf(refused.body) })
    return false
  })
  const [first] = found
  if (first === undefined) throw new PabalError('PABAL_USAGE', `nothing that was refused is called ${filter.id}`)
  return first
}

/**
 * Gives what matches to its contexts once more, as if the broker had brought it now: in the order of its key, once, and what is refused
 * again stays. It works beside the running app.
 * @throws PABAL_PLAN_CHANGED before anything is done when not so many as `expected` match; PABAL_TRANSPORT_UNREACHABLE
 */
export const retryRefused = async (
  app: App,
  filter: RefusedFilter,
  operator: Operator,
  expected?: number,
): Promise<Retried> => {
  await checkCount(app, filter, expected)
  const again: (RefusedMessage & { again: string })[] = []
  const taken: RefusedMessage[] = []
  try {
    await visit(app, filter, actedOnMax, async (message, { take }) => {
      const answer = await take()
      if (answer === undefined) taken.push(message)
      else again.push({ ...message, again: describeError(answer.refused) })
      return answer === undefined
    })
  } finally {
    await record(app, operator, 'pabal.refused-retried', taken)
  }
  return { taken: taken.length, refused: again }
}

/** Throws away what matches, for good. @throws as `retryRefused` */
export const discardRefused = async (
  app: App,
  filter: RefusedFilter,
  operator: Operator & { readonly reason: string },
  expected?: number,
): Promise<number> => {
  await checkCount(app, filter, expected)
  const gone: RefusedMessage[] = []
  try {
    await visit(app, filter, actedOnMax, async (message) => gone.push(message) > 0)
  } finally {
    await record(app, operator, 'pabal.refused-discarded', gone)
  }
  return gone.length
}

const checkCount = async (app: App, filter: RefusedFilter, expected: number | undefined): Promise<void> => {
  if (expected === undefined) return
  const { length } = await listRefused(app, filter)
  if (length !== expected)
    throw new PabalError('PABAL_PLAN_CHANGED', `${expected} refused messages were expected, ${length} match now`)
}

const visit = async (app: App, filter: RefusedFilter, limit: number, act: Visit): Promise<void> => {
  const operated = await operate(app)
  const { carriers } = await app['~pabal'].open({ existing: true })
  for (const carrier of carriers)
    await carrier.refused(limit, async (here) => {
      const message = messageOf(operated, carrier.transport, here)
      return matches(filter, message) ? act(message, here) : false
    })
}

const matches = ({ context, source, id }: RefusedFilter, message: RefusedMessage): boolean =>
  (context === undefined || message.context === context) &&
  (source === undefined || message.source === source) &&
  (id === undefined || message.id === id)

const messageOf = ({ limits }: Operated, transport: string, { refused, reception }: RefusedHere): RefusedMessage => ({
  transport,
  context: reception.runtime.name,
  source: reception.source,
  stream: reception.stream,
  id: refused.id,
  reason: refused.reason ?? null,
  event: eventOf(() => refused.incoming.decode(limits)),
  bytes: refused.body === null ? 0 : Buffer.byteLength(refused.body),
})

const eventOf = (decode: () => CloudEvent): RefusedMessage['event'] => {
  try {
    const { attributes } = decode()
    const key = attributes.get('partitionkey') ?? attributes.get('subject')
    return {
      id: String(attributes.get('id')),
      type: String(attributes.get('type')),
      key: key === undefined ? null : String(key),
    }
  } catch {
    return null
  }
}

const textOf = (body: Refused['body']): string =>
  body === null ? '' : typeof body === 'string' ? body : Buffer.from(body).toString()

/** In the log of each context, with the ids of what it was about. */
const record = async (
  app: App,
  operator: Operator,
  type: 'pabal.refused-retried' | 'pabal.refused-discarded',
  messages: readonly RefusedMessage[],
): Promise<void> => {
  const operated = await operate(app)
  for (const [name, ofContext] of Map.groupBy(messages, ({ context }) => context)) {
    const context: OperatedContext = operated.contexts.find((each) => each.context === name)!
    for (const [source, ofSource] of Map.groupBy(ofContext, (message) => message.source))
      await context.database.transaction((session) =>
        recordAction(operated, context, session, operator, {
          type,
          key: refusedKey(source),
          what: { source, messages: ofSource.length, ids: ofSource.slice(0, idsMax).map(({ id }) => id) },
        }),
      )
  }
}

/** Of one action, that are kept in the log. */
const idsMax = 100
