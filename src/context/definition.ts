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
  InputOf,
  MessageDefinition,
  PublicEventDefinition,
} from '../event/definition.ts'
import type { EnvelopeOf, EventRecord, RaisedOf } from '../event/envelope.ts'
import type { Publication } from '../event/publication.ts'
import type { Output } from '../event/schema.ts'
import type { Store } from '../store/store.ts'

/**
 * One shape everywhere: transaction, join, handler, command, `record`. Dead after the unit (PABAL_UNIT_CLOSED).
 * `Own` are the private events of the context, `Tx` the handle on its database.
 */
export interface Unit<Own, Tx, Metadata = unknown> {
  /** The transaction; what is written through it commits or rolls back with the events. */
  readonly tx: Tx
  /** The common metadata of this unit. */
  readonly metadata: Metadata
  /**
   * Raises an event of this context: checked now, appended with all others in one round trip before COMMIT. Synchronous, so it
   * cannot be forgotten to be awaited. `expectedSequence`: the key's last sequence that the decision was based on (0: none).
   * @throws PABAL_PAYLOAD_INVALID, PABAL_UNKNOWN_EVENT_TYPE, PABAL_NO_UNIT_OF_WORK, PABAL_HOP_LIMIT
   */
  readonly raise: <E extends Own>(event: E, data: InputOf<E>, options?: { readonly expectedSequence?: number }) => void
  /** Sends a one-way message of this context, with the unit; it is handled later, at least once. */
  readonly post: <M extends MessageDefinition>(message: M, data: InputOf<M>) => void
  /** Handles an event for this unit only, before COMMIT; gone with the unit. */
  readonly on: <E extends Own>(event: E, handler: (event: RaisedOf<E, Metadata>) => Awaitable<unknown>) => void
}

/** What a durable handler is told besides the event. */
export interface Handling {
  /** 1 for the first try of this event. */
  readonly attempt: number
  /** Aborts when the app stops, the lease is lost, or the handler's time is over. */
  readonly signal: AbortSignal
}

export interface ExternalHandling extends Handling {
  /** Stable over retries and takeovers: `<consumer>:<event id>`. Pass it to whatever is called. */
  readonly idempotencyKey: string
}

/** How a failing event is tried again: so often, with a delay that doubles from `firstMs` to `maxMs`, with jitter. */
export interface RetryPolicy {
  /** Runs of the handler altogether. Default 8. */
  readonly attempts?: number
  /** Delay after the first failure. Default 1 s. */
  readonly first?: Duration
  /** Longest delay. Default 5 min. */
  readonly max?: Duration
  /** The same in milliseconds; `first` and `max` win. */
  readonly firstMs?: number
  readonly maxMs?: number
  /** Decides per error; undefined leaves it to the rest of the policy. */
  readonly decide?: (error: unknown, attempt: number) => RetryDecision | undefined
}

const decision = Symbol.for('pabal.retry-decision')
/** Throw it from a handler, or return it from `retry.decide`. */
export class RetryDecision extends Error {
  /** Undefined: give up. */
  readonly delayMs: number | undefined
  constructor(message: string, delayMs: number | undefined, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = delayMs === undefined ? 'GiveUp' : 'RetryLater'
    this.delayMs = delayMs
    Object.defineProperty(this, decision, { value: true })
  }
}
export const isRetryDecision = (error: unknown): error is RetryDecision =>
  typeof error === 'object' && error !== null && decision in error

/** Try this event again after that time (it counts as an attempt), for example what a 429 says. */
export const retryLater = (delay: Duration, cause?: unknown): RetryDecision =>
  new RetryDecision(`retry after ${delay}`, durationMs(delay, 'retryLater'), cause)
/** Do not try this event again: go to `onExhausted` at once. */
export const giveUp = (reason: string, cause?: unknown): RetryDecision => new RetryDecision(reason, undefined, cause)

/** 'park': the key waits for a person (dead letter). 'skip': left out, recorded and counted. A function: raises a failure event, then the key goes on. */
export type OnExhausted<E, U, M> =
  | 'park'
  | 'skip'
  | ((error: unknown, event: EnvelopeOf<E, M>, unit: U) => Awaitable<unknown>)

