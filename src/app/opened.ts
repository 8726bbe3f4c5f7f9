/** The composition with its databases open: runtimes of the contexts, wired to each other. */

import type { Bound } from '../context/definition.ts'
import type { DurableSpec, ImmediateSpec } from '../context/handler.ts'
import { ContextRuntime } from '../context/runtime.ts'
import type { Environment } from '../core/environment.ts'
import { PabalError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import type { EntryDefinition } from '../event/definition.ts'
import { nameWarning } from '../event/naming.ts'
import { toPublic } from '../event/publication.ts'
import { isOperatorType } from '../event/reserved.ts'
import type { Carrier } from '../exchange/carrier.ts'
import { publicStream } from '../exchange/exchange.ts'
import { PublishedLog } from '../exchange/published-log.ts'
import { ReceivedLog } from '../exchange/received-log.ts'
import type { ContextStore, Database, Session } from '../store/store.ts'
import type { BreakerOptions } from '../subscription/breaker.ts'
import { Broadcast } from '../subscription/broadcast.ts'
import { Bell, type EventSource, OwnLog } from '../subscription/source.ts'
import { Subscription } from '../subscription/subscription.ts'
import { carry } from './carry.ts'
import { type Composition, isCommand, isDurable, isImmediate, nameOf, specsOf } from './composition.ts'

export interface OpenOptions {
  readonly environment: Environment
  readonly limits: Limits
  readonly leaseMs: number | undefined
  readonly breaker: BreakerOptions | undefined
  readonly warn: (what: string, error: unknown) => void
  /** For looking and operating: creates, migrates and prepares nothing. */
  readonly existing?: boolean
}

/** A log that this process can read: of its own contexts, and of those that the exchange reaches. */
export interface OpenLog {
  readonly bound: Bound
  readonly database: Database
  readonly store: ContextStore
  readonly bell: Bell
}

export class OpenedApp {
  readonly runtimes: ReadonlyMap<string, ContextRuntime>
  readonly subscriptions: readonly Subscription[]
  readonly broadcasts: readonly Broadcast[]
  readonly carriers: readonly Carrier[]
  readonly databases: readonly Database[]
  readonly logs: ReadonlyMap<string, OpenLog>
  /** Rings whenever a subscription has moved. */
  readonly progress: Bell

  private constructor(
    parts: Pick<
      OpenedApp,
      'runtimes' | 'subscriptions' | 'broadcasts' | 'carriers' | 'databases' | 'logs' | 'progress'
    >,
  ) {
    this.runtimes = parts.runtimes
    this.subscriptions = parts.subscriptions
    this.broadcasts = parts.broadcasts
    this.carriers = parts.carriers
    this.databases = parts.databases
    this.logs = parts.logs
    this.progress = parts.progress
  }

  static async open(composition: Composition, options: OpenOptions): Promise<OpenedApp> {
    const databases = new Map<unknown, Database>()
    try {
      const logs = await openLogs(composition, databases, options)
      const runtimes = new Map<string, ContextRuntime>()
      for (const bound of composition.contexts) {
        const runtime = runtimeOf(bound, logs, options)
        if (options.existing !== true) await prepare(runtime, bound, options.warn)
        runtimes.set(runtime.name, runtime)
      }
      wireImmediate(composition, runtimes)
      const progress = new Bell()
      const between = carry({ composition, runtimes, logs, progress, options })
      const subscriptions = [
        ...composition.contexts.flatMap((bound) =>
          subscriptionsOf(bound, composition, runtimes, logs, progress, options),
        ),
        ...between.subscriptions,
      ]
      for (const { database, store, bell } of logs.values())
        database.onNews((context) => {
          if (context === undefined || context === store.name) bell.ring()
        })
      // What an operator does in another process shows in the consumer's own log.
      for (const subscription of subscriptions)
        runtimes.get(subscription.context)!.database.onNews((context) => {
          if (context === undefined || context === subscription.context) subscription.ring()
        })
      const broadcasts = composition.contexts.flatMap((bound) =>
        broadcastsOf(bound, composition, runtimes, logs, options),
      )
      return new OpenedApp({
        runtimes,
        subscriptions,
        broadcasts,
        carriers: between.carriers,
        databases: [...databases.values()],
        logs,
        progress,
      })
    } catch (error) {
      await Promise.allSettled([...databases.values()].map((database) => database.close()))
      throw error
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.carriers.map((carrier) => carrier.close()))
    for (const runtime of this.runtimes.values()) await runtime.drain()
    for (const database of this.databases) await database.close()
  }
}

const openLogs = async (
  composition: Composition,
  databases: Map<unknown, Database>,
  { environment, warn, existing = false }: OpenOptions,
): Promise<Map<string, OpenLog>> => {
  const logs = new Map<string, OpenLog>()
  for (const bound of [
    ...composition.contexts,
    ...composition.remote,
    ...composition.carried.flatMap(({ origins }) => origins),
  ]) {
    const { database: source } = bound['~pabal'].store
    let database = databases.get(source.identity)
    if (database === undefined)
      databases.set(source.identity, (database = await source.open(environment, { existing, warn })))
    logs.set(nameOf(bound), {
      bound,
      database,
      store: await database.context(nameOf(bound), { existing }),
      bell: new Bell(),
    })
  }
  return logs
}

const runtimeOf = (
  bound: Bound,
  logs: ReadonlyMap<string, OpenLog>,
  { environment, limits, warn }: OpenOptions,
): ContextRuntime => {
  const { database, store } = logs.get(nameOf(bound))!
  return new ContextRuntime({
    name: nameOf(bound),
    facts: bound['~pabal'].context['~pabal'],
    store: bound['~pabal'].store,
    database,
    contextStore: store,
    environment,
    limits,
    failed: warn,
  })
}

/** The user's own tables, then the registry of types: what the log may hold and what this code knows must agree. */
const prepare = async (runtime: ContextRuntime, bound: Bound, warn: OpenOptions['warn']): Promise<void> => {
  const { database, contextStore, store, entries, facts, name } = runtime
  const { prepare: own } = bound['~pabal']
  if (own !== undefined)
    await database.transaction((session) => own(store.tx(session) as never), {
      alone: `prepare ${name}`,
      silentMs: Number.POSITIVE_INFINITY,
    })
  const stored = await database.read((session) => contextStore.log.types(session))
  for (const { type, version } of stored) {
    if (isOperatorType(type) || facts.retired.includes(type)) continue
    const definition = entries.get(type)
    if (definition === undefined) await checkUnknown(runtime, type)
    else if (version > definition.version)
      warn(
        `'${name}'`,
        new PabalError(
          'PABAL_UNKNOWN_EVENT_VERSION',
          `the log of '${name}' has ${type} in version ${version}, this code knows up to ${definition.version}`,
        ),
      )
  }
  const missing = [...entries.values()].filter(
    ({ type, version }) => !stored.some((known) => known.type === type && known.version === version),
  )
  if (missing.length > 0) await database.transaction((session) => contextStore.log.declareTypes(session, missing))
  for (const { type } of facts.events) {
    const warning = nameWarning(type)
    if (warning !== undefined) warn(`'${name}'`, warning)
  }
}

/** A type that was declared once and never raised may go; one that is in the log may not be forgotten. */
const checkUnknown = ({ database, contextStore, name }: ContextRuntime, type: string): Promise<void> =>
  database.transaction(async (session: Session) => {
    if ((await contextStore.log.count(session, { after: 0, types: [type] })) > 0)
      throw new PabalError(
        'PABAL_UNKNOWN_EVENT_TYPE',
        `the log of '${name}' holds ${type}, which this code does not define`,
      )
    await contextStore.log.forgetType(session, type)
  })

const add = <T>(map: Map<string, T[]>, key: string, value: T): void =>
  void map.set(key, [...(map.get(key) ?? []), value])

const wireImmediate = (composition: Composition, runtimes: ReadonlyMap<string, ContextRuntime>): void => {
  for (const bound of composition.contexts) {
    const runtime = runtimes.get(nameOf(bound))!
    for (const spec of specsOf(bound)) {
      if (isCommand(spec)) runtime.commands.set(spec.command.type, spec)
      else if (isImmediate(spec) && spec.phase === 'every-instance') continue
      else if (isImmediate(spec) && spec.phase === 'after-commit')
        for (const { type } of spec.definitions)
          add(runtime.afterCommit, type, { name: spec.name, handler: spec.handler as (event: unknown) => unknown })
      else if (isImmediate(spec) && spec.kind === 'on')
        for (const { type } of spec.definitions)
          add(runtime.beforeCommit, type, (event, scope) => scope.unitOf(runtime).handling(event, spec.handler))
      else if (isImmediate(spec))
        for (const { producer, publications } of composition.feeds.get(spec)!)
          for (const publication of publications)
            add(runtimes.get(nameOf(producer))!.beforeCommit, publication.from.type, (event, scope) => {
              const published = toPublic(publication, event, runtime.limits)
              if (published === undefined) return undefined
              const unit = scope.unitOf(runtime)
              unit.metadataOf(published)
              return unit.handling(published, spec.handler)
            })
    }
  }
}

const subscriptionsOf = (
  bound: Bound,
  composition: Composition,
  runtimes: ReadonlyMap<string, ContextRuntime>,
  logs: ReadonlyMap<string, OpenLog>,
  progress: Bell,
  { limits, leaseMs, breaker, warn }: OpenOptions,
): Subscription[] => {
  const runtime = runtimes.get(nameOf(bound))!
  const options = { runtime, progress, warn, ...given(leaseMs, breaker) }
  return specsOf(bound)
    .filter(isDurable)
    .flatMap((spec) =>
      sourcesOf(bound, spec, composition, runtimes, logs, limits).map(
        (source) => new Subscription({ ...options, spec, source }),
      ),
    )
}

const given = (leaseMs: number | undefined, breaker: BreakerOptions | undefined) => ({
  ...(leaseMs === undefined ? {} : { leaseMs }),
  ...(breaker === undefined ? {} : { breaker }),
})

const broadcastsOf = (
  bound: Bound,
  composition: Composition,
  runtimes: ReadonlyMap<string, ContextRuntime>,
  logs: ReadonlyMap<string, OpenLog>,
  { limits, warn }: OpenOptions,
): Broadcast[] =>
  specsOf(bound)
    .filter(isImmediate)
    .filter(({ phase }) => phase === 'every-instance')
    .flatMap((spec) =>
      sourcesOf(bound, spec, composition, runtimes, logs, limits).map(
        (source) => new Broadcast({ context: nameOf(bound), spec, source, warn }),
      ),
    )

/** What a handler reads: its context's own log; and in their public form the logs of others that publish what it wants, or send to it. */
const sourcesOf = (
  bound: Bound,
  spec: DurableSpec | ImmediateSpec,
  composition: Composition,
  runtimes: ReadonlyMap<string, ContextRuntime>,
  logs: ReadonlyMap<string, OpenLog>,
  limits: Limits,
): EventSource[] => {
  const name = nameOf(bound)
  const { entries } = runtimes.get(name)!
  const known = (type: string): EntryDefinition => entries.get(type)!
  const own =
    spec.kind === 'on'
      ? [new OwnLog({ ...logs.get(name)!, definitions: spec.definitions.map(({ type }) => known(type)) })]
      : []
  const feeds = (composition.feeds.get(spec) ?? []).map(({ producer, publications }) => {
    const { database, store, bell } = logs.get(nameOf(producer))!
    return new PublishedLog({ database, store, publications, limits, bell })
  })
  const { database, store, bell } = logs.get(name)!
  const arriving = composition.arrivals.get(spec) ?? []
  const arrivals = arriving.map(({ source, stream, definitions }) => {
    const besides = arriving
      .filter((other) => other.source === source && other.stream === publicStream)
      .flatMap((other) => other.definitions.map(({ type }) => type))
    return new ReceivedLog({ source, stream, definitions, database, store, bell, limits, besides })
  })
  return [...own, ...feeds, ...arrivals]
}
