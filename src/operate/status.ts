/** How an app is doing: its logs, its consumers, and what needs a person. */

import { type ConsumerStatus, consumerStatuses } from './consumer-status.ts'
import { type Concern, concernsOf } from './concerns.ts'
import type { Operated, OperatedContext } from './operated.ts'
import { countEvents, type LogSize } from './operator-events.ts'

export interface LogStatus extends LogSize {
  /** Position of the last event; 0 when there is none. */
  readonly head: number
  /** Position of the oldest event that is kept. */
  readonly oldest: number
  /** When the last event was raised; null when none is kept. */
  readonly lastAt: number | null
  readonly incarnation: string
}

export interface ContextStatus {
  readonly context: string
  readonly title: string | null
  /** Where it lives, for people. */
  readonly database: string
  readonly log: LogStatus
  readonly types: readonly { readonly type: string; readonly title: string | null; readonly version: number }[]
  readonly consumers: readonly ConsumerStatus[]
}

export interface AppStatus {
  readonly at: number
  readonly contexts: readonly ContextStatus[]
  /** What needs a person, the worst first. */
  readonly concerns: readonly Concern[]
}

export const statusOf = async (operated: Operated): Promise<AppStatus> => {
  const contexts: ContextStatus[] = []
  for (const context of operated.contexts) contexts.push(await contextStatus(operated, context))
  const at = operated.environment.now()
  const consumers = contexts.flatMap((context) => context.consumers)
  return { at, contexts, concerns: concernsOf(consumers, operated.limits, at) }
}

const contextStatus = async (operated: Operated, context: OperatedContext): Promise<ContextStatus> => {
  return {
    context: context.context,
    title: context.title ?? null,
    database: context.database.label,
    log: { ...(await logStatus(context)), ...(await countEvents(context)) },
    types: [...context.definitions.values()].map(({ type, title, version }) => ({
      type,
      title: title ?? null,
      version,
    })),
    consumers: await consumerStatuses(operated, context),
  }
}

const logStatus = ({ database, store }: OperatedContext): Promise<Omit<LogStatus, keyof LogSize>> =>
  database.read(async (session) => {
    const { position, incarnation } = await store.log.head(session)
    const last = await store.log.at(session, position)
    return { head: position, oldest: await store.log.oldest(session), lastAt: last?.time_ms ?? null, incarnation }
  })
