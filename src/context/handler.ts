/** A handler as a value: the options that a user gives, and the recorded specification with its defaults. */

import type { Awaitable } from '../core/awaitable.ts'
import { type Duration, durationMs } from '../core/duration.ts'
import { PabalError } from '../core/errors.ts'
import { type CommandDefinition, type EntryDefinition, isMessage } from '../event/definition.ts'
import type { EnvelopeOf, EventRecord } from '../event/envelope.ts'
import { checkFilter, type Filter, type FilterOf, wanting } from '../event/filter.ts'
import type { RetryPolicy } from './retry.ts'

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
  /** Events per transaction (database effects) or in flight (external). Default 1,000, external 100. */
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

export type Phase = 'before-commit' | 'after-commit' | 'every-instance' | 'durable'

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
  /** `handler`, `record` and `onLate` keep it by themselves; a transport may keep it at its broker. */
  readonly filter?: Filter
  readonly effects: 'database' | 'external'
  readonly handler: (event: never, unit: never) => Awaitable<unknown>
  /**
   * In place of `handler`, for effects that are cheaper together: one call for the batch, one outcome for each event; undefined is
   * a success. Behind a failure nothing of its key counts as done, whatever its outcome.
   */
  readonly handleBatch?: (
    events: readonly EventRecord[],
    given: { readonly signal: AbortSignal; readonly incarnation: string },
  ) => Promise<readonly ({ readonly error: unknown } | undefined)[]>
  readonly record: ((result: never, event: never, unit: never) => Awaitable<unknown>) | undefined
  /** Though its effects are outside: whoever gets one again knows it. Such a handler may go back. */
  readonly repeatable?: true
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
  readonly phase: 'before-commit' | 'after-commit' | 'every-instance'
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

const consumerName = /^[a-z][a-z0-9_-]*$/
const invalid = (detail: string): PabalError => new PabalError('PABAL_DEFINITION_INVALID', detail)

/** For handlers of public events. */
export interface FilterOptions<E> {
  /**
   * Only these of the events: `{ country: ['KR', 'JP'] }`, by attributes that their definitions declare. Of each name one of the
   * values; what does not have it is not wanted. The others are passed over as if the handler had done nothing with them. Default: all.
   */
  readonly filter?: FilterOf<E>
}

/** The options of every phase, without the types that keep them apart. */
export interface AnyOptions {
  readonly filter?: Filter
  readonly phase?: Phase
  readonly effects?: 'external'
  readonly record?: DurableSpec['record']
  readonly retry?: RetryPolicy | 'none'
  readonly onExhausted?: DurableSpec['onExhausted']
  readonly startAt?: StartAt
  readonly within?: Duration | { readonly time: Duration; readonly onLate?: Run['onLate'] }
  readonly batch?: number
  readonly lanes?: number
  readonly concurrency?: number
  readonly timeout?: Duration
  readonly title?: string
}

/** What runs for an event. */
type Run = Pick<DurableSpec, 'handler' | 'record' | 'onLate'>

const positive = (value: number, what: string): number => {
  if (!Number.isInteger(value) || value < 1) throw invalid(`${what} must be an integer from 1, not ${value}`)
  return value
}

const retryOf = (what: string, retry: RetryPolicy | 'none' = {}): DurableSpec['retry'] => {
  if (retry === 'none') return { attempts: 1, firstMs: 0, maxMs: 0 }
  return {
    attempts: positive(retry.attempts ?? 8, `${what}: retry.attempts`),
    firstMs: durationMs(retry.first ?? 1_000, `${what}: retry.first`),
    maxMs: durationMs(retry.max ?? 300_000, `${what}: retry.max`),
    ...(retry.decide === undefined ? {} : { decide: retry.decide }),
  }
}

/** The same for those events alone that are wanted. */
const only = (wants: (event: EventRecord) => boolean, { handler, record, onLate }: Run): Run => ({
  handler: (event, unit) => (wants(event) ? handler(event, unit) : undefined),
  record: record && ((result, event, unit) => (wants(event) ? record(result, event, unit) : undefined)),
  onLate: onLate && ((event, unit) => (wants(event) ? onLate(event, unit) : undefined)),
})

/** Checks a handler's options and fills in their defaults. @throws PABAL_DEFINITION_INVALID */
export const specOf = (
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
  const { phase = 'durable', effects, within, filter } = options
  const message = definitions.find(isMessage)
  if (phase !== 'durable' && message !== undefined)
    throw invalid(`${what}: ${message.type} is a message, which is handled durably`)
  if (filter !== undefined && kind === 'on') throw invalid(`${what}: only what is consumed is filtered`)
  if (filter !== undefined) checkFilter(what, definitions, filter)
  const onLate = typeof within === 'object' ? within.onLate : undefined
  const own: Run = { handler, record: options.record, onLate }
  const run = filter === undefined ? own : only(wanting(filter, definitions), own)
  if (phase !== 'durable') {
    if (options.retry !== undefined || effects !== undefined)
      throw invalid(`${what}: a ${phase} handler has neither retry nor effects`)
    if (phase === 'after-commit' && kind === 'consume')
      throw invalid(`${what}: a foreign event has no after-commit phase here`)
    return { kind, phase, name, definitions, handler: run.handler }
  }
  const time = typeof within === 'object' ? within.time : within
  return {
    kind,
    phase,
    name,
    title: options.title,
    definitions,
    ...(filter === undefined ? {} : { filter }),
    effects: effects ?? 'database',
    handler: run.handler,
    record: run.record,
    retry: retryOf(what, options.retry),
    onExhausted: options.onExhausted ?? 'park',
    startAt: options.startAt,
    withinMs: time === undefined ? undefined : durationMs(time, `${what}: within`),
    onLate: run.onLate,
    batch: positive(options.batch ?? (effects === 'external' ? 100 : 1_000), `${what}: batch`),
    lanes: options.lanes === undefined ? undefined : positive(options.lanes, `${what}: lanes`),
    concurrency: positive(options.concurrency ?? 16, `${what}: concurrency`),
    timeoutMs: durationMs(options.timeout ?? 30_000, `${what}: timeout`),
  }
}
