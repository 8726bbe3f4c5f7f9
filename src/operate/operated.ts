/** An app as an operator meets it: its contexts and logs with their databases open, whether or not its handlers run here. */

import type { App } from '../app/app.ts'
import type { OpenedApp } from '../app/opened.ts'
import { entriesOf } from '../context/definition.ts'
import type { ContextRuntime } from '../context/runtime.ts'
import type { Environment } from '../core/environment.ts'
import { PabalError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import type { EntryDefinition } from '../event/definition.ts'
import type { ContextStore, Database } from '../store/store.ts'
import type { Bell } from '../subscription/source.ts'
import type { Subscription } from '../subscription/subscription.ts'

/** Who does it, and why. */
export interface Operator {
  readonly by: string
  readonly reason?: string | undefined
}

/** A log that can be read here. */
export interface OperatedLog {
  readonly context: string
  readonly title: string | undefined
  readonly database: Database
  readonly store: ContextStore
  /** Rings when something may have been appended. */
  readonly bell: Bell
  readonly definitions: ReadonlyMap<string, EntryDefinition>
}

/** A context of the app: its consumers can be operated. */
export interface OperatedContext extends OperatedLog {
  readonly runtime: ContextRuntime
  readonly subscriptions: readonly Subscription[]
}

export interface Operated {
  readonly contexts: readonly OperatedContext[]
  /** Those of the contexts, and of producers that run elsewhere. */
  readonly logs: readonly OperatedLog[]
  readonly environment: Environment
  readonly limits: Limits
}

/**
 * Opens an app for looking and operating. Nothing is started, created, migrated or prepared, so it is safe beside the running
 * app on the same files; an app that is open already is used as it is.
 * @throws PABAL_STORE_UNREACHABLE (not there yet), PABAL_STORE_OLDER, PABAL_STORE_NEWER, PABAL_STORE_FOREIGN
 */
export const operate = async (app: App): Promise<Operated> => {
  const { environment, limits } = app['~pabal']
  const opened = await app['~pabal'].open({ existing: true })
  const logs = new Map([...opened.logs.values()].map((log) => [log.store.name, logOf(log)]))
  const contexts = [...opened.runtimes.values()].map((runtime) => ({
    ...logs.get(runtime.name)!,
    runtime,
    subscriptions: opened.subscriptions.filter(({ context }) => context === runtime.name),
  }))
  return { contexts, logs: [...logs.values()], environment, limits }
}

const logOf = ({
  bound,
  database,
  store,
  bell,
}: OpenedApp['logs'] extends ReadonlyMap<string, infer L> ? L : never): OperatedLog => {
  const facts = bound['~pabal'].context['~pabal']
  return {
    context: store.name,
    title: facts.title,
    database,
    store,
    bell,
    definitions: new Map(entriesOf(facts).map((definition) => [definition.type, definition])),
  }
}

/** @throws PABAL_USAGE naming those that there are */
export const contextNamed = ({ contexts }: Operated, name: string): OperatedContext => {
  const found = contexts.find(({ context }) => context === name)
  if (found !== undefined) return found
  const names = contexts.map(({ context }) => context).join(', ')
  throw new PabalError('PABAL_USAGE', `'${name}' is not a context of this app; it has ${names}`)
}

/** All, or the one that is named. */
export const contextsNamed = (operated: Operated, name: string | undefined): readonly OperatedContext[] =>
  name === undefined ? operated.contexts : [contextNamed(operated, name)]

/** @throws PABAL_USAGE naming those that there are */
export const logsNamed = ({ logs }: Operated, name: string | undefined): readonly OperatedLog[] => {
  if (name === undefined) return logs
  const found = logs.filter(({ context }) => context === name)
  if (found.length > 0) return found
  const names = logs.map(({ context }) => context).join(', ')
  throw new PabalError('PABAL_USAGE', `'${name}' is not a context whose log can be read here; there are ${names}`)
}

/** A consumer, by its name or as `context/name`. */
export interface ConsumerAddress {
  readonly context: OperatedContext
  readonly consumer: string
}

/** @throws PABAL_CONSUMER_UNKNOWN, PABAL_USAGE when several contexts have one of that name */
export const consumerNamed = async (operated: Operated, name: string): Promise<ConsumerAddress> => {
  const [first, second] = name.split('/', 2)
  const [contextName, consumer] = second === undefined ? [undefined, name] : [first!, second]
  const found: ConsumerAddress[] = []
  const known: string[] = []
  for (const context of contextsNamed(operated, contextName)) {
    const names = await consumersOf(context)
    if (names.has(consumer)) found.push({ context, consumer })
    known.push(...[...names].map((other) => `${context.context}/${other}`))
  }
  if (found.length === 1) return found[0]!
  if (found.length > 1)
    throw new PabalError(
      'PABAL_USAGE',
      `several contexts have a consumer '${consumer}': ${found.map(({ context }) => `${context.context}/${consumer}`).join(', ')}`,
    )
  throw new PabalError('PABAL_CONSUMER_UNKNOWN', `'${name}'; there are ${known.join(', ') || 'none'}`)
}

/** Those with a handler here, and those that the store knows. */
export const consumersOf = async ({
  database,
  store,
  subscriptions,
}: OperatedContext): Promise<ReadonlySet<string>> => {
  const stored = await database.read((session) => store.cursors.consumers(session))
  return new Set([...subscriptions, ...stored].map(({ name }) => name))
}

/** What this process itself runs for a consumer looks at once; another process notices the commit. */
export const ring = ({ subscriptions }: OperatedContext, consumer: string): void => {
  for (const subscription of subscriptions) if (subscription.name === consumer) subscription.ring()
}
