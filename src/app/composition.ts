/** Who runs with whom, checked before anything is opened: handlers, commands, and where each public event comes from. */

import type { Bound } from '../context/definition.ts'
import type { CommandSpec, DurableSpec, HandlerSpec, ImmediateSpec } from '../context/handler.ts'
import { PabalError } from '../core/errors.ts'
import type { Publication } from '../event/publication.ts'
import { type EntryDefinition, isMessage, receiverOf } from '../event/definition.ts'
import { type Carried, channelOf, type Exchange, receivedChannel } from '../exchange/exchange.ts'
import { perKeyNames } from '../event/attributes.ts'
import type { Channel, Needs, Selection } from '../exchange/transport.ts'
import { selectionFor, type Want } from './selection.ts'

/** A consumer's share of one producing context: the publications that it reads there. */
export interface Feed {
  readonly producer: Bound
  readonly publications: readonly Publication[]
}

/** A consumer's share of what is received from one producing context. */
export interface Arrival {
  readonly source: string
  /** Which of its streams. */
  readonly stream: string
  readonly definitions: readonly EntryDefinition[]
}

export interface Composition {
  readonly contexts: readonly Bound[]
  /** Contexts that run elsewhere and can be read. */
  readonly remote: readonly Bound[]
  /** Where the public events of a consuming handler come from, and the messages of one that others send to. */
  readonly feeds: ReadonlyMap<DurableSpec | ImmediateSpec, readonly Feed[]>
  /** … and those that a transport brings. */
  readonly arrivals: ReadonlyMap<DurableSpec | ImmediateSpec, readonly Arrival[]>
  readonly carried: readonly Carried[]
}

export const refuse = (detail: string): never => {
  throw new PabalError('PABAL_COMPOSITION_INVALID', detail)
}

export const nameOf = (bound: Bound): string => bound['~pabal'].context.name
export const specsOf = (bound: Bound): readonly HandlerSpec[] =>
  bound['~pabal'].handlers.map((handler) => handler['~pabal'].spec)
export const isCommand = (spec: HandlerSpec): spec is CommandSpec => spec.kind === 'handle'
export const isDurable = (spec: HandlerSpec): spec is DurableSpec => spec.kind !== 'handle' && spec.phase === 'durable'
export const isImmediate = (spec: HandlerSpec): spec is ImmediateSpec =>
  spec.kind !== 'handle' && spec.phase !== 'durable'

const checkNames = (contexts: readonly Bound[]): void => {
  const seen = new Set<string>()
  for (const bound of contexts) {
    const name = nameOf(bound)
    if (seen.has(name)) refuse(`two contexts are named '${name}'`)
    seen.add(name)
    const handlers = new Set<string>()
    for (const spec of specsOf(bound)) {
      if (isCommand(spec)) continue
      if (handlers.has(spec.name)) refuse(`'${name}' has two handlers named '${spec.name}'`)
      handlers.add(spec.name)
    }
  }
}

const checkRemote = (remote: readonly Bound[]): void => {
  const seen = new Set<string>()
  for (const name of remote.map(nameOf)) {
    if (seen.has(name)) refuse(`the exchange reaches two contexts that are named '${name}'`)
    seen.add(name)
  }
}

const checkCommands = (contexts: readonly Bound[]): void => {
  const handled = new Map<string, string>()
  for (const bound of contexts)
    for (const spec of specsOf(bound).filter(isCommand)) {
      const { type } = spec.command
      const other = handled.get(type)
      if (other !== undefined)
        refuse(`${type} is handled by '${other}' and by '${nameOf(bound)}'; a command has one handler`)
      handled.set(type, nameOf(bound))
    }
  for (const bound of contexts)
    for (const { type } of bound['~pabal'].context['~pabal'].commands)
      if (!handled.has(type)) refuse(`'${nameOf(bound)}' promises to handle ${type}, and no handler was given`)
}

const checkEvents = (contexts: readonly Bound[]): void => {
  for (const bound of contexts) {
    const { events, messages } = bound['~pabal'].context['~pabal']
    const registered = new Set([...events, ...messages].map(({ type }) => type))
    for (const spec of specsOf(bound))
      if (spec.kind === 'on')
        for (const { type } of spec.definitions)
          if (!registered.has(type))
            refuse(`'${nameOf(bound)}', handler '${spec.name}': ${type} is not among the context's events`)
  }
}

/** Of what a handler takes, what comes from other contexts. */
const foreignTo = ({ kind, definitions }: DurableSpec | ImmediateSpec): readonly EntryDefinition[] =>
  kind === 'consume' ? definitions : definitions.filter(isMessage)

