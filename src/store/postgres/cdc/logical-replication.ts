/**
 * Wake-ups by logical replication: each process hears of every commit to its contexts' logs from the server's write-ahead log.
 * The tables stay the truth; a stream that is lost costs time, never an event.
 */

import { backoffMs, type Environment } from '../../../core/environment.ts'
import type { PgPool } from '../driver.ts'
import { codeOf, ownError } from '../errors.ts'
import type { SchemaName } from '../migrate.ts'
import { lsnOf } from './lsn.ts'
import type { Relation, Value } from './pgoutput.ts'
import { identifier, literal, ReplicationConnection, unavailable } from './replication-connection.ts'

export interface LogicalReplicationOptions {
  /** For the replication connection, where the store's own pool goes through a pooler. Default: the store's pool. */
  readonly pool?: PgPool
}

/** What `postgres(pool, { cdc })` takes. */
export type WakeUps = (parts: WakeUpParts) => WakeUp

export interface WakeUpParts {
  readonly pool: PgPool
  readonly environment: Environment
  readonly label: string
  /** Names this process. */
  readonly owner: string
  readonly warn: (what: string, error: unknown) => void
  /** Something was committed to a context's log, and nobody has given it its position yet. */
  readonly committed: (context: string) => void
  /** Committed events have their positions, and can be read. */
  readonly numbered: (context: string) => void
  /** The last position that can be read. */
  readonly headOf: (context: string) => Promise<number>
  /** Anything may have been committed meanwhile. */
  readonly missed: () => void
}

export interface WakeUp {
  /** Every commit is told at the moment; while not, others look by themselves. */
  readonly live: boolean
  add(context: string, schema: SchemaName): void
  close(): Promise<void>
}

/** Whoever commits gives positions by itself; others do it in its place after so long, and up to twice that. */
const graceMs = 20
const retryFirstMs = 100
const retryMaxMs = 30_000

/**
 * For `postgres(pool, { cdc: logicalReplication() })`: processes hear of each other's events from the write-ahead log, without
 * LISTEN and without looking. Needs `wal_level = logical`, a role with REPLICATION that owns the tables, and per process one of
 * `max_replication_slots` and `max_wal_senders`. The slots are temporary: they go with their connection, so that a process which
 * is gone keeps no write-ahead log. @throws PABAL_REPLICATION_UNAVAILABLE when the app opens and `wal_level` is another
 */
export const logicalReplication =
  ({ pool }: LogicalReplicationOptions = {}): WakeUps =>
  (parts) =>
    new LogStream({ ...parts, pool: pool ?? parts.pool })

class LogStream implements WakeUp {
  readonly #parts: WakeUpParts
  readonly #contexts = new Map<string, SchemaName>()
  readonly #ended = new AbortController()
  /** Transactions whose events have no positions yet. */
  readonly #unnumbered = new Map<string, Set<bigint>>()
  /** Heads that were told, and may not be readable yet. */
  readonly #heads = new Map<string, number>()
  #connection: ReplicationConnection | undefined
  #running: Promise<void> | undefined
  #slots = 0
  live = false

  constructor(parts: WakeUpParts) {
    this.#parts = parts
  }

  add(context: string, schema: SchemaName): void {
    this.#contexts.set(context, schema)
    // The stream that runs does not know it.
    void this.#connection?.close()
    this.#running ??= this.#run()
  }

  async close(): Promise<void> {
    this.#ended.abort()
    await this.#connection?.close()
    await this.#running
  }

