/** An open SQLite file: one writer connection behind a mutex, one reader, WAL, synchronous=FULL. */

import { existsSync, type FSWatcher, renameSync, rmSync, watch } from 'node:fs'
import { basename, dirname, resolve } from 'node:path'
import { backup as copyDatabase, DatabaseSync } from 'node:sqlite'
import { type Awaitable, isPromise } from '../../core/awaitable.ts'
import { backoffMs, type Environment } from '../../core/environment.ts'
import { PabalError } from '../../core/errors.ts'
import { Mutex } from '../../core/mutex.ts'
import type { ContextStore, Database, Description, Finding, OpenOptions, Session } from '../store.ts'
import { Connection, SqliteSession } from './connection.ts'
import { createCursors } from './cursors.ts'
import { describe } from './describe.ts'
import { createEditions } from './editions.ts'
import { isBusy, storeError } from './errors.ts'
import { createEarly } from './early.ts'
import { createInbox } from './inbox.ts'
import { createLog } from './log.ts'
import { migrate, pendingMigrations, prefixOf } from './migrate.ts'
import { newOwner } from './owner.ts'
import { createParking } from './parking.ts'
import { createReaders } from './readers.ts'
import { createTimers } from './timers.ts'
import { createUnits } from './units.ts'

export interface SqliteOptions {
  /** How long a writer waits for another one, of this process or another, before PABAL_STORE_BUSY. Default 10,000 ms. */
  readonly busyTimeoutMs?: number
  /** 'full' survives power loss; 'normal' may lose the last commits then, and `pabal doctor` says so. Default 'full'. */
  readonly synchronous?: 'full' | 'normal'
}

export const memory = ':memory:'

/** How often to look for commits of other processes where no notification came. */
const lookMs = 5_000

const open = (
  path: string,
  { synchronous = 'full', existing = false }: SqliteOptions & OpenOptions,
): { writer: Connection; reader: Connection | undefined } => {
  const writer = new DatabaseSync(path, { timeout: 0 })
  try {
    // The connection waits for nobody by itself (timeout 0): waiting happens outside of SQLite, so that the event loop goes on.
    writer.exec(`PRAGMA synchronous = ${synchronous}; PRAGMA foreign_keys = ON`)
    if (!existing) writer.exec('PRAGMA journal_mode = WAL')
    if (path === memory) return { writer: new Connection(writer), reader: undefined }
    return {
      writer: new Connection(writer),
      reader: new Connection(new DatabaseSync(path, { readOnly: true, timeout: 50 })),
    }
  } catch (error) {
    writer.close()
    throw error
  }
}

/** All or nothing: a copy that fails leaves no file of the target's name. */
const copyTo = async (target: string, source: DatabaseSync): Promise<void> => {
  const partial = `${target}.partial`
  try {
    rmSync(partial, { force: true })
    await copyDatabase(source, partial)
    renameSync(partial, target)
  } catch (error) {
    rmSync(partial, { force: true })
    throw storeError(error, target)
  }
}

export class SqliteDatabase implements Database {
  readonly label: string
  readonly owner: string = newOwner()
  /** It is one file as long as it is open. */
  readonly generation = 0
  /** One: lanes let several processes share a consumer's work, and on SQLite they would only wait for the one writer. */
  readonly defaultLanes = 1
  readonly #path: string
  readonly #environment: Environment
  readonly #busyTimeoutMs: number
  readonly #writer: Connection
  readonly #reader: Connection | undefined
  readonly #mutex = new Mutex()
  readonly #contexts = new Map<string, Promise<ContextStore>>()
  readonly #listeners = new Set<(context?: string) => void>()
  readonly #owned = new WeakMap<DatabaseSync, Connection>()
  #watcher: FSWatcher | undefined
  #dataVersion: number | undefined
  #noticed = false
  readonly #ended = new AbortController()
  #closed = false
  #closing: Promise<void> | undefined

  private constructor(path: string, environment: Environment, options: SqliteOptions & OpenOptions) {
    this.#path = path
    this.label = path
    this.#environment = environment
    this.#busyTimeoutMs = options.busyTimeoutMs ?? 10_000
    const { writer, reader } = open(path, options)
    this.#writer = writer
    this.#reader = reader
  }

  static async open(
    path: string,
    environment: Environment,
    options: SqliteOptions & OpenOptions,
  ): Promise<SqliteDatabase> {
    const busyTimeoutMs = options.busyTimeoutMs ?? 10_000
    for (let attempt = 1, startMs = environment.now(); ; attempt++) {
      try {
        return new SqliteDatabase(path, environment, options)
      } catch (error) {
        // Switching a fresh file to WAL needs it alone for a moment; another process may be doing the same.
        if (!isBusy(error) || environment.now() - startMs > busyTimeoutMs) throw storeError(error, path)
        await environment.sleep(backoffMs(attempt, 2, 50, environment.random))
      }
    }
  }

