/** The composition root: the only place that knows who runs with whom, on what, over what. */

import type { Bound, Context, ContextDefinition } from '../context/definition.ts'
import type { RefusalsOf } from '../context/unit.ts'
import type { RunningContext, UnitOptions } from '../context/runtime.ts'
import type { UnitOfWork } from '../context/unit-of-work.ts'
import { type Environment, systemEnvironment } from '../core/environment.ts'
import { describeError, PabalError } from '../core/errors.ts'
import { defaultLimits, type Limits } from '../core/limits.ts'
import { type CommandDefinition, type InputOf, type MessageDefinition, receiverOf } from '../event/definition.ts'
import type { Reception } from '../exchange/carrier.ts'
import { channelOf, type Exchange } from '../exchange/exchange.ts'
import { inProcess } from '../exchange/in-process/in-process.ts'
import { receivedName } from '../exchange/received-log.ts'
import type { BreakerOptions } from '../subscription/breaker.ts'
import { type Composition, compose, nameOf, specsOf } from './composition.ts'
import { checkMessages } from './messages.ts'
import { OpenedApp } from './opened.ts'
import { dropOld } from './retention.ts'
import { settle } from './settle.ts'

export interface AppOptions {
  readonly contexts: readonly Bound[]
  /** How public events travel between contexts. Default `inProcess()`. */
  readonly exchange?: Exchange
  readonly limits?: Partial<Limits>
  /** How long a lane stays with a process that gives no sign of life. Default 15,000 ms. */
  readonly leaseMs?: number
  readonly breaker?: BreakerOptions
  /** Time, randomness and sleep; for tests and simulations. */
  readonly environment?: Environment
  /** Told of what an operator should know: handlers that fail, names that mislead, cursors without a handler. Default: a process warning. */
  readonly onWarning?: (what: string, error: unknown) => void
}

export type Refusal<R> = { [Code in keyof R]: { readonly code: Code; readonly detail: R[Code] } }[keyof R]
export type Sent<R> = { readonly ok: true } | { readonly ok: false; readonly refusal: Refusal<R> }

export interface SettleOptions {
  /** Gives up with PABAL_SETTLE_TIMEOUT. Default: never. */
  readonly withinMs?: number
}

export interface App extends AsyncDisposable {
  /** A context of this app; works without `start`. */
  context<C extends string, Own, Tx, Metadata, OwnTx, Messages extends MessageDefinition>(
    context: Context<C, Own, Tx, Metadata, OwnTx, Messages>,
  ): RunningContext<Own, Tx, Metadata, OwnTx, Messages>
  /**
   * Sends a command to the context that handles it and answers with its outcome; works without `start`. With an
   * `idempotencyKey` the same key again gives the recorded answer. @throws PABAL_NO_HANDLER, PABAL_PAYLOAD_INVALID
   */
  send<C extends CommandDefinition>(command: C, data: InputOf<C>, options?: UnitOptions): Promise<Sent<RefusalsOf<C>>>
  /** Posts a one-way message to its context, which is in this app: stored now, handled later. @throws PABAL_NO_HANDLER, PABAL_PAYLOAD_INVALID */
  post<M extends MessageDefinition>(message: M, data: InputOf<M>, options?: UnitOptions): Promise<void>
  /** Opens the databases and runs the durable handlers. */
  start(): Promise<void>
  /**
   * Resolves when every durable handler has handled everything, also what handling has caused: exact, no idle timer. A
   * dead-lettered key counts as settled, a retrying one does not. Runs the handlers for as long when the app is not started.
   */
  settle(options?: SettleOptions): Promise<void>
  /**
   * Begins nothing new, waits for the handlers that run (those with external effects are told by their signal after `graceMs`,
   * default 10,000), gives leases back, closes the databases.
   */
  stop(options?: { readonly graceMs?: number }): Promise<void>
  /** For `pabal/operate` and the CLI. */
  readonly '~pabal': {
    readonly composition: Composition
    readonly environment: Environment
    readonly limits: Limits
    readonly warn: (what: string, error: unknown) => void
    /** Opens at the first call. `existing`: creates, migrates and prepares nothing; for looking and operating. */
    open(options?: { readonly existing?: boolean }): Promise<OpenedApp>
  }
}

const defaultGraceMs = 10_000

const closed = (): PabalError => new PabalError('PABAL_STORE_CLOSED', 'the app has been stopped')
const retainEveryMs = 3_600_000

const warnProcess = (what: string, error: unknown): void => {
  process.emitWarning(`${what}: ${describeError(error)}`, { type: 'PabalWarning' })
}

