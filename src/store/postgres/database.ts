/** An open Postgres database: transactions on the caller's pool, and one connection more that ticks and listens. */

import type { Awaitable } from '../../core/awaitable.ts'
import { backoffMs, type Environment } from '../../core/environment.ts'
import { PabalError } from '../../core/errors.ts'
import {
  type ContextStore,
  type Database,
  type Description,
  type Finding,
  type OpenOptions,
  type Session,
  type TransactionOptions,
  ownSilentMs,
} from '../store.ts'
import { checkWalLevel, type WakeUp, type WakeUps } from './cdc/logical-replication.ts'
import { Forms, JoinedChannel, PoolChannel, PostgresSession, statement } from './connection.ts'
import { createCursors } from './cursors.ts'
import { describe } from './describe.ts'
import { diagnose } from './diagnose.ts'
import type { PgClient, PgPool } from './driver.ts'
import { codeOf, isConflict, ownError, storeError } from './errors.ts'
import { createEarly } from './early.ts'
import { createEditions } from './editions.ts'
import { createInbox } from './inbox.ts'
import type { OwnTransaction } from './join/own-transaction.ts'
import { createLog } from './log.ts'
import { migrate, pendingMigrations, type SchemaName, schemaName } from './migrate.ts'
import { newOwner, newPooledOwner } from './owner.ts'
import { createParking } from './parking.ts'
import { type Pooler, poolerOf } from './pooler.ts'
import { createReaders } from './readers.ts'
import { Sequencer } from './sequencer.ts'
import { createTimers } from './timers.ts'
import { createUnits } from './units.ts'

export interface PostgresOptions {
  /** The schema of a context's tables. Default `pabal_<context>`. */
  readonly schema?: (context: string) => string
  /**
   * True when the pool goes through a transaction pooler (PgBouncer): nothing is prepared by name, and nothing is listened for;
   * other processes' events are then found by looking, after 10 ms to 1 s. Default false.
   */
  readonly pooler?: boolean
  /** How to hear of events that other processes commit, in place of LISTEN: `logicalReplication()`. Default: LISTEN. */
  readonly cdc?: WakeUps
  /** How long a statement may take before its connection is given up and destroyed. Default 30,000 ms. */
  readonly queryTimeoutMs?: number
  /** How long a statement of a durable handler's transaction waits for a lock (PABAL_STORE_BUSY). Default 10,000 ms. */
  readonly lockTimeoutMs?: number
}

/** Runs of a transaction that the database gives up for another one's sake (deadlock, serialization), with the first. */
const attemptsMax = 5

const unpooled = 'the pool in place of a transaction? Begin one, and pass its connection'

export class PostgresDatabase implements Database {
  readonly label: string
  readonly owner: string
  /** Several processes share a consumer's work; few enough that idle ones cost nothing. */
  readonly defaultLanes = 16
  readonly #pool: PgPool
  readonly #environment: Environment
  readonly #options: PostgresOptions
  readonly #forms: Forms
  readonly #sequencer: Sequencer
  readonly #wakeUp: WakeUp | undefined
  readonly #contexts = new Map<string, Promise<ContextStore>>()
  readonly #schemas = new Map<string, SchemaName>()
  readonly #active = new Set<Promise<unknown>>()
  readonly #lockTimeoutMs: number
  #closed = false
  #closing: Promise<void> | undefined
  /** Statements sent so far, by all connections. */
  queries = 0