  /** Statements executed so far, by both connections. */
  get queries(): number {
    return this.#writer.queries + (this.#reader?.queries ?? 0)
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
    const { now, id } = this.#environment
    // Look before writing: several processes may open the same file at once, and mostly there is nothing to do.
    const pending = await this.read(() => pendingMigrations(this.#reader ?? this.#writer, name))
    if (pending.length > 0 && existing)
      throw new PabalError(
        'PABAL_STORE_OLDER',
        `${this.label}: the tables of '${name}' lack migration ${pending.join(', ')}`,
      )
    if (pending.length > 0)
      await this.transaction(() => migrate(this.#writer, name, { nowMs: now(), incarnation: id() }))
    const p = prefixOf(name)
    return {
      name,
      log: createLog(name, p),
      cursors: createCursors(p, this.owner, this.#environment),
      editions: createEditions(p, this.owner),
      inbox: createInbox(p),
      early: createEarly(p),
      parking: createParking(p),
      timers: createTimers(p),
      units: createUnits(p, this.#environment),
      readers: createReaders(p, this.#environment),
    }
  }

  async transaction<R>(fn: (session: Session) => Awaitable<R>): Promise<R> {
    await this.#lock()
    try {
      await this.#begin()
      return await this.#run(fn)
    } catch (error) {
      throw this.#errorOf(error)
    } finally {
      this.#mutex.release()
    }
  }

  async #lock(): Promise<void> {
    if (this.#closed) throw new PabalError('PABAL_STORE_CLOSED', `${this.label} has been closed`)
    const turn = this.#mutex.acquire(this.#busyTimeoutMs)
    if (turn !== true && !(await turn))
      throw new PabalError(
        'PABAL_STORE_BUSY',
        `${this.label}: another transaction of this process ran for more than ${this.#busyTimeoutMs} ms`,
      )
    if (this.#closed) {
      this.#mutex.release()
      throw new PabalError('PABAL_STORE_CLOSED', `${this.label} has been closed`)
    }
  }

  // IMMEDIATE: a deferred transaction that reads first and writes later fails with BUSY_SNAPSHOT, whatever it waits.
  async #begin(): Promise<void> {
    for (let attempt = 1, startMs = this.#environment.now(); ; attempt++) {
      try {
        this.#writer.prepare('BEGIN IMMEDIATE').run()
        return
      } catch (error) {
        if (!isBusy(error) || this.#environment.now() - startMs > this.#busyTimeoutMs) throw error
        await this.#environment.sleep(backoffMs(attempt, 1, 50, this.#environment.random))
      }
    }
  }

  async #run<R>(fn: (session: Session) => Awaitable<R>): Promise<R> {
    const session = new SqliteSession(this.#writer, 'transaction')
    try {
      const running = fn(session)
      const result = isPromise(running) ? await running : running
      session.check()
      session.open = false
      this.#writer.prepare('COMMIT').run()
      for (const context of session.appended) for (const listener of this.#listeners) listener(context)
      return result
    } catch (error) {
      session.open = false
      if (this.#writer.db.isOpen && this.#writer.db.isTransaction) this.#writer.prepare('ROLLBACK').run()
      throw error
    }
  }

  /** One writer at a time: a commit is the position. */
  async sequence(): Promise<void> {}

  async join<R>(own: unknown, fn: (session: Session) => Awaitable<R>): Promise<R> {
    if (!(own instanceof DatabaseSync))
      throw new PabalError(
        'PABAL_NOT_A_TRANSACTION',
        `${this.label}: join takes a DatabaseSync with an open transaction`,
      )
    if (this.#closed) throw new PabalError('PABAL_STORE_CLOSED', `${this.label} has been closed`)
    if (!own.isOpen || !own.isTransaction)
      throw new PabalError('PABAL_NOT_A_TRANSACTION', `${this.label}: no transaction is open on the given connection`)
    // As SQLite names both: it follows links, where a path alone would not.
    if (own.location() === null || own.location() !== this.#writer.db.location())
      throw new PabalError(
        'PABAL_NOT_A_TRANSACTION',
        `${this.label}: the given connection is one to ${own.location() ?? 'memory'}`,
      )
    let connection = this.#owned.get(own)
    if (connection === undefined) this.#owned.set(own, (connection = new Connection(own)))
    const session = new SqliteSession(connection, 'transaction')
    try {
      return await fn(session)
    } catch (error) {
      throw this.#errorOf(error)
    } finally {
      session.open = false
    }
  }

  async read<R>(fn: (session: Session) => Awaitable<R>): Promise<R> {
    if (this.#reader === undefined)
      return this.#alone(async () => {
        this.#writer.exec('PRAGMA query_only = 1')
        try {
          return await this.#readOn(this.#writer, fn)
        } finally {
          this.#writer.exec('PRAGMA query_only = 0')
        }
      })
    if (this.#closed) throw new PabalError('PABAL_STORE_CLOSED', `${this.label} has been closed`)
    return this.#readOn(this.#reader, fn)
  }

  #errorOf(error: unknown): unknown {
    if (this.#closed && (error as { code?: unknown } | null)?.code === 'ERR_INVALID_STATE')
      return new PabalError('PABAL_STORE_CLOSED', `${this.label} has been closed`, { cause: error })
    return storeError(error, this.label)
  }

  /** In memory there is one connection: who reads waits for the writer, so that nothing uncommitted is seen. */
  async #alone<R>(fn: () => Promise<R>): Promise<R> {
    await this.#lock()
    try {
      return await fn()
    } finally {
      this.#mutex.release()
    }
  }

  async #readOn<R>(connection: Connection, fn: (session: Session) => Awaitable<R>): Promise<R> {
    const session = new SqliteSession(connection, 'view')
    try {
      return await fn(session)
    } catch (error) {
      throw this.#errorOf(error)
    } finally {
      session.open = false
    }
  }

  onNews(listener: (context?: string) => void): () => void {
    this.#listeners.add(listener)
    if (this.#watcher === undefined && this.#path !== memory) this.#watch()
    return () => this.#listeners.delete(listener)
  }

  /** Commits of other processes touch the -wal file: the operating system tells, nobody polls. */
  #watch(): void {
    const wal = `${basename(this.#path)}-wal`
    try {
      this.#dataVersion = this.#readDataVersion()
      this.#watcher = watch(dirname(resolve(this.#path)), { persistent: false }, (_event, file) => {
        if (file === wal) void this.#notice()
      })
      this.#watcher.on('error', () => this.#watcher?.close())
    } catch {
      // No file watching on this system: the look now and then remains.
      this.#watcher = undefined
    }
    void this.#lookNowAndThen()
  }

  /** A notification may be lost; a look costs one statement that touches no table. */
  async #lookNowAndThen(): Promise<void> {
    const { sleep, random } = this.#environment
    while (!this.#closed) {
      await sleep(lookMs * (0.75 + random() / 2), this.#ended.signal)
      await this.#notice()
    }
  }

  async #notice(): Promise<void> {
    if (this.#noticed) return
    this.#noticed = true
    // A commit touches the file several times; and inside our own transaction the answer would be that of its snapshot.
    do await this.#environment.sleep(5, this.#ended.signal)
    while (this.#mutex.held && !this.#closed)
    this.#noticed = false
    if (this.#closed) return
    const version = this.#readDataVersion()
    if (version === undefined || version === this.#dataVersion) return
    this.#dataVersion = version
    for (const listener of this.#listeners) listener()
  }

  /** Changes only when another connection has written (https://sqlite.org/pragma.html#pragma_data_version). */
  #readDataVersion(): number | undefined {
    try {
      return Number(this.#writer.prepare('PRAGMA data_version').get()?.['data_version'])
    } catch {
      // Busy, or worse: whoever reads or writes next is told. A hint is no reason to end the process.
      return undefined
    }
  }

  async backup(target: string): Promise<void> {
    if (existsSync(target)) throw new PabalError('PABAL_BACKUP_TARGET_EXISTS', `${target} exists already`)
    if (this.#reader === undefined) return this.#alone(() => copyTo(target, this.#writer.db))
    if (this.#closed) throw new PabalError('PABAL_STORE_CLOSED', `${this.label} has been closed`)
    // Each commit of another connection would start the copy again. One open view keeps it to one state of the database.
    const source = new DatabaseSync(this.#path, { readOnly: true, timeout: 50 })
    try {
      source.exec('BEGIN; SELECT 1 FROM sqlite_master')
      await copyTo(target, source)
    } finally {
      source.close()
    }
  }

  async diagnose(): Promise<readonly Finding[]> {
    const value = (pragma: string): string =>
      String(Object.values(this.#writer.prepare(`PRAGMA ${pragma}`).get() ?? {})[0])
    const findings: Finding[] = []
    const synchronous = value('synchronous')
    findings.push(
      Number(synchronous) >= 2
        ? { level: 'ok', title: 'durability', detail: `${this.label}: synchronous=FULL` }
        : {
            level: 'warning',
            title: 'durability',
            detail: `${this.label}: synchronous=NORMAL, the last commits may be lost at a power failure`,
            remedy: "remove synchronous: 'normal' from the store's options",
          },
    )
    const mode = value('journal_mode')
    if (mode !== 'wal' && this.#path !== memory)
      findings.push({
        level: 'problem',
        title: 'journal',
        detail: `${this.label}: journal_mode is ${mode}, readers and the writer block each other`,
        remedy: 'put the file on a local disk that supports shared memory files',
      })
    const check = value('quick_check')
    if (check !== 'ok')
      findings.push({
        level: 'problem',
        title: 'integrity',
        detail: `${this.label}: ${check}`,
        remedy: 'pabal db restore',
      })
    return findings
  }

  describe(contexts: readonly string[]): Promise<Description> {
    return this.read(() => describe(this.#reader ?? this.#writer, this.#path, contexts))
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#close())
  }

  /** Waits for the open transaction; one that does not end in time is rolled back. */
  async #close(): Promise<void> {
    const turn = this.#mutex.acquire(this.#busyTimeoutMs)
    const free = turn === true || (await turn)
    this.#closed = true
    if (free) this.#mutex.release()
    this.#ended.abort()
    this.#watcher?.close()
    this.#reader?.db.close()
    this.#writer.db.close()
  }
}
