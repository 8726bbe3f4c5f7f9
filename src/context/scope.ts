/** One transaction of one database around running code: the units of the contexts that take part, flushed and appended together. */

import { AsyncLocalStorage } from 'node:async_hooks'
import { type Awaitable, isPromise } from '../core/awaitable.ts'
import { PabalError } from '../core/errors.ts'
import { Mutex } from '../core/mutex.ts'
import type { EventDefinition, InputOf } from '../event/definition.ts'
import type { Cause } from '../event/envelope.ts'
import type { Database, Session } from '../store/store.ts'
import type { ContextRuntime } from './runtime.ts'
import { start, UnitOfWork } from './unit-of-work.ts'

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

/** Reads as the open unit of this database does, over its connection; outside of one by itself. */
export const readIn = async <R>(database: Database, fn: (session: Session) => Awaitable<R>): Promise<R> => {
  const scope = scopeOf(database)
  return scope === undefined ? database.read(fn) : fn(scope.session)
}

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
