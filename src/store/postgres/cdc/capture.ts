/**
 * Change data capture of tables that raise no events: reads their committed transactions from the write-ahead log, and gives each
 * to the caller's translator, in a unit of work of a context.
 */

import { AsyncResource } from 'node:async_hooks'
import type { Awaitable } from '../../../core/awaitable.ts'
import { backoffMs, type Environment, systemEnvironment } from '../../../core/environment.ts'
import { describeError, isPabalError, PabalError } from '../../../core/errors.ts'
import type { PgPool } from '../driver.ts'
import { ownError } from '../errors.ts'
import { CaptureCursor, CursorMoved, type CapturePlace } from './capture-cursor.ts'
import { type BegunPlace, gapOf } from './capture-gap.ts'
import { lsnOf, lsnText } from './lsn.ts'
import { literal, ReplicationConnection } from './replication-connection.ts'
import {
  createSlot,
  dropSlot,
  identify,
  publish,
  type Slot,
  type Source,
  slotOf,
  tablesOf,
  tryLock,
} from './replication-slot.ts'
import { readSnapshot } from './snapshot.ts'
import { type SourceTransaction, TransactionCollector, type TransactionHeader } from './source-transaction.ts'
import { type CapturingContext, Translation } from './translation.ts'

export interface CaptureOptions<Unit extends { readonly tx: unknown }, T extends string, Metadata> {
  /** Durable: names the place, the slot and the publication. Lower case, digits, '-'. */
  readonly name: string
  /**
   * Of the slot and the publication. Default `pabal_<context>_<name>`; another one where a database of the same server has a
   * slot of that name.
   */
  readonly slot?: string
  /** Of the database that is captured, which need not be the context's. Not through a pooler. */
  readonly pool: PgPool
  /** Each with a primary key, or REPLICA IDENTITY FULL if the translator is to see the whole row before a change. */
  readonly tables: readonly T[]
  /** Where the first start begins: at the next commit, or with the rows that are there, as one transaction of `read` changes. */
  readonly startAt: 'now' | 'snapshot'
  /**
   * Decides what happened, and raises it: a row change is not a domain event. Called once for each transaction that has changed
   * one of the tables, in the order of their commits; what it raises and writes commits together with the capture's place. When
   * it throws, nothing later overtakes: it is tried again, with growing delays, until it succeeds or a person skips.
   */
  readonly translate: (transaction: SourceTransaction<T>, unit: Unit) => Awaitable<unknown>
  /** Of the context's tables, where the store was told so. Default `pabal_<context>`. */
  readonly schema?: string
  /** The context's common metadata, where it has some. */
  readonly metadata?: (transaction: TransactionHeader) => Metadata
  /** Changes of one transaction (or rows of a snapshot), which are in memory together. Default 100,000; beyond, it fails. */
  readonly changesMax?: number
  readonly environment?: Environment
  /** Told of each failure. Default: a process warning. */
  readonly onWarning?: (what: string, error: unknown) => void
}

export interface CaptureStatus {
  /** Of this handle; `standby` while another process captures. */
  readonly state: 'stopped' | 'starting' | 'standby' | 'capturing'
  /** Everything that was committed before is captured. Undefined before the first start. */
  readonly lsn: string | undefined
  readonly failed: { readonly lsn: string; readonly error: string } | undefined
  /** Write-ahead log that the server keeps for the slot. Undefined when there is no slot. */
  readonly retainedBytes: number | undefined
}

/** A person's decision, and why. */
export interface Reason {
  readonly reason: string
  readonly by?: string
}

export interface Capture extends AsyncDisposable {
  /**
   * Resolves when changes are read, or when another process does that and this one stands by.
   * @throws PABAL_REPLICATION_UNAVAILABLE, PABAL_CHANGES_MISSING, PABAL_STORE_FOREIGN, and what a snapshot's translation throws
   */
  start(): Promise<void>
  /** Waits for the transaction that is being translated. The slot stays, and keeps what is committed meanwhile. */
  stop(): Promise<void>
  status(): Promise<CaptureStatus>
  /** Leaves out the transaction that fails, recorded with the reason. @throws PABAL_PLAN_CHANGED when it is not that one */
  skip(lsn: string, reason: Reason): Promise<void>
  /** Forgets the place and the slot, and begins as `startAt` says; recorded with the reason. For PABAL_CHANGES_MISSING. */
  restart(reason: Reason): Promise<void>
}

const retryFirstMs = 500
const retryMaxMs = 60_000
const standbyMs = 1_000
/** A slot that is still not created is waiting for somebody's transaction. */
const creationMs = 5_000
/** So much of other tables' log may pass before the place follows: following writes, too, and the server keeps whole files. */
const quietBytes = 16_777_216

/** Beside whatever unit of work is open where it is started. */
const outside = new AsyncResource('pabal capture')

/**
 * Captures changes of tables by a publication and a permanent replication slot, and gives each transaction to a translator. Events are appended exactly once: the place in the write-ahead log is stored in their
 * transaction, and acknowledged after its COMMIT.
 * @throws PABAL_DEFINITION_INVALID
 */
