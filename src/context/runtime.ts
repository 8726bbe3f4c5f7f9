/** A context at work in one process: transactions, joins and commands, wired to its open database. */

import type { Awaitable } from '../core/awaitable.ts'
import type { Environment } from '../core/environment.ts'
import { PabalError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import type { CommandDefinition, EntryDefinition, MessageDefinition } from '../event/definition.ts'
import type { Cause, EventRecord } from '../event/envelope.ts'
import { encodeJson } from '../event/json.ts'
import type { ContextStore, Database, Session, Store, TransactionOptions } from '../store/store.ts'
import { type ContextFacts, entriesOf } from './definition.ts'
import type { CommandSpec } from './handler.ts'
import type { Unit } from './unit.ts'
import { enclosingScope, readIn, Scope, scopeOf, within } from './scope.ts'
import type { UnitOfWork } from './unit-of-work.ts'

export interface UnitOptions<Metadata = unknown> {
  /** The same key again runs nothing and gives the recorded outcome. Kept with the effects, in the same transaction. */
  readonly idempotencyKey?: string
  /** The context's common metadata (actor, tenant, …). */
  readonly metadata?: Metadata
  /** W3C trace context of the caller; stored with every event that is raised. */
  readonly traceparent?: string
}

/** A context of a running app. */
export interface RunningContext<Own, Tx, Metadata, OwnTx, Messages extends MessageDefinition> {
  readonly name: string
  /**
   * Runs `fn` in a transaction: what it writes through `tx` and what it raises commit together, or not at all (P1). Inside a
   * unit of the same context (or of one that shares its database) it joins that one.
   * @throws PABAL_STORE_BUSY, PABAL_SEQUENCE_CONFLICT, PABAL_ROLLED_BACK, and what `fn` throws
   */
  transaction<R>(
    fn: (unit: Unit<Own, Tx, Metadata, Messages>) => Awaitable<R>,
    options?: UnitOptions<Metadata>,
  ): Promise<R>
  /** The same inside a transaction that the caller began and will commit. After-commit handlers do not run. @throws PABAL_NOT_A_TRANSACTION */
  join<R>(
    transaction: OwnTx,
    fn: (unit: Unit<Own, Tx, Metadata, Messages>) => Awaitable<R>,
    options?: Omit<UnitOptions<Metadata>, 'idempotencyKey'>,
  ): Promise<R>
  /** Reads committed state and waits for no writer; inside a unit of this database it reads as the unit does. */
  read<R>(fn: (view: { readonly tx: Tx }) => Awaitable<R>): Promise<R>
}

export type BeforeCommitHandler = (event: EventRecord, scope: Scope) => Awaitable<unknown>

export type SendResult =
  | { readonly ok: true }
  | { readonly ok: false; readonly refusal: { readonly code: string; readonly detail: unknown } }

const refusal = Symbol('refusal')
class Refused extends Error {
  readonly [refusal]: { readonly code: string; readonly detail: unknown }
  constructor(type: string, code: string, detail: unknown) {
    super(`${type} was refused: ${code}`)
    this.name = 'Refused'
    this[refusal] = { code, detail }
  }
}

export interface RuntimeParts {
  readonly name: string
  readonly facts: ContextFacts
  readonly store: Store
  readonly database: Database
  readonly contextStore: ContextStore
  readonly environment: Environment
  readonly limits: Limits
  /** Told of an after-commit handler that failed. */
  readonly failed: (what: string, error: unknown) => void
}

export class ContextRuntime {
  readonly name: string
  readonly facts: ContextFacts
  readonly store: Store
  readonly database: Database
  readonly contextStore: ContextStore
  readonly environment: Environment
  readonly limits: Limits
  /** The closed registry: every type that this context may append. */
  readonly entries: ReadonlyMap<string, EntryDefinition>
  readonly beforeCommit: Map<string, BeforeCommitHandler[]> = new Map()
  readonly afterCommit: Map<
    string,
    { readonly name: string; readonly handler: (event: EventRecord) => Awaitable<unknown> }[]
  > = new Map()
  readonly commands: Map<string, CommandSpec> = new Map()
  readonly #failed: RuntimeParts['failed']
  readonly #afterCommitRunning = new Set<Promise<unknown>>()

  constructor(parts: RuntimeParts) {
    this.name = parts.name
    this.facts = parts.facts
    this.store = parts.store
    this.database = parts.database
    this.contextStore = parts.contextStore
    this.environment = parts.environment
    this.limits = parts.limits
    this.#failed = parts.failed
    this.entries = new Map(entriesOf(parts.facts).map((definition) => [definition.type, definition]))
  }

  async transaction(fn: (unit: UnitOfWork) => unknown, options: UnitOptions = {}, cause?: Cause): Promise<unknown> {
    const work = (scope: Scope) => this.#once(scope, options, 'transaction', () => this.#run(scope, fn, options, cause))
    const outer = scopeOf(this.database)
    return outer === undefined ? this.inTransaction(work) : this.#joinScope(outer, work)
  }

  async #joinScope<R>(scope: Scope, work: (scope: Scope) => Promise<R>): Promise<R> {
    try {
      return await scope.inTurn(() => scope.unitOf(this).keepingMetadata(() => work(scope)))
    } catch (error) {
      scope.failure ??= { error }
      throw error
    }
  }

  /** Runs the work, or gives what was recorded for its idempotency key; both in the transaction of the effects. */
  async #once<R>(scope: Scope, { idempotencyKey }: UnitOptions, what: string, work: () => Promise<R>): Promise<R> {
    if (idempotencyKey === undefined) return work()
    const recorded = await this.#recorded(scope.session, idempotencyKey, what)
    if (recorded !== undefined) return recorded.value as R
    const result = await work()
    await this.#record(scope.session, idempotencyKey, what, result)
    return result
  }

  async #run(scope: Scope, fn: (unit: UnitOfWork) => unknown, options: UnitOptions, cause?: Cause): Promise<unknown> {
    const unit = this.#begin(scope, options, cause)
    return within(scope, () => fn(unit))
  }

  #begin(scope: Scope, options: UnitOptions, cause: Cause | undefined): UnitOfWork {
    const unit = scope.unitOf(this)
    if (options.metadata !== undefined) unit.metadataFrom(options.metadata)
    scope.traceparent = options.traceparent ?? scope.traceparent
    scope.cause = cause ?? scope.cause
    return unit
  }

  /** A transaction of this context's database as a scope: flushed, committed, then told to whoever waits for it. */
  async inTransaction<R>(
    fn: (scope: Scope) => Promise<R>,
    options: TransactionOptions = { silentMs: Number.POSITIVE_INFINITY },
  ): Promise<R> {
    let scope: Scope | undefined
    try {
      const result = await this.database.transaction(async (session) => {
        // Run again, it begins anew: what an earlier run has raised is undone with it.
        scope?.close()
        scope = new Scope(this.database, session, enclosingScope())
        const value = await fn(scope)
        await within(scope, () => scope!.finish())
        return value
      }, options)
      this.#afterCommit(scope!)
      return result
    } finally {
      scope?.close()
    }
  }

  #afterCommit(scope: Scope): void {
    for (const { runtime, raised } of scope.units) {
      if (raised.length === 0 || runtime.afterCommit.size === 0) continue
      for (const event of raised)
        for (const { name, handler } of runtime.afterCommit.get(event.type) ?? [])
          runtime.#runAfterCommit(name, event, handler)
    }
  }

  #runAfterCommit(name: string, event: EventRecord, handler: (event: EventRecord) => Awaitable<unknown>): void {
    const running = (async () => handler(event))()
      .catch((error: unknown) => this.#failed(`after-commit handler '${name}' of '${this.name}'`, error))
      .finally(() => this.#afterCommitRunning.delete(running))
    this.#afterCommitRunning.add(running)
  }

  /** Resolves when the after-commit handlers that have begun are done. */
  async drain(): Promise<void> {
    while (this.#afterCommitRunning.size > 0) await Promise.all(this.#afterCommitRunning)
  }

  async join(own: unknown, fn: (unit: UnitOfWork) => unknown, options: UnitOptions = {}): Promise<unknown> {
    return this.database.join(own, async (session) => {
      const scope = new Scope(this.database, session, enclosingScope())
      try {
        // Apart, so that a caller who catches the error and commits has neither half of it.
        return await scope.savepoint(async () => {
          const result = await this.#run(scope, fn, options)
          await within(scope, () => scope.finish())
          return result
        })
      } finally {
        scope.close()
      }
    })
  }

  async read<R>(fn: (view: { readonly tx: unknown }) => Awaitable<R>): Promise<R> {
    return readIn(this.database, (session) => fn({ tx: this.store.reader(session) }))
  }

  async send(command: CommandDefinition, input: unknown, options: UnitOptions = {}): Promise<SendResult> {
    const spec = this.commands.get(command.type)!
    const data = command['~pabal'].parse(input)
    const id = this.environment.id()
    const outer = scopeOf(this.database)
    const work = (scope: Scope) => this.#handle(scope, spec, { id, data }, options)
    const once = (scope: Scope, apart: () => Promise<void>): Promise<SendResult> =>
      this.#once(scope, options, command.type, () => this.#apart(scope, apart))
    // Not flushed here: what the outer unit has raised before must not be handled in a part that may be undone.
    if (outer !== undefined) return once(outer, () => outer.unitOf(this).keepingMetadata(() => work(outer)))
    if (options.idempotencyKey !== undefined)
      return this.inTransaction((scope) =>
        once(scope, async () => {
          await work(scope)
          await within(scope, () => scope.flush())
        }),
      )
    try {
      await this.inTransaction(work)
      return { ok: true }
    } catch (error) {
      if (error instanceof Refused) return { ok: false, refusal: error[refusal] }
      throw error
    }
  }

  async #handle(
    scope: Scope,
    spec: CommandSpec,
    command: { id: string; data: unknown },
    options: UnitOptions,
  ): Promise<void> {
    const unit = this.#begin(scope, options, undefined)
    // With an idempotency key it is a request of its own, also where many are received in one transaction.
    const origin = scope.cause ?? (options.idempotencyKey === undefined ? scope.root : undefined)
    const cause: Cause = {
      id: command.id,
      correlationId: origin?.correlationId ?? command.id,
      hopCount: scope.cause === undefined ? 0 : scope.cause.hopCount + 1,
      traceparent: options.traceparent ?? origin?.traceparent ?? scope.traceparent,
    }
    const refuse = (code: string, detail: unknown): Error =>
      new Refused(spec.command.type, code, spec.command['~pabal'].parseRefusal(code, detail))
    const face = {
      get tx() {
        return unit.tx
      },
      get metadata() {
        return unit.metadata
      },
      raise: unit.raise,
      post: unit.post,
      on: unit.on,
      refuse,
    }
    await within(scope, () => unit.handling(cause, () => spec.handler(command as never, face as never)))
  }

  /** Runs work that may be refused so that only its own writes and events are undone then. */
  async #apart(scope: Scope, work: () => Promise<void>): Promise<SendResult> {
    try {
      await scope.savepoint(work)
      return { ok: true }
    } catch (error) {
      if (error instanceof Refused) return { ok: false, refusal: error[refusal] }
      throw error
    }
  }

  async #recorded(session: Session, key: string, what: string): Promise<{ readonly value: unknown } | undefined> {
    const row = await this.contextStore.units.get(session, key)
    if (row === undefined) return undefined
    if (row.what !== what)
      throw new PabalError(
        'PABAL_IDEMPOTENCY_KEY_REUSED',
        `${JSON.stringify(key)} belongs to ${row.what}, not to ${what}`,
      )
    return { value: row.result === '' ? undefined : JSON.parse(row.result) }
  }

  async #record(session: Session, key: string, what: string, result: unknown): Promise<void> {
    await this.contextStore.units.put(session, key, what, result === undefined ? '' : this.#encodeResult(key, result))
  }

  #encodeResult(key: string, result: unknown): string {
    try {
      return encodeJson(result, this.limits, `the result of the unit with key ${JSON.stringify(key)}`)
    } catch (error) {
      throw new PabalError('PABAL_RESULT_NOT_JSON', (error as Error).message, { cause: error })
    }
  }
}