export type StartAt = 'beginning' | 'now' | { readonly position: number }

export interface DurableOptions<E, U, M> {
  /** Default: 8 attempts from 1 s to 5 min. 'none': one attempt. */
  readonly retry?: RetryPolicy | 'none'
  /** Default 'park'. */
  readonly onExhausted?: OnExhausted<E, U, M>
  /** Where a new handler starts; stored at its first start, of no effect later. Default 'beginning'; required for external effects on a log that is not empty. */
  readonly startAt?: StartAt
  /** An event that is not handled within this time shows as late, and may raise an event. */
  readonly within?:
    | Duration
    | { readonly time: Duration; readonly onLate?: (event: EnvelopeOf<E, M>, unit: U) => Awaitable<unknown> }
  /** Events per transaction (database effects) or in flight (external). Default 500, external 100. */
  readonly batch?: number
  /** How many processes may share the work, fixed at the first start. Default: the store's. */
  readonly lanes?: number
  readonly title?: string
}

export interface ExternalOptions<E, U, M, R> extends DurableOptions<E, U, M> {
  readonly effects: 'external'
  /** Its outcome, recorded in the transaction that moves the cursor. */
  readonly record?: (result: Awaited<R>, event: EnvelopeOf<E, M>, unit: U) => Awaitable<unknown>
  /** Keys handled at the same time. Default 16. */
  readonly concurrency?: number
  /** Time of one run of the handler. Default 30 s. */
  readonly timeout?: Duration
}

export type Phase = 'before-commit' | 'after-commit' | 'durable'

/** A recorded handler. `C` is the context that it belongs to. */
export interface Handler<C extends string = string> {
  readonly '~pabal': { readonly context: C; readonly spec: HandlerSpec }
}

/** A durable handler's options with their defaults, times in milliseconds. */
export interface DurableSpec {
  readonly kind: 'on' | 'consume'
  readonly phase: 'durable'
  readonly name: string
  readonly title: string | undefined
  readonly definitions: readonly EntryDefinition[]
  readonly effects: 'database' | 'external'
  readonly handler: (event: never, unit: never) => Awaitable<unknown>
  readonly record: ((result: never, event: never, unit: never) => Awaitable<unknown>) | undefined
  readonly retry: {
    readonly attempts: number
    readonly firstMs: number
    readonly maxMs: number
    readonly decide?: RetryPolicy['decide']
  }
  readonly onExhausted: 'park' | 'skip' | ((error: unknown, event: never, unit: never) => Awaitable<unknown>)
  readonly startAt: StartAt | undefined
  readonly withinMs: number | undefined
  readonly onLate: ((event: never, unit: never) => Awaitable<unknown>) | undefined
  readonly batch: number
  readonly lanes: number | undefined
  readonly concurrency: number
  readonly timeoutMs: number
}
export interface ImmediateSpec {
  readonly kind: 'on' | 'consume'
  readonly phase: 'before-commit' | 'after-commit'
  readonly name: string
  readonly definitions: readonly EntryDefinition[]
  readonly handler: (event: never, unit: never) => Awaitable<unknown>
}
export interface CommandSpec {
  readonly kind: 'handle'
  readonly command: CommandDefinition
  readonly handler: (command: never, unit: never) => Awaitable<unknown>
}
export type HandlerSpec = DurableSpec | ImmediateSpec | CommandSpec

/** What a command handler is given. */
export interface CommandEnvelope<Data> {
  readonly id: string
  readonly data: Data
}

export type RefusalsOf<Command> = Command extends { readonly '~pabal': { readonly refusals?: infer R } }
  ? NonNullable<R>
  : never

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
  /** Commands that this context promises to handle. */
  readonly commands: readonly CommandDefinition[]
  readonly publishes: readonly Publication[]
  readonly retired: readonly string[]
  readonly metadata: StandardSchemaV1 | undefined
  readonly handlerMetadata: ((event: EventRecord) => unknown) | undefined
  readonly title: string | undefined
}

export interface ContextDefinition<
  C extends string = string,
  Own = unknown,
  Tx = never,
  Metadata = unknown,
  OwnTx = unknown,
