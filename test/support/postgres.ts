/**
 * Postgres databases for tests, each new and empty, on the server that the whole run shares.
 *
 *     const missing = missingPostgres()
 *     describe.skipIf(missing)(titled('the Postgres log', missing), () => {
 *       test('…', async () => {
 *         const { url, sql } = await testDatabase()
 */
import { randomUUID } from 'node:crypto'
import { Client, escapeLiteral, Pool, type PoolConfig, type QueryResultRow } from 'pg'
import { inject, onTestFinished } from 'vitest'
import { eventually } from './eventually.ts'
import { type PostgresOptions, type PostgresServer, startPostgres } from './postgres-server.ts'

export { missingPostgres } from './postgres-server.ts'

/** Disposing drops it. */
export interface TestDatabase extends AsyncDisposable {
  readonly name: string
  readonly url: string
  /** A pool of node-postgres, ended when the database is dropped. Connections that the server ends do not fail the test. */
  readonly pool: (options?: PoolConfig) => Pool
  /** Runs one statement, or several without values, on connections of its own, and gives the last one's rows. */
  readonly sql: <Row extends QueryResultRow = QueryResultRow>(
    text: string,
    values?: readonly unknown[],
  ) => Promise<Row[]>
  /** Ends all connections to it, also those with a transaction open or prepared, and removes it. */
  readonly drop: () => Promise<void>
}

/** A new database, which is dropped when the test ends. */
export const testDatabase = async (server?: Pick<PostgresServer, 'url'>): Promise<TestDatabase> => {
  const database = await freshDatabase(server)
  onTestFinished(() => database.drop())
  return database
}

/** A server of the test's own, to crash and to restart; gone when the test ends. */
export const testServer = async (options?: PostgresOptions): Promise<PostgresServer> => {
  const server = await startPostgres(options)
  onTestFinished(() => server[Symbol.asyncDispose]())
  return server
}

/** A new database for whoever drops it, such as the hooks of a suite. */
export const freshDatabase = async (server?: Pick<PostgresServer, 'url'>): Promise<TestDatabase> => {
  const { url: urlOf } = server ?? (await sharedServer())
  const name = `test_${randomUUID().replaceAll('-', '')}`
  const url = urlOf(name)
  const pools: Pool[] = []
  let own: Pool | undefined
  let dropped: Promise<void> | undefined
  await administer(urlOf('postgres'), (client) => client.query(`CREATE DATABASE ${name}`))

  const pool = (options: PoolConfig = {}): Pool => {
    const made = new Pool({ connectionString: url, ...options })
    made.on('error', () => {})
    made.on('connect', (client) => client.on('error', () => {}))
    pools.push(made)
    return made
  }
  const drop = async (): Promise<void> => {
    // A client that a test did not release would be waited for without end.
    for (const made of pools) if (!made.ended && !made.ending) void made.end()
    await administer(urlOf('postgres'), async (client) => {
      await release(client, name, url)
      await client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`)
    })
  }
  return {
    name,
    url,
    pool,
    sql: async <Row extends QueryResultRow>(text: string, values?: readonly unknown[]) => {
      own ??= pool({ allowExitOnIdle: true })
      // Several statements give several results, which the types do not know.
      const results = [await own.query<Row>(text, values === undefined ? undefined : [...values])].flat()
      return results.at(-1)?.rows ?? []
    },
    drop: () => (dropped ??= drop()),
    [Symbol.asyncDispose]: () => (dropped ??= drop()),
  }
}

/** A connection that the server ends while its pool is ending it has nobody any more who hears of that, and ends the process. */
const leftAlone = async (admin: Client, name: string): Promise<void> => {
  const connected = 'SELECT 1 FROM pg_stat_activity WHERE datname = $1'
  for (let tries = 0; tries < 40 && (await admin.query(connected, [name])).rows.length > 0; tries++)
    await new Promise((resolve) => setTimeout(resolve, 25))
}

/**
 * Ends whatever `DROP DATABASE` refuses to end, which is prepared transactions and replication slots, and the connections too:
 * it would look for those only every 100 ms.
 */
const release = async (admin: Client, name: string, url: string): Promise<void> => {
  const prepared = await admin.query<{ gid: string }>('SELECT gid FROM pg_prepared_xacts WHERE database = $1', [name])
  if (prepared.rows.length > 0)
    await administer(url, async (client) => {
      for (const { gid } of prepared.rows) await client.query(`ROLLBACK PREPARED ${escapeLiteral(gid)}`)
    })
  await leftAlone(admin, name)
  await eventually(`nobody is connected to ${name}`, async () => {
    const ending = 'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1'
    return (await admin.query(ending, [name])).rowCount === 0
  })
  await admin.query('SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = $1', [name])
}

const administer = async (url: string, work: (client: Client) => Promise<unknown>): Promise<void> => {
  const client = new Client({ connectionString: url })
  client.on('error', () => {})
  await client.connect()
  try {
    await work(client)
  } finally {
    await client.end()
  }
}

let shared: Promise<Pick<PostgresServer, 'url'>> | undefined

/**
 * The run's server: a test may not stop it, nor change settings that others see. Creating a logical replication slot waits for
 * all open and prepared transactions of the whole server, so tests of slots, and those that leave transactions open for long,
 * take a `testServer`.
 */
export const sharedServer = (): Promise<Pick<PostgresServer, 'url'>> => (shared ??= askForServer())

const askForServer = async (): Promise<Pick<PostgresServer, 'url'>> => {
  const response = await fetch(inject('sharedPostgres'))
  const answer = await response.text()
  if (!response.ok) throw new Error(answer)
  return { url: (database = 'postgres') => `postgres://postgres@127.0.0.1:${answer}/${encodeURIComponent(database)}` }
}