export const captureChanges = <Unit extends { readonly tx: unknown }, const T extends string, Metadata = unknown>(
  context: CapturingContext<Unit, Metadata>,
  options: CaptureOptions<Unit, T, Metadata>,
): Capture => new RunningCapture(context, options)

class RunningCapture<Unit extends { readonly tx: unknown }, T extends string, Metadata> implements Capture {
  readonly #context: CapturingContext<Unit, Metadata>
  readonly #options: CaptureOptions<Unit, T, Metadata>
  readonly #environment: Environment
  readonly #translation: Translation<Unit, T, Metadata>
  readonly #slot: string
  readonly #changesMax: number
  #state: CaptureStatus['state'] = 'stopped'
  #stopping = new AbortController()
  #wake = new AbortController()
  #running: Promise<void> | undefined
  #connection: ReplicationConnection | undefined
  #tables: ReadonlyMap<number, T> = new Map()
  /** Tries of the transaction that fails. */
  #stops = 0
  #hasWarned = false

  constructor(context: CapturingContext<Unit, Metadata>, options: CaptureOptions<Unit, T, Metadata>) {
    const { name, translate, metadata, changesMax = 100_000 } = options
    const { environment = systemEnvironment, schema = `pabal_${context.name}` } = options
    this.#context = context
    this.#options = options
    this.#environment = environment
    this.#changesMax = changesMax
    this.#slot = options.slot ?? `pabal_${context.name}_${name.replaceAll('-', '_')}`
    if (!/^[a-z][a-z0-9-]*$/.test(name))
      throw new PabalError(
        'PABAL_DEFINITION_INVALID',
        `${JSON.stringify(name)} cannot name a capture: lower case, digits, '-'`,
      )
    if (!/^[a-z0-9_]{1,63}$/.test(this.#slot))
      throw new PabalError(
        'PABAL_DEFINITION_INVALID',
        `${JSON.stringify(this.#slot)} cannot name a slot: lower case, digits, '_', at most 63 characters`,
      )
    const cursor = new CaptureCursor(name, schema, environment.now)
    this.#translation = new Translation(context, { translate, metadata, changesMax }, cursor)
  }

  async start(): Promise<void> {
    if (this.#running !== undefined) return
    this.#stopping = new AbortController()
    this.#state = 'starting'
    const begun = Promise.withResolvers<void>()
    this.#running = outside.runInAsyncScope(() => this.#run(begun))
    await begun.promise
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#wake.abort()
    await this.#connection?.close()
    await this.#running
    this.#running = undefined
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  async status(): Promise<CaptureStatus> {
    const place = await this.#translation.stored()
    const client = await this.#options.pool.connect()
    try {
      const { rows } = await client.query({
        text: `SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::text AS retained
         FROM pg_replication_slots WHERE slot_name = ${literal(this.#slot)}`,
      })
      const [slot] = rows as { retained: string | null }[]
      return {
        state: this.#state,
        lsn: place?.lsn === undefined ? undefined : lsnText(place.lsn),
        failed: place?.failed,
        retainedBytes: slot === undefined ? undefined : Number(slot.retained),
      }
    } finally {
      client.release()
    }
  }

  async skip(lsn: string, { reason, by = 'a person' }: Reason): Promise<void> {
    await this.#translation.transaction((cursor, sql) => cursor.skip(sql, lsnOf(lsn), reason, by))
    this.#wake.abort()
  }

  async restart({ reason, by = 'a person' }: Reason): Promise<void> {
    await this.#translation.transaction(async (cursor, sql) => {
      await cursor.prepare(sql)
      await cursor.restart(sql, reason, by)
    })
    // What is being read belongs to the place that was forgotten.
    await this.#connection?.close()
    this.#wake.abort()
  }

  #connect(): Promise<ReplicationConnection> {
    return ReplicationConnection.open(this.#options.pool, this.#environment, this.#slot)
  }

  #tell(error: unknown): void {
    const { onWarning, name } = this.#options
    const what = `capture '${name}' of '${this.#context.name}'`
    if (onWarning === undefined) process.emitWarning(`${what}: ${describeError(error)}`, { type: 'PabalWarning' })
    else onWarning(what, error)
  }

  /** Until somebody says that it is worth trying, or that it is over. */
  async #sleep(ms: number): Promise<void> {
    this.#wake = new AbortController()
    await this.#environment.sleep(ms, AbortSignal.any([this.#wake.signal, this.#stopping.signal]))
  }

