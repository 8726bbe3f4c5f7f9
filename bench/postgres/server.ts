/** The one Postgres of a run, with default durability, and the meters on it. */

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { Client, type QueryResultRow } from 'pg'
import { type PostgresServer, startPostgres } from '../../test/support/postgres-server.ts'

/** What a server has used since it started. */
export interface Meter {
  /** Of the postmaster and all processes that it has or had; undefined where there is no /proc. */
  readonly cpuUs: number | undefined
  readonly walBytes: number
}

export class Server implements AsyncDisposable {
  readonly #server: PostgresServer
  readonly #admin: Client
  #databases = 0

  private constructor(server: PostgresServer, admin: Client) {
    this.#server = server
    this.#admin = admin
  }

  static async start(settings: Readonly<Record<string, string>> = {}): Promise<Server> {
    // 'replica' is what a server has by itself.
    const server = await startPostgres({ settings: { wal_level: 'replica', ...settings } })
    const admin = new Client({ connectionString: server.url() })
    await admin.connect()
    return new Server(server, admin)
  }

  async query<Row extends QueryResultRow>(sql: string, values: unknown[] = []): Promise<Row[]> {
    return (await this.#admin.query<Row>(sql, values)).rows
  }

  /** A new database; gives its URL. */
  async database(name: string): Promise<string> {
    const unique = `${name.replaceAll(/[^a-z0-9]+/g, '_')}_${++this.#databases}`
    await this.#admin.query(`CREATE DATABASE ${unique}`)
    return this.#server.url(unique)
  }

  /** Once everyone has left: a connection that is cut off says so to a pool that nobody listens to any more. */
  async drop(url: string): Promise<void> {
    await this.left(url)
    await this.#admin.query(`DROP DATABASE IF EXISTS ${nameIn(url)} WITH (FORCE)`)
  }

  async meter(): Promise<Meter> {
    const [row] = await this.query<{ bytes: string }>(`SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn AS bytes`)
    return { cpuUs: cpuOf(this.#server.pid!), walBytes: Number(row!.bytes) }
  }

  /** Of the write-ahead log, by all backends that have ended: running ones tell late. */
  async fsyncs(): Promise<number> {
    const [row] = await this.query<{ fsyncs: string | null }>(
      `SELECT sum(fsyncs) AS fsyncs FROM pg_stat_io
       WHERE object = 'wal' AND context = 'normal' AND backend_type IN ('client backend', 'walwriter')`,
    )
    return Number(row!.fsyncs ?? 0)
  }

  /** Waits until nobody is connected to a database any more. */
  async left(url: string): Promise<void> {
    for (let tries = 0; tries < 500; tries++) {
      const [row] = await this.query<{ connected: number }>(
        `SELECT count(*)::integer AS connected FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'client backend'`,
        [nameIn(url)],
      )
      if (row!.connected === 0) return
      await setTimeout(10)
    }
    throw new Error(`somebody is still connected to ${nameIn(url)}`)
  }

  /** How the server is set up, for whoever reads the figures. */
  async about(): Promise<string> {
    const names = ['server_version', 'fsync', 'synchronous_commit', 'wal_sync_method', 'shared_buffers', 'max_wal_size']
    const rows = await this.query<{ setting: string }>(
      'SELECT current_setting(name) AS setting FROM unnest($1::text[]) AS u (name)',
      [names],
    )
    return rows.map(({ setting }, i) => `${names[i]} ${setting}`).join(', ')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#admin.end()
    await this.#server[Symbol.asyncDispose]()
  }
}

export const nameIn = (url: string): string => new URL(url).pathname.slice(1)

export const withClient = async <R>(url: string, work: (client: Client) => Promise<R>): Promise<R> => {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}

/** So that neither the next checkpoint nor the first reader pays for what was written before. */
export const tidy = (url: string): Promise<void> =>
  withClient(url, async (client) => {
    await client.query('VACUUM ANALYZE')
    await client.query('CHECKPOINT')
  })

/** Bytes of tables and of indexes beside the orders. */
export const bytesIn = (url: string): Promise<{ tables: number; indexes: number }> =>
  withClient(url, async (client) => {
    const { rows } = await client.query<{ tables: string; indexes: string }>(
      `SELECT sum(pg_table_size(c.oid)) AS tables, sum(pg_indexes_size(c.oid)) AS indexes
       FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
         AND c.relname <> 'orders'`,
    )
    return { tables: Number(rows[0]!.tables), indexes: Number(rows[0]!.indexes) }
  })

/** Linux counts in ticks of 10 ms. A process that has ended is in its parent's count. */
const tickUs = 10_000

const cpuOf = (postmaster: number): number | undefined => {
  if (!existsSync('/proc/self/stat')) return undefined
  const parent = statOf(postmaster)!
  let ticks = parent.own + parent.ended
  for (const pid of readdirSync('/proc')) {
    if (!/^\d+$/.test(pid)) continue
    const stat = statOf(Number(pid))
    if (stat?.parent === postmaster) ticks += stat.own
  }
  return ticks * tickUs
}

const statOf = (pid: number): { parent: number; own: number; ended: number } | undefined => {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The name in parentheses may hold anything.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    const field = (number: number): number => Number(fields[number - 3])
    return { parent: field(4), own: field(14) + field(15), ended: field(16) + field(17) }
  } catch {
    return undefined
  }
}
