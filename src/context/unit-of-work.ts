/** One unit of work: what is raised in it, who handles that before COMMIT, and the one append at its end. */

import { AsyncLocalStorage } from 'node:async_hooks'
import { isPromise } from '../core/awaitable.ts'
import { PabalError } from '../core/errors.ts'
import { Mutex } from '../core/mutex.ts'
import type { EntryDefinition, EventDefinition, InputOf } from '../event/definition.ts'
import { type Cause, EventRecord } from '../event/envelope.ts'
import { encodeJson } from '../event/json.ts'
import { parseWith } from '../event/schema.ts'
import type { Database, Session } from '../store/store.ts'
import type { ContextRuntime } from './runtime.ts'

type Listener = (event: EventRecord, unit: UnitOfWork) => unknown

/** How long one part of a unit waits for another. */
const turnMs = 10_000

/** A command or a nested transaction inside a scope. */
class Part {
  readonly scope: Scope
  readonly parent: Part | undefined
  readonly turns = new Mutex()
  open = true

  constructor(scope: Scope, parent: Part | undefined) {
    this.scope = scope
    this.parent = parent
  }
}
const parts = new AsyncLocalStorage<Part>()

/** One transaction of one database, and the units of the contexts that take part in it. */
export class Scope {
  readonly database: Database
  readonly session: Session
  readonly parent: Scope | undefined
  /** Set when a joined inner transaction has failed: the whole must not commit, even if the error was caught. */
  failure: { readonly error: unknown } | undefined
  /** The event or command that the running code handles: what it raises was caused by that. */
  cause: Cause | undefined
  /** The first event raised without a cause: all that one unit raises belongs together. */
  root: Cause | undefined
  /** The caller's trace, for what has no cause to take it from. */
  traceparent: string | undefined
  #open = true
  readonly #whole = new Part(this, undefined)
  readonly #units = new Map<string, UnitOfWork>()

  constructor(database: Database, session: Session, parent: Scope | undefined) {
    this.database = database
    this.session = session
    this.parent = parent
    if (parent?.open === true) {
      this.cause = parent.cause
      this.root = parent.root
      this.traceparent = parent.traceparent
    }
  }

  get open(): boolean {
    return this.#open
  }

  unitOf(runtime: ContextRuntime): UnitOfWork {
    let unit = this.#units.get(runtime.name)
    if (unit === undefined) this.#units.set(runtime.name, (unit = new UnitOfWork(runtime, this)))
    return unit
  }

  existing(context: string): UnitOfWork | undefined {
    return this.#open ? this.#units.get(context) : undefined
  }

  get units(): Iterable<UnitOfWork> {
    return this.#units.values()
  }