  async #run(): Promise<void> {
    const { environment, warn, missed, label } = this.#parts
    for (let failures = 0; !this.#ended.signal.aborted; ) {
      const known = this.#contexts.size
      try {
        await this.#listen(() => (failures = 0))
      } catch (error) {
        if (this.#ended.signal.aborted) return
        this.live = false
        missed()
        if (this.#contexts.size > known) continue
        // Said once, not with each attempt.
        if (failures === 0)
          warn(`the change stream of ${label}, without which events are looked for`, ownError(error, label))
        await environment.sleep(backoffMs(++failures, retryFirstMs, retryMaxMs, environment.random), this.#ended.signal)
      }
    }
  }

  /** Until the connection is lost, or another context comes. */
  async #listen(succeeded: () => void): Promise<never> {
    const { pool, environment, owner, missed } = this.#parts
    const connection = await ReplicationConnection.open(pool, environment, `${owner} cdc`)
    this.#connection = connection
    try {
      const known = [...this.#contexts]
      const publications: string[] = []
      for (const [, schema] of known) publications.push(await publish(connection, schema))
      const slot = `${owner.replaceAll(/[^a-z0-9_]/g, '_')}_${++this.#slots}`
      // It waits for the transactions that are open on the server now.
      const [created] = await connection.rows(
        `CREATE_REPLICATION_SLOT ${identifier(slot)} TEMPORARY LOGICAL pgoutput NOEXPORT_SNAPSHOT`,
        0,
      )
      const from = lsnOf(created!['consistent_point']!)
      const contexts = new Map(known.map(([context, { name }]) => [name, context]))
      this.live = true
      // Committed before the slot was there.
      missed()
      for await (const { message, through } of connection.changes(slot, publications, from)) {
        succeeded()
        if (message?.kind === 'insert') this.#hear(message.relation, message.after, contexts)
        if (through !== undefined) connection.acknowledge(through)
      }
      throw new Error('the stream has ended')
    } finally {
      this.#connection = undefined
      await connection.close()
    }
  }

  #hear({ schema, name, columns }: Relation, row: readonly Value[], contexts: ReadonlyMap<string, string>): void {
    const context = contexts.get(schema)
    if (context === undefined) return
    const value = (column: string): Value => row[columns.findIndex((known) => known.name === column)]
    if (name === 'event') this.#committed(context, BigInt(value('xid')!))
    else this.#numbered(context, value('done')!, Number(value('head')!))
  }

  #committed(context: string, xid: bigint): void {
    const unnumbered = this.#unnumbered.get(context)
    if (unnumbered !== undefined) {
      unnumbered.add(xid)
      return
    }
    this.#unnumbered.set(context, new Set([xid]))
    const { environment, committed } = this.#parts
    void environment.sleep(graceMs * (1 + environment.random()), this.#ended.signal).then(() => {
      if (this.#unnumbered.get(context)!.size > 0 && !this.#ended.signal.aborted) committed(context)
      this.#unnumbered.delete(context)
    })
  }

  #numbered(context: string, done: string, head: number): void {
    const unnumbered = this.#unnumbered.get(context)
    if (unnumbered !== undefined) {
      const isDone = endedFor(done)
      for (const xid of unnumbered) if (isDone(xid)) unnumbered.delete(xid)
    }
    const isWaited = this.#heads.has(context)
    this.#heads.set(context, head)
    if (!isWaited) void this.#untilReadable(context)
  }

  /** A commit is told as soon as it is durable, which is a moment before anybody sees it: who read too early would sleep on. */
  async #untilReadable(context: string): Promise<void> {
    const { environment, headOf, numbered } = this.#parts
    for (let attempt = 1; !this.#ended.signal.aborted; attempt++) {
      const told = this.#heads.get(context)!
      // Where it cannot be asked, who reads finds that out too.
      const head = await headOf(context).catch(() => told)
      if (head >= told) {
        numbered(context)
        attempt = 0
        if (this.#heads.get(context) === told) break
      } else await environment.sleep(backoffMs(attempt, 1, 100, environment.random), this.#ended.signal)
    }
    this.#heads.delete(context)
  }
}

/** Says of a transaction whether it had ended when the snapshot (`xmin:xmax:xip,xip`) was taken. */
const endedFor = (snapshot: string): ((xid: bigint) => boolean) => {
  const [xmin = '0', xmax = '0', running = ''] = snapshot.split(':')
  const open = new Set(running.split(','))
  return (xid) => xid < BigInt(xmin) || (xid < BigInt(xmax) && !open.has(String(xid)))
}

/** One row of a tick for all that it numbers, and of an event no more than its transaction. */
const publish = async (connection: ReplicationConnection, { name, sql }: SchemaName): Promise<string> => {
  const [found] = await connection.rows(
    `SELECT current_setting('server_version_num') AS version,
       EXISTS (SELECT 1 FROM pg_publication WHERE pubname = ${literal(name)}) AS is_there`,
  )
  if (found!['is_there'] === 't') return name
  // A publication can leave columns out from Postgres 15 on.
  const tables =
    Number(found!['version']) < 150_000 ? `${sql}.sequencer` : `${sql}.sequencer (head, done), ${sql}.event (xid)`
  try {
    await connection.rows(
      `CREATE PUBLICATION ${identifier(name)} FOR TABLE ${tables} WITH (publish = 'insert', publish_via_partition_root = true)`,
    )
  } catch (error) {
    // Another process was faster.
    if (codeOf(error) !== '42710' && codeOf(error) !== '23505') throw error
  }
  return name
}

/** @throws PABAL_REPLICATION_UNAVAILABLE */
export const checkWalLevel = (walLevel: string | null | undefined, label: string): void => {
  if (walLevel !== 'logical') throw unavailable(`${label}: wal_level is ${String(walLevel)}, not logical`)
}
