/** A bounded context as a value: its events, its handlers, its published language. It records; `createApp` wires. No I/O. */

import type { StandardSchemaV1 } from '@standard-schema/spec'
import type { Awaitable } from '../core/awaitable.ts'
import { type Duration, durationMs } from '../core/duration.ts'
import { PabalError } from '../core/errors.ts'
import type {
  CommandDefinition,
  DataOf,
  EntryDefinition,
  EventDefinition,
  MessageDefinition,
  PublicEventDefinition,
} from '../event/definition.ts'
import type { EnvelopeOf, EventRecord, RaisedOf } from '../event/envelope.ts'
import { type Publication, sent } from '../event/publication.ts'
import type { Output } from '../event/schema.ts'
import type { Store } from '../store/store.ts'
import {
  type AnyOptions,
  type DurableOptions,
  type ExternalOptions,
  type FilterOptions,
  type Handler,
  type HandlerSpec,
  specOf,
} from './handler.ts'
import type { CommandEnvelope, ExternalHandling, Handling, RefusalsOf, Unit } from './unit.ts'

type OneOrMore<E> = E | readonly E[]

/** A context with its store and handlers: what `createApp` composes. */
export interface Bound<C extends string = string> {
  readonly '~pabal': {
    readonly context: ContextDefinition<C>
    readonly store: Store
    readonly handlers: readonly Handler[]
    readonly prepare: ((tx: never) => Awaitable<unknown>) | undefined
    readonly keepMs: number | undefined
  }
}

/** The recorded facts of a context, without the types that guard its handlers. */
export interface ContextFacts {
  readonly events: readonly EventDefinition[]
  readonly messages: readonly MessageDefinition[]
  /** To other contexts. */
  readonly sends: readonly MessageDefinition[]
  /** Commands that this context promises to handle. */
  readonly commands: readonly CommandDefinition[]
  /** All that others are told: public events, and what it sends. */
  readonly publishes: readonly Publication[]
  readonly retired: readonly string[]
  readonly metadata: StandardSchemaV1 | undefined
  readonly handlerMetadata: ((event: EventRecord) => unknown) | undefined
  readonly title: string | undefined
}

/** Every entry that its code may append to its log. */
export const entriesOf = ({ events, messages, sends }: ContextFacts): readonly EntryDefinition[] => [
  ...events,
  ...messages,
  ...sends,
]

export interface ContextDefinition<
  C extends string = string,
  Own = unknown,
  Tx = never,
  Metadata = unknown,
  OwnTx = unknown,
  Messages = unknown,
> {
  readonly name: C
  readonly '~pabal': ContextFacts & {
    readonly types?: (own: Own, tx: Tx, metadata: Metadata, ownTx: OwnTx, messages: Messages) => void
  }
}