  /** True when a unit has listeners of its own: they hear what is raised up to the next flush. */
  get listens(): boolean {
    for (const unit of this.#units.values()) if (unit.listens) return true
    return false
  }

  /** Runs before-commit handlers, round by round, then appends everything raised: one append per context, before COMMIT. */
  async flush(): Promise<void> {
    const rounds: string[][] = []
    for (;;) {
      const types: string[] = []
      for (const unit of this.#units.values()) {
        const dispatched = unit.dispatch(types)
        if (dispatched !== undefined) await dispatched
      }
      if (types.length === 0) break
      rounds.push(types)
      for (const { runtime } of this.#units.values())
        if (rounds.length > runtime.limits.raiseDepth)
          throw new PabalError(
            'PABAL_RAISE_DEPTH',
            `${runtime.limits.raiseDepth} rounds: … → ${rounds
              .slice(-4)
              .map((round) => round[0])
              .join(' → ')}`,
          )
    }
    if (this.failure !== undefined)
      throw new PabalError('PABAL_ROLLED_BACK', 'a joined inner transaction failed, so the outer one cannot commit', {
        cause: this.failure.error,
      })
    for (const unit of this.#units.values()) {
      const appending = unit.append(this.session)
      if (isPromise(appending)) await appending
      unit.forgetListeners()
    }
  }

  /** The last flush. Nobody can raise after the last append: work that was not awaited would be lost between it and COMMIT. */
  async finish(): Promise<void> {
    do await this.flush()
    while ([...this.#units.values()].some(({ hasPending }) => hasPending))
    this.close()
  }

  /** Runs `fn` so that its writes and what it raises can be undone alone: they are when it throws. */
  savepoint<R>(fn: () => Promise<R>): Promise<R> {
    return this.inTurn(async () => {
      const { failure, root } = this
      const marks = new Map([...this.#units.values()].map((unit) => [unit, unit.mark()]))
      try {
        return await this.session.savepoint(fn)
      } catch (error) {
        for (const unit of this.#units.values()) unit.forgetSince(marks.get(unit) ?? start)
        // What had failed inside is undone with it.
        this.failure = failure
        this.root = root
        throw error
      }
    })
  }

  /** Runs parts that were begun at once one after the other: savepoints nest, and what is undone would take the other's work with it. */
  async inTurn<R>(fn: () => Promise<R>): Promise<R> {
    const around = this.#partAround()
    const turn = around.turns.acquire(turnMs)
    if (turn !== true && !(await turn))
      throw new PabalError('PABAL_STORE_BUSY', `another part of this unit of work ran for more than ${turnMs} ms`)
    const part = new Part(this, parts.getStore())
    try {
      return await parts.run(part, fn)
    } finally {
      part.open = false
      around.turns.release()
    }
  }

  #partAround(): Part {
    for (let part = parts.getStore(); part !== undefined; part = part.parent)
      if (part.scope === this && part.open) return part
    return this.#whole
  }

  close(): void {
    this.#open = false
  }
}

/** How far a unit had come. */
interface Mark {
  readonly raised: number
  readonly listeners: ReadonlyMap<string, readonly Listener[]> | undefined
}
const start: Mark = { raised: 0, listeners: undefined }

const scopes = new AsyncLocalStorage<Scope>()

/** The innermost open scope of a database around the running code. */
export const scopeOf = (database: Database): Scope | undefined => {
  for (let scope = scopes.getStore(); scope !== undefined; scope = scope.parent)
    if (scope.open && scope.database === database) return scope
  return undefined
}

/** Runs code inside a scope, so that ambient `raise` and nested transactions find it. */
export const within = <R>(scope: Scope, fn: () => R): R => scopes.run(scope, fn)

export const enclosingScope = (): Scope | undefined => scopes.getStore()

/** Runs code outside of every scope: what it begins is its own. */
export const outside = <R>(fn: () => R): R => scopes.exit(fn)

/**
 * Raises from anywhere below a unit of work of the event's context, for domain objects that are given no unit.
 * @throws PABAL_NO_UNIT_OF_WORK outside of one, or after its end
 */
export const raise = <E extends EventDefinition>(
  event: E,
  data: InputOf<E>,
  options?: { readonly expectedSequence?: number },
): void => {
  const context = event.type.slice(0, event.type.indexOf('.'))
  for (let scope = scopes.getStore(); scope !== undefined; scope = scope.parent) {
    const unit = scope.existing(context)
    if (unit !== undefined) return unit.raise(event, data, options)
  }
  throw new PabalError(
    'PABAL_NO_UNIT_OF_WORK',
    `${event.type} was raised where no unit of work of '${context}' is open`,
  )
}

/** The part of one context in a scope; what user code sees of it is `Unit`. */
export class UnitOfWork {
  readonly runtime: ContextRuntime
  readonly #scope: Scope
  #tx: unknown
  #metadataText: string | null | undefined
  #metadata: unknown
  #raised: EventRecord[] = []
  #dispatched = 0
  #appended = 0
  #listeners: Map<string, Listener[]> | undefined
  /** For durable handlers. */
  attempt = 1
  signal: AbortSignal | undefined

  constructor(runtime: ContextRuntime, scope: Scope) {
    this.runtime = runtime
    this.#scope = scope
  }

  get tx(): unknown {
    this.#tx ??= this.runtime.store.tx(this.#scope.session)
    return this.#tx
  }

  get metadata(): unknown {
    if (this.#metadataText === undefined) this.metadataFrom(undefined)
    return this.#metadata
  }

  /** Everything raised, in order. */
  get raised(): readonly EventRecord[] {
    return this.#raised
  }

  get listens(): boolean {
    return this.#listeners !== undefined
  }

  /** True when something raised is not appended yet. */
  get hasPending(): boolean {
    return this.#appended < this.#raised.length
  }

  /** Common metadata from the caller. @throws PABAL_METADATA_INVALID */
  metadataFrom(input: unknown): void {
    const { metadata: schema } = this.runtime.facts
    if (schema === undefined) {
      this.#metadataText = null
      return
    }
    try {
      this.#metadata = parseWith(schema, input ?? {}, `metadata of '${this.runtime.name}'`)
    } catch (error) {
      throw new PabalError('PABAL_METADATA_INVALID', (error as Error).message, { cause: error })
    }
    this.#metadataText = encodeJson(this.#metadata, this.runtime.limits, `metadata of '${this.runtime.name}'`)
  }

  /** Runs code that may set the metadata, and gives the former back afterwards. */
  async keepingMetadata<R>(fn: () => R): Promise<Awaited<R>> {
    const text = this.#metadataText
    const value = this.#metadata
    try {
      return await fn()
    } finally {
      this.#metadataText = text
      this.#metadata = value
    }
  }

  /** Common metadata of an own event, or what the context derives from a foreign one. */
  metadataOf(event: EventRecord): void {
    if (event.source === this.runtime.name) {
      this.#metadataText = event.metadataText
      this.#metadata = event.metadata
    } else if (this.runtime.facts.handlerMetadata !== undefined)
      this.metadataFrom(this.runtime.facts.handlerMetadata(event))
    else this.#metadataText = this.runtime.facts.metadata === undefined ? null : undefined
  }

  readonly raise = (
    definition: EventDefinition,
    input: unknown,
    options?: { readonly expectedSequence?: number },
  ): void => {
    const record = this.#record(definition, input)
    record.expectedSequence = options?.expectedSequence
    this.#raised.push(record)
  }

  readonly post = (definition: EntryDefinition, input: unknown): void => {
    this.#raised.push(this.#record(definition, input))
  }

  readonly on = (definition: EntryDefinition, handler: Listener): void => {
    this.#checkOpen(definition.type)
    this.#listeners ??= new Map()
    const listeners = this.#listeners.get(definition.type)
    if (listeners === undefined) this.#listeners.set(definition.type, [handler])
    else listeners.push(handler)
  }

  #checkOpen(type: string): void {
    if (!this.#scope.open)
      throw new PabalError('PABAL_NO_UNIT_OF_WORK', `${type} was raised after the unit of work had ended`)
  }

  #record(given: EntryDefinition, input: unknown): EventRecord {
    const { runtime } = this
    this.#checkOpen(given.type)
    const definition = runtime.entries.get(given.type)
    if (definition === undefined || definition['~pabal'].scope !== given['~pabal'].scope)
      throw new PabalError('PABAL_UNKNOWN_EVENT_TYPE', `${given.type} is not registered in '${runtime.name}'`)
    const data = definition['~pabal'].parse(input)
    const id = runtime.environment.id()
    const scope = this.#scope
    const cause = scope.cause ?? scope.root
    const hopCount = scope.cause === undefined ? 0 : scope.cause.hopCount + 1
    if (hopCount > runtime.limits.hops)
      throw new PabalError(
        'PABAL_HOP_LIMIT',
        `${given.type} would be event ${hopCount} of the chain ${cause!.correlationId}`,
      )
    if (this.#metadataText === undefined) this.metadataFrom(undefined)
    const record = new EventRecord(
      definition,
      runtime.name,
      {
        id,
        key: definition['~pabal'].key(data) ?? id,
        version: definition.version,
        text: encodeJson(data, runtime.limits, given.type),
        timeMs: runtime.environment.now(),
        correlationId: cause?.correlationId ?? id,
        causationId: scope.cause?.id,
        hopCount,
        traceparent: cause?.traceparent ?? scope.traceparent,
        metadataText: this.#metadataText ?? null,
      },
      data,
    )
    scope.root ??= record
    return record
  }

  /** Runs the before-commit handlers of what was raised since the last round; undefined when nothing had to be awaited. */
  dispatch(types: string[]): Promise<void> | undefined {
    const from = this.#dispatched
    const to = this.#raised.length
    this.#dispatched = to
    const { beforeCommit } = this.runtime
    for (let i = from; i < to; i++) {
      const event = this.#raised[i]!
      types.push(event.type)
      const handlers = beforeCommit.get(event.type)
      if (handlers !== undefined)
        for (let h = 0; h < handlers.length; h++) {
          const running = handlers[h]!(event, this.#scope)
          if (isPromise(running)) return this.#dispatchRest(running, i, h + 1, to, types)
        }
      const listeners = this.#listeners?.get(event.type)
      if (listeners !== undefined)
        for (let l = 0; l < listeners.length; l++) {
          const running = this.#listen(listeners[l]!, event)
          if (isPromise(running)) return this.#dispatchRest(running, i, (handlers?.length ?? 0) + l + 1, to, types)
        }
    }
    return undefined
  }

  /** The same, once something had to be awaited: event `i` goes on with its `next` handler. */
  async #dispatchRest(
    running: PromiseLike<unknown>,
    i: number,
    next: number,
    to: number,
    types: string[],
  ): Promise<void> {
    await running
    for (let at = i, from = next; at < to; at++, from = 0) {
      const event = this.#raised[at]!
      if (at !== i) types.push(event.type)
      const handlers = this.runtime.beforeCommit.get(event.type) ?? []
      const listeners = this.#listeners?.get(event.type) ?? []
      for (let n = from; n < handlers.length; n++) await handlers[n]!(event, this.#scope)
      for (let n = Math.max(0, from - handlers.length); n < listeners.length; n++)
        await this.#listen(listeners[n]!, event)
    }
  }

  #listen(listener: Listener, event: EventRecord): unknown {
    return this.handling(event, listener)
  }

  /** Runs a handler of an event or command: what it raises was caused by that. */
  handling(cause: Cause, handler: (cause: never, unit: never) => unknown): unknown {
    const scope = this.#scope
    const outer = scope.cause
    scope.cause = cause
    let running: unknown
    try {
      running = handler(cause as never, this as never)
    } catch (error) {
      scope.cause = outer
      throw error
    }
    if (!isPromise(running)) {
      scope.cause = outer
      return running
    }
    return (running as Promise<unknown>).finally(() => {
      scope.cause = outer
    })
  }

  append(session: Session): unknown {
    if (this.#appended === this.#raised.length) return undefined
    const events = this.#appended === 0 ? this.#raised : this.#raised.slice(this.#appended)
    this.#appended = this.#raised.length
    return this.runtime.contextStore.log.append(session, events)
  }

  forgetListeners(): void {
    this.#listeners = undefined
  }

  /** For a savepoint: how much was raised, and who listens, so far … */
  mark(): Mark {
    const listeners = this.#listeners && new Map([...this.#listeners].map(([type, list]) => [type, [...list]]))
    return { raised: this.#raised.length, listeners }
  }

  /** … and forgetting what came since. */
  forgetSince({ raised, listeners }: Mark): void {
    this.#raised.length = raised
    this.#dispatched = Math.min(this.#dispatched, raised)
    this.#appended = Math.min(this.#appended, raised)
    this.#listeners = listeners && new Map([...listeners].map(([type, list]) => [type, [...list]]))
  }
}