  constructor(
    pool: PgPool,
    label: string,
    environment: Environment,
    options: PostgresOptions & Pick<OpenOptions, 'warn'>,
  ) {
    const { pooler = false, queryTimeoutMs = 30_000, lockTimeoutMs = 10_000 } = options
    guard(pool)
    this.#pool = pool
    this.label = label
    this.owner = pooler ? newPooledOwner() : newOwner()
    this.#environment = environment
    this.#options = options
    this.#forms = new Forms({ label, prepare: !pooler, queryTimeoutMs })
    this.#lockTimeoutMs = lockTimeoutMs
    const parts = { pool, environment, label, owner: this.owner, warn: options.warn ?? (() => {}) }
    this.#sequencer = new Sequencer({
      ...parts,
      notifications: !pooler && options.cdc === undefined,
      hears: () => this.#wakeUp?.live === true,
      count: () => this.queries++,
    })
    this.#wakeUp = options.cdc?.({
      ...parts,
      committed: (context) => this.#sequencer.committed([context]),
      numbered: (context) => this.#sequencer.numbered(context),
      headOf: (context) => this.#sequencer.head(context),
      missed: () => this.#sequencer.missed(),
    })
  }

  get generation(): number {
    return this.#sequencer.generation
  }

  /** @throws PABAL_STORE_UNREACHABLE, PABAL_STORE_POOLED, PABAL_REPLICATION_UNAVAILABLE */
  async check(): Promise<void> {
    if (this.#options.pooler !== true && (await this.#lookForPooler()) === 'transaction')
      throw new PabalError(
        'PABAL_STORE_POOLED',
        `${this.label}: a pooler lends its connections for one transaction each, so what is prepared or listened for on one is not there on the next`,
      )
    const row = await this.read((session) => (session as PostgresSession).row(walLevel, []))
    if (this.#wakeUp !== undefined) checkWalLevel(String(row![0]), this.label)
  }

  #lookForPooler(): Promise<Pooler> {
    return this.#tracked(async () => {
      try {
        return await poolerOf(this.#pool)
      } catch (error) {
        throw ownError(error, this.label)
      }
    })
  }

  schemaOf(context: string): SchemaName {
    let schema = this.#schemas.get(context)
    if (schema !== undefined) return schema
    schema = schemaName(this.#options.schema?.(context) ?? `pabal_${context}`)
    for (const [other, { name }] of this.#schemas)
      if (name === schema.name)
        throw new PabalError('PABAL_COMPOSITION_INVALID', `'${other}' and '${context}' are given one schema, ${name}`)
    this.#schemas.set(context, schema)
    return schema
  }

  context(name: string, { existing = false }: OpenOptions = {}): Promise<ContextStore> {
    let store = this.#contexts.get(name)
    if (store === undefined) {
      store = this.#openContext(name, existing)
      this.#contexts.set(name, store)
      store.catch(() => this.#contexts.delete(name))
    }
    return store
  }

  async #openContext(name: string, existing: boolean): Promise<ContextStore> {
    const schema = this.schemaOf(name)
    const { now, id } = this.#environment
    // Look before writing: mostly there is nothing to do, and whoever runs the app may not have the right to create.
    const pending = await this.read((session) => pendingMigrations(session as PostgresSession, schema))
    if (pending.length > 0 && existing)
      throw new PabalError(
        'PABAL_STORE_OLDER',
        `${this.label}: the schema ${schema.name} lacks migration ${pending.map(({ version }) => version).join(', ')}`,
      )
    if (pending.length > 0)
      await this.transaction((session) =>
        migrate(session as PostgresSession, schema, { nowMs: now(), incarnation: id() }),
      ).catch((error: unknown) => {
        throw ownError(error, this.label)
      })
    this.#sequencer.add(name, schema, { maintained: !existing })
    if (!existing) this.#sequencer.start()
    // Whoever only looks waits for nobody.
    if (!existing) this.#wakeUp?.add(name, schema)
    const s = schema.sql
    return {
      name,
      log: createLog(name, s),
      cursors: createCursors(s, this.owner, this.#environment),
      editions: createEditions(s, this.owner),
      inbox: createInbox(s),
      early: createEarly(s),
      parking: createParking(s),
      timers: createTimers(s),
      units: createUnits(s, this.#environment),
      readers: createReaders(s, this.#environment),
    }
  }

  #checkOpen(): void {
    if (this.#closed) throw new PabalError('PABAL_STORE_CLOSED', `${this.label} has been closed`)
  }

  async transaction<R>(fn: (session: Session) => Awaitable<R>, options: TransactionOptions = {}): Promise<R> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#tracked(() => this.#transaction(fn, options))
      } catch (error) {
        if (!isConflict(error) || attempt === attemptsMax) throw storeError(error, this.label)
        await this.#environment.sleep(backoffMs(attempt, 5, 200, this.#environment.random))
      }
    }
  }

  async #tracked<R>(fn: () => Promise<R>): Promise<R> {
    this.#checkOpen()
    const running = fn()
    this.#active.add(running)
    try {
      return await running
    } finally {
      this.#active.delete(running)
    }
  }

  async #transaction<R>(
    fn: (session: Session) => Awaitable<R>,
    { silentMs = ownSilentMs, alone }: TransactionOptions,
  ): Promise<R> {
    let channel: PoolChannel | undefined
    const begin =
      silentMs === Number.POSITIVE_INFINITY
        ? 'BEGIN'
        : `BEGIN; SET LOCAL lock_timeout = ${this.#lockTimeoutMs}; SET LOCAL idle_in_transaction_session_timeout = ${Math.max(1, Math.round(silentMs))}`
    const session = new PostgresSession('transaction', async () => (channel = await this.#connect()), begin)
    try {
      if (alone !== undefined) await session.rows(oneByOne, [alone])
      const result = await fn(session)
      session.check()
      if (session.begun) await session.commit()
      session.close()
      if (session.appended.size > 0) this.#sequencer.committed(session.appended)
      return result
    } catch (error) {
      // A first statement that nobody has waited for may be waiting for its connection still.
      await session.connected()
      await this.#undo(session, channel)
      // Whether it is there must be seen by those who wait for it, whatever the caller makes of it.
      if (codeOf(error) === 'PABAL_COMMIT_UNKNOWN') this.#sequencer.committed(session.appended)
      if (codeOf(error) === 'PABAL_STORE_PARTITION_MISSING') this.#sequencer.lookAfterPartitions()
      throw storeError(error, this.label)
    } finally {
      this.#release(channel)
    }
  }

  async #undo(session: PostgresSession, channel: PoolChannel | undefined): Promise<void> {
    session.close()
    if (channel === undefined || channel.broken) return
    try {
      await session.rollback()
    } catch {
      // A connection that cannot even roll back is closed, and the server does it.
      channel.broken = true
    }
  }

  async #connect(): Promise<PoolChannel> {
    try {
      const client = await this.#pool.connect()
      const channel = new PoolChannel(client, this.#forms, () => this.queries++)
      client.on('error', channel.ended)
      return channel
    } catch (error) {
      throw ownError(error, this.label)
    }
  }

  #release(channel: PoolChannel | undefined): void {
    if (channel === undefined) return
    channel.client.removeListener('error', channel.ended)
    channel.release()
  }

  async join<R>(own: unknown, fn: (session: Session) => Awaitable<R>): Promise<R> {
    if (typeof (own as OwnTransaction | null)?.query !== 'function')
      throw new PabalError(
        'PABAL_NOT_A_TRANSACTION',
        `${this.label}: join takes what fromPg, fromKysely, fromDrizzle … of 'pabal/postgres' make of your transaction`,
      )
    return this.#tracked(() => this.#join(own as OwnTransaction, fn))
  }

  async #join<R>(own: OwnTransaction, fn: (session: Session) => Awaitable<R>): Promise<R> {
    const session = new PostgresSession('joined', async () => new JoinedChannel(own, this.label))
    try {
      await this.#checkIsHere(session)
      return await fn(session)
    } catch (error) {
      if (codeOf(error) === '25P01')
        throw new PabalError('PABAL_NOT_A_TRANSACTION', `${this.label}: no transaction is open there; ${unpooled}`, {
          cause: error,
        })
      throw storeError(error, this.label)
    } finally {
      session.close()
      // The caller commits when it likes: the tick looks soon, and again with its next look.
      if (session.appended.size > 0) void this.#lookLater(session.appended)
    }
  }

  /** Of another database it would be another log. */
  async #checkIsHere(session: PostgresSession): Promise<void> {
    const [row] = await session.rows(identity, [])
    const there = String(row![0])
    // Known from before the server was started again, perhaps: asked once more.
    if (there !== (await this.#identity()) && there !== (await this.#identity(true)))
      throw new PabalError(
        'PABAL_NOT_A_TRANSACTION',
        `${this.label}: the given transaction is on another database (${there.split('/')[0]})`,
      )
  }

  #here: Promise<string> | undefined
  /** Asked on a connection apart: whoever joins may have the only one of the pool. */
  #identity(anew = false): Promise<string> {
    if (anew) this.#here = undefined
    if (this.#here === undefined) {
      const asking = this.#sequencer.ask(identity.text)
      this.#here = asking
      asking.catch(() => (this.#here = undefined))
    }
    return this.#here
  }

  async #lookLater(contexts: ReadonlySet<string>): Promise<void> {
    for (const ms of joinedLooksMs) {
      await this.#environment.sleep(ms)
      if (this.#closed) return
      this.#sequencer.committed(contexts)
    }
  }

  async read<R>(fn: (session: Session) => Awaitable<R>): Promise<R> {
    return this.#tracked(async () => {
      let channel: PoolChannel | undefined
      const session = new PostgresSession('view', async () => (channel = await this.#connect()))
      try {
        const result = await fn(session)
        await session.finish()
        return result
      } catch (error) {
        await session.connected()
        if (channel !== undefined && !channel.broken)
          await session.finish().catch(() => {
            channel!.broken = true
          })
        throw storeError(error, this.label)
      } finally {
        session.close()
        this.#release(channel)
      }
    })
  }

  sequence(): Promise<void> {
    this.#checkOpen()
    return this.#sequencer.sequence()
  }

  onNews(listener: (context?: string) => void): () => void {
    return this.#sequencer.onNews(listener)
  }

  backup(): Promise<never> {
    return Promise.reject(ownTools())
  }

  async diagnose(): Promise<readonly Finding[]> {
    const pooler = this.#options.pooler === true ? 'declared' : await this.#lookForPooler()
    const schemas = [...this.#schemas.entries()].map(([context, schema]) => ({ context, schema }))
    return this.read((session) => diagnose(session as PostgresSession, { label: this.label, schemas, pooler }))
  }

  describe(contexts: readonly string[]): Promise<Description> {
    return this.read((session) =>
      describe(
        session as PostgresSession,
        contexts.map((context) => [context, this.schemaOf(context)] as const),
      ),
    )
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#close())
  }

  /** Waits for what is under way; the pool stays the caller's. */
  async #close(): Promise<void> {
    this.#closed = true
    await Promise.allSettled(this.#active)
    await this.#wakeUp?.close()
    await this.#sequencer.close()
  }
}

const walLevel = statement(`SELECT current_setting('wal_level')`)

const oneByOne = statement(`SELECT pg_advisory_xact_lock(hashtextextended('pabal ' || $1::text, 0))`)

const joinedLooksMs = [5, 20, 100, 500]

const identity = statement(
  `SELECT current_database() || '/' || extract(epoch FROM pg_postmaster_start_time())::text || '/' || coalesce(inet_server_port()::text, '') AS identity`,
)

const guarded = new WeakSet<PgPool>()
/**
 * An error that nobody listens for ends the process. A server that refuses a connection in the moment in which it is there says so
 * before whoever asked the pool has the connection to listen to it; an idle one that breaks says so too, and the pool replaces it.
 */
const guard = (pool: PgPool): void => {
  if (guarded.has(pool)) return
  guarded.add(pool)
  const greeting = pool as PgPool & { on(event: 'connect', listener: (client: PgClient) => void): unknown }
  greeting.on('connect', (client) => client.on('error', () => {}))
  pool.on('error', () => {})
}

/** Postgres is backed up by its own tools, which know all of the database. */
export const ownTools = (): PabalError =>
  new PabalError(
    'PABAL_STORE_OWN_TOOLS',
    'pg_dump, pg_basebackup or your provider back up and restore the whole database',
  )