const feedsOf = (
  bound: Bound,
  spec: DurableSpec | ImmediateSpec,
  producers: readonly Bound[],
  isCarried: (type: string) => boolean,
): readonly Feed[] => {
  const feeds = new Map<Bound, Publication[]>()
  for (const definition of foreignTo(spec)) {
    const { type } = definition
    const from = producers.filter((producer) =>
      producer['~pabal'].context['~pabal'].publishes.some(({ to }) => to.type === type),
    )
    // A context may be sent messages by nobody but itself.
    if (from.length === 0 && (isCarried(type) || isMessage(definition))) continue
    if (from.length === 0)
      refuse(
        `'${nameOf(bound)}', handler '${spec.name}': nobody here publishes ${type}; give its context to the app, or an exchange that reaches it`,
      )
    for (const producer of from) {
      const found = producer['~pabal'].context['~pabal'].publishes.filter(({ to }) => to.type === type)
      feeds.set(producer, [...(feeds.get(producer) ?? []), ...found])
    }
  }
  return [...feeds].map(([producer, publications]) => ({ producer, publications }))
}

/** What comes over transports: events of contexts that are not here. A stream that comes over several is one. */
const arrivalsOf = (
  bound: Bound,
  spec: DurableSpec | ImmediateSpec,
  carried: readonly Carried[],
  isHere: (source: string, type: string) => boolean,
): readonly Arrival[] => {
  const arrivals: { source: string; stream: string; definitions: EntryDefinition[] }[] = []
  for (const { stream, from } of carried)
    for (const [source, events] of Object.entries(from)) {
      const types = new Set(events.map(({ type }) => type))
      const found = foreignTo(spec).filter(({ type }) => types.has(type) && !isHere(source, type))
      const known = arrivals.find((arrival) => arrival.source === source && arrival.stream === stream)
      if (known !== undefined) known.definitions.push(...found.filter((each) => !known.definitions.includes(each)))
      else if (found.length > 0) arrivals.push({ source, stream, definitions: found })
    }
  if (arrivals.length > 0 && spec.phase !== 'durable')
    refuse(
      `'${nameOf(bound)}', handler '${spec.name}': what a transport brings is handled durably, ${spec.phase} needs the producer here`,
    )
  return arrivals
}

const checkCarried = (carried: readonly Carried[], local: ReadonlySet<string>): void => {
  checkForeign(carried)
  for (const { from, stream, carries, transport } of carried)
    for (const [source, events] of Object.entries(from)) {
      if (local.has(source))
        refuse(`'${source}' runs here: what it publishes is read here, and does not come over a transport`)
      for (const { type } of events)
        if (!carries(type))
          refuse(`${type} of '${source}' does not come over ${transport.name}: it is not of the stream '${stream}'`)
    }
}

/** Nobody is foreign by accident, and who is has no log that could be read. */
const checkForeign = (carried: readonly Carried[]): void => {
  const foreign = new Set(carried.flatMap((each) => [...each.foreign.keys()]))
  for (const { from, foreign: own, origins, transport } of carried) {
    for (const name of Object.keys(from))
      if (foreign.has(name) && !own.has(name))
        refuse(`'${name}' is foreign over one transport, and a context over ${transport.name}`)
    for (const name of origins.map(nameOf))
      if (foreign.has(name)) refuse(`'${name}' is foreign: it has no log that \`origins\` could reach`)
  }
}

/** A broker leaves out whole keys only if all events of a key say so: of each stream all do, or none. */
const checkPerKey = (contexts: readonly Bound[], carried: readonly Carried[]): void => {
  for (const each of carried)
    for (const bound of contexts) {
      const published = publishedIn(bound, each).map(({ to }) => to)
      const names = new Set(published.flatMap(perKeyNames))
      for (const name of names)
        for (const definition of published)
          if (!perKeyNames(definition).includes(name))
            refuse(
              `'${nameOf(bound)}' publishes '${name}' as an attribute that stays the same for a key, and ${definition.type} does not have it: declare it there too (\`() => undefined\` where its keys have none), or give ${definition.type} a stream of its own (\`routes\`)`,
            )
    }
}

/** Strong consistency is a property of one database: such a consumer cannot move out. */
const checkSharedDatabase = (
  bound: Bound,
  spec: ImmediateSpec,
  feeds: readonly Feed[],
  contexts: readonly Bound[],
): void => {
  for (const { producer } of feeds)
    if (
      !contexts.includes(producer) ||
      producer['~pabal'].store.database.identity !== bound['~pabal'].store.database.identity
    )
      refuse(
        `'${nameOf(bound)}', handler '${spec.name}' runs before commit in the transaction of '${nameOf(producer)}', but they do not share a database; make it durable, or give both the same store`,
      )
}