/**
 * Composes contexts, their stores and handlers, and the exchange between them. Checks everything that can be checked before
 * anything is opened; opens at the first use.
 * @throws PABAL_COMPOSITION_INVALID
 */
export const createApp = (options: AppOptions): App => new RunningApp(options) as unknown as App

class RunningApp {
  readonly #composition: Composition
  readonly #environment: Environment
  readonly #limits: Limits
  readonly #options: AppOptions
  #opened: Promise<OpenedApp> | undefined
  #looked: Promise<OpenedApp> | undefined
  /** `start` was called: the handlers run until `stop`. */
  #started = false
  /** Calls of `settle` under way: the handlers run at least for as long. */
  #settling = 0
  #running: Promise<void> | undefined
  #pausing: Promise<void> | undefined
  #stopped: Promise<void> | undefined
  #retaining: AbortController | undefined

  constructor(options: AppOptions) {
    this.#composition = compose(options.contexts, options.exchange ?? inProcess())
    checkMessages(this.#composition)
    this.#environment = options.environment ?? systemEnvironment
    this.#limits = { ...defaultLimits, ...options.limits }
    this.#options = options
  }

  get '~pabal'(): App['~pabal'] {
    return {
      composition: this.#composition,
      environment: this.#environment,
      limits: this.#limits,
      warn: this.#warn,
      open: ({ existing = false } = {}) => (existing ? this.#look() : this.#open()),
    }
  }

  get #warn(): (what: string, error: unknown) => void {
    const { onWarning } = this.#options
    if (onWarning === undefined) return warnProcess
    return (what, error) => {
      try {
        onWarning(what, error)
      } catch (thrown) {
        // Whoever cannot be told must not end the work that wanted to tell.
        warnProcess('onWarning', thrown)
        warnProcess(what, error)
      }
    }
  }

  #open(): Promise<OpenedApp> {
    if (this.#stopped !== undefined) return Promise.reject(closed())
    if (this.#opened === undefined) {
      this.#opened = this.#openAs({ existing: false })
      // What could not be opened may be opened later.
      this.#opened.catch(() => (this.#opened = undefined))
    }
    return this.#opened
  }

  /** For a look at what is there: the open app where it is open, else one apart, which a later start does not build on. */
  #look(): Promise<OpenedApp> {
    if (this.#opened !== undefined || this.#stopped !== undefined) return this.#open()
    if (this.#looked === undefined) {
      this.#looked = this.#openAs({ existing: true })
      this.#looked.catch(() => (this.#looked = undefined))
    }
    return this.#looked
  }

  #openAs({ existing }: { readonly existing: boolean }): Promise<OpenedApp> {
    const { leaseMs, breaker } = this.#options
    return OpenedApp.open(this.#composition, {
      environment: this.#environment,
      limits: this.#limits,
      leaseMs,
      breaker,
      warn: this.#warn,
      existing,
    })
  }

  context(context: ContextDefinition): unknown {
    const { name } = context
    if (!this.#composition.contexts.some((bound) => bound['~pabal'].context === (context as unknown)))
      throw new PabalError('PABAL_COMPOSITION_INVALID', `'${name}' is not a context of this app`)
    const runtime = async () => (await this.#open()).runtimes.get(name)!
    return {
      name,
      transaction: async (fn: (unit: UnitOfWork) => unknown, options?: UnitOptions) =>
        (await runtime()).transaction(fn, options),
      join: async (own: unknown, fn: (unit: UnitOfWork) => unknown, options?: UnitOptions) =>
        (await runtime()).join(own, fn, options),
      read: async (fn: (view: { readonly tx: unknown }) => unknown) => (await runtime()).read(fn),
    }
  }

  async send(command: CommandDefinition, data: unknown, options?: UnitOptions): Promise<unknown> {
    const bound = this.#composition.contexts.find((candidate) =>
      specsOf(candidate).some((spec) => spec.kind === 'handle' && spec.command.type === command.type),
    )
    if (bound === undefined) throw new PabalError('PABAL_NO_HANDLER', `${command.type} has no handler in this app`)
    return (await this.#open()).runtimes.get(nameOf(bound))!.send(command, data, options)
  }

  async post(message: MessageDefinition, data: unknown, options?: UnitOptions): Promise<void> {
    const owner = receiverOf(message)
    const runtime = (await this.#open()).runtimes.get(owner)
    if (runtime === undefined)
      throw new PabalError('PABAL_NO_HANDLER', `${message.type}: no context '${owner}' is in this app`)
    await runtime.transaction((unit) => unit.post(message, data), options)
  }

  start(): Promise<void> {
    if (this.#stopped !== undefined) return Promise.reject(closed())
    this.#started = true
    const running = this.#run()
    running.catch(() => (this.#started = false))
    return running
  }

  #run(): Promise<void> {
    if (this.#running === undefined) {
      this.#running = this.#begin()
      // What could not be started may be started later.
      this.#running.catch(() => (this.#running = undefined))
    }
    return this.#running
  }

  async #begin(): Promise<void> {
    await this.#pausing
    const opened = await this.#open()
    try {
      for (const subscription of opened.subscriptions) await subscription.register()
    } catch (error) {
      // Who waits for the ones that have registered would wait for nobody.
      for (const subscription of opened.subscriptions) await subscription.stop(0)
      throw error
    }
    await this.#nameOrphans(opened)
    for (const subscription of opened.subscriptions) subscription.run()
    for (const broadcast of opened.broadcasts) await broadcast.run()
    /** Another process has a newer version of a handler here, or one that is not here. */
    const isSuperseded = async ({ runtime, source, stream }: Reception): Promise<boolean> => {
      const { database, contextStore, name: context } = runtime
      const name = receivedName(channelOf(source, stream).context)
      const here = new Map(
        opened.subscriptions
          .filter((subscription) => subscription.context === context && subscription.source.name === name)
          .map((subscription) => [subscription.name, subscription.edition]),
      )
      const running = await database.read((session) => contextStore.editions.running(session))
      return running.some((each) => each.source === name && each.edition > (here.get(each.consumer) ?? 0))
    }
    for (const carrier of opened.carriers) carrier.start(isSuperseded)
    this.#retaining = new AbortController()
    void this.#retain(opened, this.#retaining.signal)
  }

  /** Now and every hour, as long as the app runs. */
  async #retain(opened: OpenedApp, ended: AbortSignal): Promise<void> {
    while (!ended.aborted) {
      for (const bound of this.#composition.contexts) {
        const { keepMs } = bound['~pabal']
        if (keepMs === undefined) continue
        try {
          await dropOld(opened.runtimes.get(nameOf(bound))!, keepMs)
        } catch (error) {
          if (!ended.aborted) this.#warn(`retention of '${nameOf(bound)}'`, error)
        }
      }
      await this.#environment.sleep(retainEveryMs, ended)
    }
  }

  /** A cursor in the store whose handler is not there: renamed, removed, or forgotten in `handlers`? */
  async #nameOrphans(opened: OpenedApp): Promise<void> {
    for (const { name, database, contextStore } of opened.runtimes.values()) {
      const stored = await database.read((session) => contextStore.cursors.consumers(session))
      for (const consumer of stored)
        if (
          !opened.subscriptions.some(
            (subscription) => subscription.context === name && subscription.name === consumer.name,
          )
        )
          this.#warn(
            `'${name}'`,
            `the consumer '${consumer.name}' has a cursor but no handler here; 'pabal consumer rename' moves it, 'pabal consumer remove' forgets it`,
          )
    }
  }

  async settle({ withinMs }: SettleOptions = {}): Promise<void> {
    this.#settling++
    try {
      await this.#run()
      await settle(await this.#open(), this.#environment, withinMs)
    } finally {
      if (--this.#settling === 0 && !this.#started) await this.#pause()
    }
  }

  /** Nobody needs the handlers to run any more: who starts them again waits until they have come to rest. */
  #pause(): Promise<void> {
    if (this.#running === undefined || this.#stopped !== undefined) return Promise.resolve()
    this.#running = undefined
    this.#pausing = this.#rest(defaultGraceMs)
    return this.#pausing
  }

  async #rest(graceMs: number): Promise<void> {
    this.#retaining?.abort()
    const opened = await this.#opened
    await Promise.all(opened?.carriers.map((carrier) => carrier.rest()) ?? [])
    await Promise.all([
      ...(opened?.subscriptions.map((subscription) => subscription.stop(graceMs)) ?? []),
      ...(opened?.broadcasts.map((broadcast) => broadcast.stop()) ?? []),
    ])
  }

  stop({ graceMs = defaultGraceMs }: { readonly graceMs?: number } = {}): Promise<void> {
    this.#stopped ??= (async () => {
      await (await this.#looked?.catch(() => undefined))?.close()
      const opened = await this.#opened?.catch(() => undefined)
      if (opened === undefined) return
      await this.#running?.catch(() => undefined)
      try {
        await this.#pausing
        await this.#rest(graceMs)
      } finally {
        await opened.close()
      }
    })()
    return this.#stopped
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }
}
