/** What operators do is itself in the log: who, why, what, appended in the transaction of the change. */

import type { EntryDefinition } from '../event/definition.ts'
import { type Cause, EventRecord } from '../event/envelope.ts'
import { encodeJson } from '../event/json.ts'
import { operatorKeyPrefix, receivedKeyPrefix } from '../event/reserved.ts'
import type { Session } from '../store/store.ts'
import type { Operated, OperatedContext, OperatedLog, Operator } from './operated.ts'

const titles = {
  'pabal.consumer-paused': 'consumer paused',
  'pabal.consumer-resumed': 'consumer resumed',
  'pabal.consumer-renamed': 'consumer renamed',
  'pabal.consumer-reset': 'consumer reset',
  'pabal.consumer-removed': 'consumer removed',
  'pabal.dead-letter-retried': 'dead letter retried',
  'pabal.dead-letters-retried': 'dead letters retried',
  'pabal.dead-letter-edited': 'dead letter edited and retried',
  'pabal.dead-letter-skipped': 'dead letter skipped',
  'pabal.dead-letters-skipped': 'dead letters skipped',
  'pabal.refused-retried': 'refused messages retried',
  'pabal.refused-discarded': 'refused messages discarded',
  'pabal.database-migrated': 'database migrated',
  'pabal.database-restored': 'database restored',
} as const

export type OperatorEventType = keyof typeof titles

export const operatorTitle = (type: string): string | undefined => (titles as Record<string, string>)[type]

/** The key of all that was done to one consumer. */
export const consumerKey = (consumer: string): string => `${operatorKeyPrefix}consumer:${consumer}`
/** The key of all that was done with what was refused of that source. */
export const refusedKey = (source: string): string => `${operatorKeyPrefix}refused:${source}`
export const databaseKey: string = `${operatorKeyPrefix}database`

/** An operator's event is no definition of the app: nothing in the app can raise it. */
const definitionOf = (type: OperatorEventType): EntryDefinition => ({
  type,
  version: 1,
  title: titles[type],
  '~pabal': { scope: 'private', parse: (input) => input, key: () => undefined, hasKey: false, upcasters: new Map() },
})

export interface Action {
  readonly type: OperatorEventType
  readonly key: string
  /** What was done, beside who and why. */
  readonly what: Readonly<Record<string, unknown>>
  /** The event that it was done about: the action shows in its trace. */
  readonly cause?: Cause
  /** The action's own id, where it is known before. */
  readonly id?: string
}

/** Inside the transaction of the change. */
export const recordAction = async (
  { environment, limits }: Pick<Operated, 'environment' | 'limits'>,
  { context, store }: Pick<OperatedLog, 'context' | 'store'>,
  session: Session,
  { by, reason }: Operator,
  { type, key, what, cause, id = environment.id() }: Action,
): Promise<void> => {
  const data = { by, ...(reason === undefined ? {} : { reason }), ...what }
  const record = new EventRecord(definitionOf(type), context, {
    id,
    key,
    version: 1,
    // An edited payload is a part of it: what fits the limits alone must fit here too.
    text: encodeJson(data, { payloadBytes: limits.payloadBytes + 65_536, payloadDepth: limits.payloadDepth + 1 }, type),
    timeMs: environment.now(),
    correlationId: cause?.correlationId ?? id,
    causationId: cause?.id,
    hopCount: cause === undefined ? 0 : cause.hopCount + 1,
    traceparent: cause?.traceparent,
    metadataText: null,
  })
  await store.log.declareTypes(session, [{ type, version: 1 }])
  await store.log.append(session, [record])
}

export interface LogSize {
  /** The user's events that are in the log. */
  readonly events: number
  readonly operatorEvents: number
  /** Of other contexts, as a transport brought them. */
  readonly receivedEvents: number
}

/** The one answer to "how many events": those of the user, without what operators did and what was received. Positions have no gaps, so nothing is counted one by one. */
export const countEvents = ({ database, store }: OperatedLog): Promise<LogSize> =>
  database.read(async (session) => {
    const { position } = await store.log.head(session)
    const kept = position + 1 - (await store.log.oldest(session))
    const reserved = await store.log.countKeys(session, operatorKeyPrefix)
    const receivedEvents = await store.log.countKeys(session, receivedKeyPrefix)
    return { events: kept - reserved, operatorEvents: reserved - receivedEvents, receivedEvents }
  })

/** The user's events in all logs of an app's own contexts. */
export const countUserEvents = async ({
  contexts,
}: {
  readonly contexts: readonly OperatedContext[]
}): Promise<number> => {
  let events = 0
  for (const context of contexts) events += (await countEvents(context)).events
  return events
}