  async #run(begun: PromiseWithResolvers<void>): Promise<void> {
    const { random } = this.#environment
    let hasBegun = false
    let told = ''
    for (let failures = 0; !this.#stopping.signal.aborted; ) {
      try {
        await this.#session((state) => {
          this.#state = state
          hasBegun = true
          failures = 0
          begun.resolve()
        })
      } catch (thrown) {
        if (this.#stopping.signal.aborted) break
        const error = ownError(thrown, `capture '${this.#options.name}'`)
        if (!hasBegun) {
          begun.reject(error)
          this.#running = undefined
          break
        }
        this.#state = 'starting'
        const isStopped = isPabalError(error) && error.code === 'PABAL_CAPTURE_STOPPED'
        // What a person must see to is said each time, the rest once; another process may simply have been faster.
        if (isStopped || (!(thrown instanceof CursorMoved) && told !== String(error))) this.#tell(error)
        told = String(error)
        // Without a connection meanwhile, so that the server neither sends nor waits, as when it shuts down.
        await this.#sleep(backoffMs(isStopped ? ++this.#stops : ++failures, retryFirstMs, retryMaxMs, random))
      }
    }
    this.#state = 'stopped'
    begun.resolve()
  }

  /** One connection, from its beginning until it is lost. */
  async #session(begun: (state: 'standby' | 'capturing') => void): Promise<void> {
    const connection = await this.#connect()
    this.#connection = connection
    try {
      while (!(await tryLock(connection, this.#slot))) {
        begun('standby')
        await this.#sleep(standbyMs)
        if (this.#stopping.signal.aborted) return
      }
      const source = await identify(connection, `capture '${this.#options.name}'`)
      if (source.keepsAll && !this.#hasWarned)
        this.#tell(
          'max_slot_wal_keep_size is -1: as long as nothing captures, the server keeps its log until its disk is full',
        )
      this.#hasWarned = true
      this.#tables = await tablesOf(connection, this.#options.tables)
      const place = await this.#translation.stored()
      const found = await slotOf(connection, this.#slot)
      if (place?.lsn === undefined) await this.#begin(connection, source, place, found)
      else await this.#goOn(connection, source, place as BegunPlace, found)
      begun('capturing')
      await this.#follow(connection)
    } finally {
      this.#connection = undefined
      await connection.close()
    }
  }

  async #begin(
    connection: ReplicationConnection,
    source: Source,
    place: CapturePlace | undefined,
    found: Slot | undefined,
  ): Promise<void> {
    const { startAt, name, pool } = this.#options
    if (place === undefined && found !== undefined)
      throw new PabalError(
        'PABAL_CHANGES_MISSING',
        `capture '${name}' has no place in '${this.#context.name}', but a slot ${this.#slot}: was its place lost? If nothing of it is needed, pg_drop_replication_slot('${this.#slot}') lets the capture begin`,
      )
    await this.#translation.transaction((cursor, sql) => cursor.announce(sql))
    if (found !== undefined) await dropSlot(connection, this.#slot)
    await publish(connection, this.#slot, this.#tables.keys())
    const created = new AbortController()
    void this.#environment.sleep(creationMs, created.signal).then(() => {
      if (!created.signal.aborted)
        this.#tell('the slot waits for transactions that are open on the server (pg_stat_activity, pg_prepared_xacts)')
    })
    const { lsn, snapshot } = await createSlot(connection, this.#slot, source.version).finally(() => created.abort())
    try {
      const rows = startAt === 'snapshot' ? await readSnapshot(pool, snapshot, this.#tables, this.#changesMax) : []
      await this.#translation.begin(lsn, source, rows, new Date(this.#environment.now()))
    } catch (error) {
      // Nobody would read from it; where nobody knows whether the place was stored, the next start finds out.
      if (!isPabalError(error) || error.code !== 'PABAL_COMMIT_UNKNOWN')
        await dropSlot(connection, this.#slot).catch(() => {})
      throw error
    }
  }

  /** @throws PABAL_CHANGES_MISSING */
  async #goOn(
    connection: ReplicationConnection,
    source: Source,
    place: BegunPlace,
    found: Slot | undefined,
  ): Promise<void> {
    const captured = { slot: this.#slot, tables: this.#tables.keys() }
    const gap = await gapOf(connection, captured, source, place, found)
    if (gap !== undefined)
      throw new PabalError(
        'PABAL_CHANGES_MISSING',
        `capture '${this.#options.name}': ${gap}. All is captured up to ${lsnText(place.lsn)} (${new Date(place.movedMs).toISOString()})`,
        { context: { lsn: lsnText(place.lsn), movedMs: place.movedMs } },
      )
    if (place.timeline !== source.timeline)
      await this.#translation.transaction((cursor, sql) => cursor.follow(sql, source.timeline))
    this.#translation.lsn = place.lsn
  }

  async #follow(connection: ReplicationConnection): Promise<void> {
    const translation = this.#translation
    const collector = new TransactionCollector(this.#changesMax)
    const reading = { tables: this.#tables, parserOf: (oid: number) => connection.parserOf(oid) }
    for await (const { message, through, isAsked } of connection.changes(this.#slot, [this.#slot], translation.lsn)) {
      const transaction = message === undefined ? undefined : collector.add(message)
      if (transaction !== undefined) {
        await translation.apply(transaction, reading)
        this.#stops = 0
      } else if (through !== undefined && through > translation.lsn)
        if (isAsked || through - translation.lsn >= quietBytes) await translation.pass(through)
      // Never more than what is stored: that is how a slot which has lost something is known.
      if (through !== undefined) connection.acknowledge(translation.lsn)
      if (this.#stopping.signal.aborted) return
    }
  }
}