/** @throws PABAL_COMPOSITION_INVALID naming the context and the handler that do not fit */
export const compose = (contexts: readonly Bound[], exchange: Exchange): Composition => {
  if (contexts.length === 0) refuse('an app needs at least one context')
  checkNames(contexts)
  checkCommands(contexts)
  checkEvents(contexts)
  const local = new Set(contexts.map(nameOf))
  // A context that is given both ways runs here: its log is read here too.
  const remote = exchange['~pabal'].producers.filter((producer) => !local.has(nameOf(producer)))
  checkRemote(remote)
  const feeds = new Map<DurableSpec | ImmediateSpec, readonly Feed[]>()
  const arrivals = new Map<DurableSpec | ImmediateSpec, readonly Arrival[]>()
  const { carried } = exchange['~pabal']
  checkCarried(carried, local)
  checkPerKey(contexts, carried)
  const carriedTypes = new Set(
    carried.flatMap(({ from }) => Object.values(from).flatMap((events) => events.map(({ type }) => type))),
  )
  const readable = [...contexts, ...remote]
  const isHere = (source: string, type: string): boolean =>
    readable.some(
      (producer) =>
        nameOf(producer) === source &&
        producer['~pabal'].context['~pabal'].publishes.some(({ to }) => to.type === type),
    )
  for (const bound of contexts)
    for (const spec of specsOf(bound)) {
      if (isCommand(spec) || foreignTo(spec).length === 0) continue
      const found = feedsOf(bound, spec, readable, (type) => carriedTypes.has(type))
      if (isImmediate(spec) && spec.phase === 'before-commit') checkSharedDatabase(bound, spec, found, contexts)
      feeds.set(spec, found)
      arrivals.set(spec, arrivalsOf(bound, spec, carried, isHere))
    }
  return { contexts, remote, feeds, arrivals, carried }
}

/** What a context publishes in the stream that a transport carries. */
export const publishedIn = (bound: Bound, { carries }: Carried): readonly Publication[] =>
  bound['~pabal'].context['~pabal'].publishes.filter(({ to }) => carries(to.type))

/** Whether what is sent to the context is handled in this process. */
const isAtWork = (contexts: readonly Bound[], name: string): boolean =>
  contexts.some((bound) => nameOf(bound) === name && specsOf(bound).some(isDurable))

/**
 * Of that, what its relay hands to the transport. Where a single context receives, it is left out as long as that one is at work
 * here: it reads the log, and nobody would empty its queue.
 */
export const relayedIn = ({ contexts }: Composition, bound: Bound, carried: Carried): readonly Publication[] => {
  const published = publishedIn(bound, carried)
  if ((carried.transport.traits.subscribers ?? 'many') === 'many') return published
  return published.filter(({ to }) => !isMessage(to) || !isAtWork(contexts, receiverOf(to)))
}

/** Where its relay writes, and who is sent messages there: who is at work here reads them in the log. */
export const channelFor = (composition: Composition, bound: Bound, carried: Carried): Channel => {
  const messages = relayedIn(composition, bound, carried).flatMap(({ to }) => (isMessage(to) ? [to] : []))
  const receivers = [...new Set(messages.map(receiverOf))].filter((name) => !isAtWork(composition.contexts, name))
  return { ...channelOf(nameOf(bound), carried.stream), receivers }
}

/** What is enough for a context of what comes in a stream of another one. */
export const selectionOf = (
  bound: Bound,
  { source, stream }: Pick<Arrival, 'source' | 'stream'>,
  arrivals: Composition['arrivals'],
): Selection | undefined =>
  selectionFor(
    specsOf(bound).flatMap((spec) => {
      if (isCommand(spec)) return []
      const filter = isDurable(spec) ? spec.filter : undefined
      return (arrivals.get(spec) ?? [])
        .filter((each) => each.source === source && each.stream === stream)
        .flatMap(({ definitions }) => definitions.map((definition): Want => ({ definition, filter })))
    }),
  )

/** What a transport carries for it. */
export const needsOf = (composition: Composition, carried: Carried): Needs => {
  const { contexts, arrivals } = composition
  const { stream, from } = carried
  const isOver = (arrival: Arrival): boolean => arrival.stream === stream && arrival.source in from
  const sourcesOf = (bound: Bound): ReadonlySet<string> =>
    new Set(
      specsOf(bound).flatMap((spec) =>
        isCommand(spec) ? [] : (arrivals.get(spec) ?? []).filter(isOver).map(({ source }) => source),
      ),
    )
  return {
    publishes: contexts
      .filter((bound) => relayedIn(composition, bound, carried).length > 0)
      .map((bound) => channelFor(composition, bound, carried)),
    receives: contexts.flatMap((bound) =>
      [...sourcesOf(bound)].map((source) => ({
        channel: receivedChannel(carried, source),
        subscriber: nameOf(bound),
        selection: selectionOf(bound, { source, stream }, arrivals),
      })),
    ),
  }
}
