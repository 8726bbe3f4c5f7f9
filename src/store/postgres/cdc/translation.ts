/** The context's side of a capture: each transaction is translated in a unit of work, in which the capture's place moves too. */

import type { Awaitable } from '../../../core/awaitable.ts'
import { isPabalError, PabalError } from '../../../core/errors.ts'
import { fromKysely, type KyselyTransaction } from '../join/from-kysely.ts'
import type { OwnTransaction } from '../join/own-transaction.ts'
import { type CaptureCursor, CursorMoved, type CapturePlace, type SourceIdentity } from './capture-cursor.ts'
import { lsnText } from './lsn.ts'
import {
  type Reading,
  type ReceivedTransaction,
  type RowChange,
  rowChangesOf,
  type SourceTransaction,
  tooMany,
  type TransactionHeader,
} from './source-transaction.ts'

/** The context that the events are raised in: `app.context(…)`. */
export interface CapturingContext<Unit, Metadata> {
  readonly name: string
  transaction<R>(fn: (unit: Unit) => Awaitable<R>, options?: { readonly metadata?: Metadata }): Promise<R>
}

export interface Translator<Unit, T extends string, Metadata> {
  readonly translate: (transaction: SourceTransaction<T>, unit: Unit) => Awaitable<unknown>
  readonly metadata?: ((transaction: TransactionHeader) => Metadata) | undefined
  readonly changesMax: number
}

/** The database is away for a moment, or for good with the app: no transaction is to blame. */
const away: readonly string[] = ['PABAL_STORE_UNREACHABLE', 'PABAL_STORE_CLOSED', 'PABAL_COMMIT_UNKNOWN']

export class Translation<Unit extends { readonly tx: unknown }, T extends string, Metadata> {
  readonly #context: CapturingContext<Unit, Metadata>
  readonly #translator: Translator<Unit, T, Metadata>
  readonly #cursor: CaptureCursor
  /** Everything that was committed before is captured, and that is stored. */
  lsn = 0n

  constructor(
    context: CapturingContext<Unit, Metadata>,
    translator: Translator<Unit, T, Metadata>,
    cursor: CaptureCursor,
  ) {
    this.#context = context
    this.#translator = translator
    this.#cursor = cursor
  }

  transaction<R>(fn: (cursor: CaptureCursor, sql: OwnTransaction) => Promise<R>): Promise<R> {
    return this.#context.transaction(({ tx }) => fn(this.#cursor, this.#sql(tx)))
  }

  stored(): Promise<CapturePlace | undefined> {
    return this.transaction(async (cursor, sql) => {
      await cursor.prepare(sql)
      return cursor.read(sql)
    })
  }

  /** From this place on, behind the rows that are there already. */
  async begin(lsn: bigint, source: SourceIdentity, rows: readonly RowChange<T>[], committedAt: Date): Promise<void> {
    const header = { lsn: lsnText(lsn), xid: undefined, committedAt }
    await this.#unit(
      header,
      () => rows,
      async (sql) => {
        await this.#cursor.begin(sql, lsn, source)
        return rows.length > 0
      },
    )
    this.lsn = lsn
  }

  /** Nothing to translate lies before. */
  async pass(lsn: bigint): Promise<void> {
    await this.transaction((cursor, sql) => cursor.move(sql, this.lsn, lsn))
    this.lsn = lsn
  }

  /** @throws PABAL_CAPTURE_STOPPED, and what a database throws that is away for a moment */
  async apply(received: ReceivedTransaction, reading: Reading<T>): Promise<void> {
    const { lsn, xid, committedAtMs } = received
    if (lsn <= this.lsn) return
    const header = { lsn: lsnText(lsn), xid, committedAt: new Date(committedAtMs) }
    try {
      await this.#unit(
        header,
        () => this.#changesOf(received, reading),
        async (sql) => (await this.#cursor.move(sql, this.lsn, lsn)) === 'moved',
      )
    } catch (error) {
      if (error instanceof CursorMoved || (isPabalError(error) && away.includes(error.code))) throw error
      await this.transaction((cursor, sql) => cursor.fail(sql, lsn, String(error))).catch(() => {})
      throw new PabalError('PABAL_CAPTURE_STOPPED', `${header.lsn} (transaction ${xid}): ${String(error)}`, {
        cause: error,
        context: { lsn: header.lsn, xid },
      })
    }
    this.lsn = lsn
  }

  /** Moves the place, and translates if that is to be done, in one transaction. */
  async #unit(
    header: TransactionHeader,
    changes: () => readonly RowChange<T>[],
    move: (sql: OwnTransaction) => Promise<boolean>,
  ): Promise<void> {
    const { translate, metadata } = this.#translator
    await this.#context.transaction(
      async (unit) => {
        if (await move(this.#sql(unit.tx))) await translate({ ...header, changes: changes() }, unit)
      },
      metadata === undefined ? {} : { metadata: metadata(header) },
    )
  }

  #changesOf({ xid, count, changes }: ReceivedTransaction, reading: Reading<T>): RowChange<T>[] {
    const { changesMax } = this.#translator
    if (count > changesMax) throw tooMany(`the transaction ${xid}`, changesMax)
    return changes.flatMap((change) => rowChangesOf(change, reading))
  }

  /** The handles on a unit's transaction that pabal gives on Postgres: its own, and Kysely over it. */
  #sql(tx: unknown): OwnTransaction {
    const { query, executeQuery } = tx as { readonly query?: unknown; readonly executeQuery?: unknown }
    if (typeof query === 'function') return tx as OwnTransaction
    if (typeof executeQuery === 'function') {
      const kysely = tx as KyselyTransaction
      return fromKysely({
        isTransaction: true,
        withoutPlugins: () => kysely.withoutPlugins(),
        executeQuery: (compiled) => kysely.executeQuery(compiled),
      })
    }
    throw new PabalError(
      'PABAL_COMPOSITION_INVALID',
      `a capture is in a context on Postgres; '${this.#context.name}' is not`,
    )
  }
}