/** `Messages`: those that it may post, its own and what it sends. */
export interface Context<C extends string, Own, Tx, Metadata, OwnTx, Messages extends MessageDefinition>
  extends ContextDefinition<C, Own, Tx, Metadata, OwnTx, Messages> {
  /** Effects outside the database: no open transaction, at least once, with a stable idempotency key. */
  on<E extends Own | MessageDefinition<`${C}.${string}`>, R>(
    event: OneOrMore<E>,
    name: string,
    handler: (event: EnvelopeOf<E, Metadata>, handling: ExternalHandling) => R,
    options: ExternalOptions<E, Unit<Own, Tx, Metadata, Messages>, Metadata, R>,
  ): Handler<C>
  /** In this process, after the commit; best effort. */
  on<E extends Own>(
    event: OneOrMore<E>,
    name: string,
    handler: (event: EnvelopeOf<E, Metadata>) => Awaitable<unknown>,
    options: { readonly phase: 'after-commit' },
  ): Handler<C>
  /**
   * After the commit in every process in which the app runs, whichever raised it (to drop a cache); best effort: what comes while
   * a process does not run is not told to it, and what is told may be told again. Order per key is kept.
   */
  on<E extends Own>(
    event: OneOrMore<E>,
    name: string,
    handler: (event: EnvelopeOf<E, Metadata>) => Awaitable<unknown>,
    options: { readonly phase: 'every-instance' },
  ): Handler<C>
  /** In the raising transaction; a throw aborts it. */
  on<E extends Own>(
    event: OneOrMore<E>,
    name: string,
    handler: (event: RaisedOf<E, Metadata>, unit: Unit<Own, Tx, Metadata, Messages>) => Awaitable<unknown>,
    options: { readonly phase: 'before-commit' },
  ): Handler<C>
  /**
   * Durable: its effects in the database commit with its cursor, exactly once per event (P5), in order per key (P4). A message has
   * one handler, for those that the context posts itself and those that others send to it.
   */
  on<E extends Own | MessageDefinition<`${C}.${string}`>>(
    event: OneOrMore<E>,
    name: string,
    handler: (event: EnvelopeOf<E, Metadata>, unit: Unit<Own, Tx, Metadata, Messages> & Handling) => Awaitable<unknown>,
    options?: DurableOptions<E, Unit<Own, Tx, Metadata, Messages>, Metadata> & { readonly phase?: 'durable' },
  ): Handler<C>

  /** The same for public events of other contexts. */
  consume<E extends PublicEventDefinition, R>(
    event: OneOrMore<E>,
    name: string,
    handler: (event: EnvelopeOf<E>, handling: ExternalHandling) => R,
    options: ExternalOptions<E, Unit<Own, Tx, Metadata, Messages>, unknown, R> & FilterOptions<E>,
  ): Handler<C>
  /** In every process in which the app runs; best effort. */
  consume<E extends PublicEventDefinition>(
    event: OneOrMore<E>,
    name: string,
    handler: (event: EnvelopeOf<E>) => Awaitable<unknown>,
    options: { readonly phase: 'every-instance' } & FilterOptions<E>,
  ): Handler<C>
  /** In the producer's transaction: only where both contexts share one database. */
  consume<E extends PublicEventDefinition>(
    event: OneOrMore<E>,
    name: string,
    handler: (event: RaisedOf<E>, unit: Unit<Own, Tx, Metadata, Messages>) => Awaitable<unknown>,
    options: { readonly phase: 'before-commit' } & FilterOptions<E>,
  ): Handler<C>
  consume<E extends PublicEventDefinition>(
    event: OneOrMore<E>,
    name: string,
    handler: (event: EnvelopeOf<E>, unit: Unit<Own, Tx, Metadata, Messages> & Handling) => Awaitable<unknown>,
    options?: DurableOptions<E, Unit<Own, Tx, Metadata, Messages>, unknown> &
      FilterOptions<E> & { readonly phase?: 'durable' },
  ): Handler<C>

  /** Answers a command in a unit of work; `throw refuse(…)` rolls back and answers the caller with the refusal. */
  handle<Cmd extends CommandDefinition, R>(
    command: Cmd,
    handler: (
      command: CommandEnvelope<DataOf<Cmd>>,
      unit: Unit<Own, Tx, Metadata, Messages> & {
        readonly refuse: <Code extends keyof RefusalsOf<Cmd>>(code: Code, detail: RefusalsOf<Cmd>[Code]) => Error
      },
    ) => R,
  ): Handler<C>

  /** Binds the context to a store and the handlers that run here. `prepare` runs at every open, in a transaction: your own tables. */
  with(options: {
    readonly store: Store<Tx, OwnTx>
    readonly handlers?: readonly Handler<C>[]
    readonly prepare?: (tx: Tx) => Awaitable<unknown>
    /** How long events are kept once everything that reads them has passed them. Default: for ever. */
    readonly keep?: Duration
  }): Bound<C>
}

const contextName = /^[a-z][a-z0-9_]*$/

export const isContextName = (name: string): boolean => contextName.test(name) && name.length <= 40 && name !== 'pabal'
const list = <T>(value: T | readonly T[]): readonly T[] =>
  Array.isArray(value) ? (value as readonly T[]) : [value as T]
const invalid = (detail: string): PabalError => new PabalError('PABAL_DEFINITION_INVALID', detail)

const checkEntries = (context: string, entries: readonly EntryDefinition[], scope: string): void => {
  const seen = new Set<string>()
  for (const { type, '~pabal': definition } of entries) {
    if (definition.scope !== scope || !type.startsWith(`${context}.`))
      throw invalid(
        `${context}: ${type} is not a ${scope === 'private' ? 'private event' : 'message'} named '${context}.…'`,
      )
    if (seen.has(type)) throw invalid(`${context}: ${type} is listed twice`)
    seen.add(type)
  }
}

const checkSends = (context: string, sends: readonly MessageDefinition[]): void => {
  const seen = new Set<string>()
  for (const { type, '~pabal': definition } of sends) {
    if (definition.scope !== 'message')
      throw invalid(`${context} sends ${type}, which is not a message: an event is published`)
    if (type.startsWith(`${context}.`))
      throw invalid(`${context} sends ${type} to itself: it belongs into \`messages\``)
    if (!definition.hasKey)
      throw invalid(`${context} sends ${type}, which has no key: by its key it arrives once, and in order`)
    if (seen.has(type)) throw invalid(`${context} sends ${type} twice`)
    seen.add(type)
  }
}