> {
  readonly name: C
  readonly '~pabal': ContextFacts & { readonly types?: (own: Own, tx: Tx, metadata: Metadata, ownTx: OwnTx) => void }
}

export interface Context<C extends string, Own, Tx, Metadata, OwnTx>
  extends ContextDefinition<C, Own, Tx, Metadata, OwnTx> {
  /** Effects outside the database: no open transaction, at least once, with a stable idempotency key. */
  on<E extends Own | MessageDefinition<`${C}.${string}`>, R>(
    event: OneOrMore<E>,
    name: string,
    handler: (event: EnvelopeOf<E, Metadata>, handling: ExternalHandling) => R,
    options: ExternalOptions<E, Unit<Own, Tx, Metadata>, Metadata, R>,
  ): Handler<C>
  /** In this process, after the commit; best effort. */
  on<E extends Own>(
    event: OneOrMore<E>,
    name: string,
    handler: (event: EnvelopeOf<E, Metadata>) => Awaitable<unknown>,
    options: { readonly phase: 'after-commit' },
  ): Handler<C>
  /** In the raising transaction; a throw aborts it. */
  on<E extends Own>(
    event: OneOrMore<E>,
    name: string,
    handler: (event: RaisedOf<E, Metadata>, unit: Unit<Own, Tx, Metadata>) => Awaitable<unknown>,
    options: { readonly phase: 'before-commit' },
  ): Handler<C>
  /** Durable: its effects in the database commit with its cursor, exactly once per event (P5), in order per key (P4). */
  on<E extends Own | MessageDefinition<`${C}.${string}`>>(
    event: OneOrMore<E>,
    name: string,
    handler: (event: EnvelopeOf<E, Metadata>, unit: Unit<Own, Tx, Metadata> & Handling) => Awaitable<unknown>,
    options?: DurableOptions<E, Unit<Own, Tx, Metadata>, Metadata> & { readonly phase?: 'durable' },
  ): Handler<C>

  /** The same for public events of other contexts. */
  consume<E extends PublicEventDefinition, R>(
    event: OneOrMore<E>,
    name: string,
    handler: (event: EnvelopeOf<E>, handling: ExternalHandling) => R,
    options: ExternalOptions<E, Unit<Own, Tx, Metadata>, unknown, R>,
  ): Handler<C>
  /** In the producer's transaction: only where both contexts share one database. */
  consume<E extends PublicEventDefinition>(
    event: OneOrMore<E>,
    name: string,
    handler: (event: RaisedOf<E>, unit: Unit<Own, Tx, Metadata>) => Awaitable<unknown>,
    options: { readonly phase: 'before-commit' },
  ): Handler<C>
  consume<E extends PublicEventDefinition>(
    event: OneOrMore<E>,
    name: string,
    handler: (event: EnvelopeOf<E>, unit: Unit<Own, Tx, Metadata> & Handling) => Awaitable<unknown>,
    options?: DurableOptions<E, Unit<Own, Tx, Metadata>, unknown> & { readonly phase?: 'durable' },
  ): Handler<C>

  /** Answers a command in a unit of work; `throw refuse(…)` rolls back and answers the caller with the refusal. */
  handle<Cmd extends CommandDefinition, R>(
    command: Cmd,
    handler: (
      command: CommandEnvelope<DataOf<Cmd>>,
      unit: Unit<Own, Tx, Metadata> & {
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
const consumerName = /^[a-z][a-z0-9_-]*$/
const list = <T>(value: T | readonly T[]): readonly T[] =>
  Array.isArray(value) ? (value as readonly T[]) : [value as T]
const invalid = (detail: string): PabalError => new PabalError('PABAL_DEFINITION_INVALID', detail)

interface AnyOptions {
  readonly phase?: Phase
  readonly effects?: 'external'
  readonly record?: DurableSpec['record']
  readonly retry?: RetryPolicy | 'none'
  readonly onExhausted?: DurableSpec['onExhausted']
  readonly startAt?: StartAt
  readonly within?: Duration | { readonly time: Duration; readonly onLate?: DurableSpec['onLate'] }
  readonly batch?: number
  readonly lanes?: number
  readonly concurrency?: number
  readonly timeout?: Duration
  readonly title?: string
}

const positive = (value: number, what: string): number => {
  if (!Number.isInteger(value) || value < 1) throw invalid(`${what} must be an integer from 1, not ${value}`)
  return value
}

const retryOf = (what: string, retry: RetryPolicy | 'none' = {}): DurableSpec['retry'] => {
  if (retry === 'none') return { attempts: 1, firstMs: 0, maxMs: 0 }
  return {
    attempts: positive(retry.attempts ?? 8, `${what}: retry.attempts`),
    firstMs: durationMs(retry.first ?? retry.firstMs ?? 1_000, `${what}: retry.first`),
    maxMs: durationMs(retry.max ?? retry.maxMs ?? 300_000, `${what}: retry.max`),
    ...(retry.decide === undefined ? {} : { decide: retry.decide }),
  }
}

const specOf = (
  kind: 'on' | 'consume',
  context: string,
  definitions: readonly EntryDefinition[],
  name: string,
  handler: HandlerSpec['handler'],
  options: AnyOptions,
): HandlerSpec => {
  const what = `${context}, handler '${name}'`
  if (typeof name !== 'string' || !consumerName.test(name) || name.length > 100)
    throw invalid(`${what}: a name is lower case, digits, '-' and '_', at most 100 characters; it is a durable id`)
  if (definitions.length === 0) throw invalid(`${what} names no event`)
  for (const { type, '~pabal': definition } of definitions) {
    const foreign = kind === 'consume'
    if (foreign !== (definition.scope === 'public'))
      throw invalid(
        foreign
          ? `${what}: ${type} is not a public event`
          : `${what}: ${type} is not an event of its own context; consume its public form`,
      )
    if (!foreign && !type.startsWith(`${context}.`)) throw invalid(`${what}: ${type} belongs to another context`)
  }
  const { phase = 'durable', effects, within } = options
  if (phase !== 'durable') {
    if (options.retry !== undefined || effects !== undefined)
      throw invalid(`${what}: a ${phase} handler has neither retry nor effects`)
    if (phase === 'after-commit' && kind === 'consume')
      throw invalid(`${what}: a foreign event has no after-commit phase here`)
    return { kind, phase, name, definitions, handler }
  }
  const { time, onLate } = typeof within === 'object' ? within : { time: within, onLate: undefined }
  return {
    kind,
    phase,
    name,
    title: options.title,
    definitions,
    effects: effects ?? 'database',
    handler,
    record: options.record,
    retry: retryOf(what, options.retry),
    onExhausted: options.onExhausted ?? 'park',
    startAt: options.startAt,
    withinMs: time === undefined ? undefined : durationMs(time, `${what}: within`),
    onLate,
    batch: positive(options.batch ?? (effects === 'external' ? 100 : 500), `${what}: batch`),
    lanes: options.lanes === undefined ? undefined : positive(options.lanes, `${what}: lanes`),
    concurrency: positive(options.concurrency ?? 16, `${what}: concurrency`),
    timeoutMs: durationMs(options.timeout ?? 30_000, `${what}: timeout`),
  }
}

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
>(
  name: C,
  options: {
    readonly store: (...args: never[]) => Store<Tx, OwnTx>
    readonly events: readonly EventDefinition<`${NoInfer<C>}.${string}`>[]
    readonly messages?: readonly MessageDefinition<`${NoInfer<C>}.${string}`>[]
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
): Context<C, EventDefinition<`${C}.${string}`>, Tx, Output<M>, OwnTx> => {
  const {
    events,
    messages = [],
    commands = [],
    publishes = [],
    retired = [],
    metadata,
    handlerMetadata,
    title,
  } = options
  if (!contextName.test(name) || name.length > 40 || name === 'pabal')
    throw invalid(
      `${JSON.stringify(name)} is not a context's name: lower case, digits, '_', at most 40 characters, and not 'pabal'`,
    )
  checkEntries(name, events, 'private')
  checkEntries(name, messages, 'message')
  checkPublications(name, events, publishes)
  const facts: ContextFacts = { events, messages, commands, publishes, retired, metadata, handlerMetadata, title }
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
  return context as unknown as Context<C, EventDefinition<`${C}.${string}`>, Tx, Output<M>, OwnTx>
}
