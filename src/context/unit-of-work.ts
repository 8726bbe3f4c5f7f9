/** The part of one context in a transaction: what is raised in it, who handles that before COMMIT, and the one append at its end. */

import { isPromise } from '../core/awaitable.ts'
import { PabalError } from '../core/errors.ts'
import type { EntryDefinition, EventDefinition } from '../event/definition.ts'
import { type Cause, EventRecord } from '../event/envelope.ts'
import { encodeJson } from '../event/json.ts'
import { parseWith } from '../event/schema.ts'
import type { Session } from '../store/store.ts'
import type { ContextRuntime } from './runtime.ts'
import type { Scope } from './scope.ts'

type Listener = (event: EventRecord, unit: UnitOfWork) => unknown

/** How far a unit had come. */
export interface Mark {
  readonly raised: number
  readonly listeners: ReadonlyMap<string, readonly Listener[]> | undefined
}
/** Nothing raised yet. */
export const start: Mark = { raised: 0, listeners: undefined }

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