const checkPublications = (
  context: string,
  events: readonly EntryDefinition[],
  publishes: readonly Publication[],
): void => {
  const pairs = new Set<string>()
  for (const { from, to } of publishes) {
    if (!events.includes(from)) throw invalid(`${context} publishes ${from.type}, which is not among its events`)
    if (to['~pabal'].scope !== 'public') throw invalid(`${context}: ${to.type} is not a public event`)
    const pair = `${from.type} → ${to.type}`
    if (pairs.has(pair)) throw invalid(`${context} publishes ${pair} twice`)
    pairs.add(pair)
  }
}

/**
 * Defines a bounded context: the unit of ownership. `store` is only the type of `tx` (`sqlite`, `kysely<Tables>`, …); the
 * database itself is given by `with`. `retired` are event types that the log may still hold though no code raises them.
 * @throws PABAL_DEFINITION_INVALID
 */
export const defineContext = <
  const C extends string,
  Tx,
  OwnTx,
  M extends StandardSchemaV1 = StandardSchemaV1<unknown, unknown>,
  Sent extends MessageDefinition = never,
>(
  name: C,
  options: {
    readonly store: (...args: never[]) => Store<Tx, OwnTx>
    readonly events: readonly EventDefinition<`${NoInfer<C>}.${string}`>[]
    /** One-way messages that this context handles. */
    readonly messages?: readonly MessageDefinition<`${NoInfer<C>}.${string}`>[]
    /** One-way messages of other contexts that this one may post to them: each has a key. */
    readonly sends?: readonly Sent[]
    /** Commands that this context promises to handle: composition refuses an app where one has no handler. */
    readonly commands?: readonly CommandDefinition<`${NoInfer<C>}.${string}`>[]
    readonly publishes?: readonly Publication[]
    readonly retired?: readonly string[]
    /** Schema of the metadata that every event of this context carries (actor, tenant, …). */
    readonly metadata?: M
    /** The metadata of a unit that starts from a foreign event. */
    readonly handlerMetadata?: (event: {
      readonly id: string
      readonly type: string
      readonly key: string
      readonly source: string
    }) => StandardSchemaV1.InferInput<M>
    readonly title?: string
  },
): Context<C, EventDefinition<`${C}.${string}`>, Tx, Output<M>, OwnTx, MessageDefinition<`${C}.${string}`> | Sent> => {
  const {
    events,
    messages = [],
    sends = [],
    commands = [],
    publishes = [],
    retired = [],
    metadata,
    handlerMetadata,
    title,
  } = options
  if (!isContextName(name))
    throw invalid(
      `${JSON.stringify(name)} is not a context's name: lower case, digits, '_', at most 40 characters, and not 'pabal'`,
    )
  checkEntries(name, events, 'private')
  checkEntries(name, messages, 'message')
  checkSends(name, sends)
  checkPublications(name, events, publishes)
  const facts: ContextFacts = {
    events,
    messages,
    sends,
    commands,
    publishes: [...publishes, ...sends.map(sent)],
    retired,
    metadata,
    handlerMetadata,
    title,
  }
  const handler = (spec: HandlerSpec): Handler<C> => ({ '~pabal': { context: name, spec } })
  const context = {
    name,
    '~pabal': facts,
    on: (event: OneOrMore<EntryDefinition>, consumer: string, fn: HandlerSpec['handler'], given: AnyOptions = {}) =>
      handler(specOf('on', name, list(event), consumer, fn, given)),
    consume: (
      event: OneOrMore<EntryDefinition>,
      consumer: string,
      fn: HandlerSpec['handler'],
      given: AnyOptions = {},
    ) => handler(specOf('consume', name, list(event), consumer, fn, given)),
    handle: (command: CommandDefinition, fn: HandlerSpec['handler']) => {
      if (command['~pabal'].scope !== 'command') throw invalid(`${name}: ${command.type} is not a command`)
      return handler({ kind: 'handle', command, handler: fn })
    },
    with: ({
      store,
      handlers = [],
      prepare,
      keep,
    }: {
      store: Store
      handlers?: readonly Handler[]
      prepare?: (tx: never) => unknown
      keep?: Duration
    }): Bound<C> => {
      for (const { '~pabal': recorded } of handlers)
        if (recorded.context !== name) throw invalid(`a handler of '${recorded.context}' was given to '${name}'`)
      const keepMs = keep === undefined ? undefined : durationMs(keep, `${name}: keep`)
      return { '~pabal': { context, store, handlers, prepare, keepMs } }
    },
  }
  return context as unknown as ReturnType<typeof defineContext<C, Tx, OwnTx, M, Sent>>
}
