/**
 * P8 A log that has come to another server, or to an older copy of its own, is noticed: it is numbered anew where transaction ids
 * mean something else, begins a new incarnation, and nothing is numbered twice.
 */

import { cp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Pool, type PoolConfig } from 'pg'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { systemEnvironment } from '../../../src/core/environment.ts'
import { postgres } from '../../../src/store/postgres/index.ts'
import { schemaName } from '../../../src/store/postgres/migrate.ts'
import { log } from '../../../src/store/postgres/migrations/0001-log.ts'
import { eventually } from '../../support/eventually.ts'
import { freshDatabase, missingPostgres, testDatabase, type TestDatabase, testServer } from '../../support/postgres.ts'
import { type PostgresServer, startPostgres } from '../../support/postgres-server.ts'
import { titled } from '../../support/require-server.ts'
import { serverFolder } from '../../../tools/servers/server-process.ts'
import { connected } from './connected.ts'
import { Rig } from './rig.ts'
import { burn, faultsOf, Follower, idsOf, none, openProcess, type Orders, ordersOf, type Process } from './workload.ts'

const { sql: schema } = schemaName('pabal_ordering')

type Opened = Pick<Process, 'database' | 'log'>

const incarnationOf = async ({ database, log: own }: Opened): Promise<string> =>
  (await database.read((session) => own.head(session))).incarnation

const place = async ({ database, log: own }: Opened, orders: Orders, count: number): Promise<string[]> => {
  const events = Array.from({ length: count }, () => orders.event())
  for (const event of events) await database.transaction((session) => own.append(session, [event]))
  return idsOf(events)
}

const xid = 'SELECT pg_current_xact_id()'

/** What a logical dump and its restore do: all rows, letter for letter. */
const restore = async (from: TestDatabase, to: TestDatabase): Promise<void> => {
  await to.sql(`CREATE SCHEMA ${schema}; ${log(schemaName('pabal_ordering'))}; SELECT ${schema}.create_partitions()`)
  const tables = await from.sql<{ name: string }>(
    `SELECT oid::regclass::text AS name FROM pg_class
     WHERE relnamespace = '${schema}'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition`,
  )
  for (const { name } of tables) {
    const rows = await from.sql<{ row: string }>(`SELECT t::text AS row FROM ${name} t`)
    await to.sql(`TRUNCATE ${name}`)
    await to.sql(`INSERT INTO ${name} SELECT (r).* FROM unnest($1::${name}[]) r`, [rows.map(({ row }) => row)])
  }
  const [ids] = await from.sql(`SELECT last_value FROM ${schema}.event_id`)
  await to.sql(`SELECT setval('${schema}.event_id', $1)`, [ids!['last_value']])
}

const number = async (database: TestDatabase, sql: string): Promise<number> =>
  Number(Object.values((await database.sql(`SELECT (${sql})::text::bigint AS n`))[0]!)[0])

const missing = missingPostgres()

let [older, younger]: PostgresServer[] = []
beforeAll(async () => {
  if (missing === undefined) [older, younger] = await Promise.all([startPostgres(), startPostgres()])
})
afterAll(async () => {
  for (const server of [older, younger]) await server?.[Symbol.asyncDispose]()
})

/** A log with events that have no position yet, of a server that has seen many transactions, and its copy on one that has not. */
const restored = async () => {
  const [source, target] = [await testDatabase(older), await testDatabase(younger)]
  const orders = await ordersOf(6)
  const [seenThere, seenHere] = [await number(source, xid), await number(target, xid)]
  await burn(source, Math.max(0, seenHere - seenThere) + 1_500)
  const process = await openProcess(source)
  const placed = await place(process, orders, 10)
  const seen = await new Follower(process).end()
  const incarnation = await incarnationOf(process)
  await process.database.close()
  const rig = await Rig.beside(source)
  const client = await rig.connect()
  const late = Array.from({ length: 5 }, () => orders.event())
  for (const event of late) await rig.commit(client, event)
  await restore(source, target)
  return { target, orders, seen, incarnation, committed: [...placed, ...idsOf(late)] }
}

describe.skipIf(missing)(titled('a log that was restored on a younger server', missing), () => {
  test.each(['the server', 'its transaction ids'])('is known by %s, and is numbered once', async (how) => {
    const { target, orders, seen, incarnation, committed } = await restored()
    if (how !== 'the server')
      await target.sql(`UPDATE ${schema}.meta SET system_identifier = c.system_identifier::text,
        timeline = left(pg_walfile_name(pg_current_wal_lsn()), 8) FROM pg_control_system() c`)
    const process = await openProcess(target)
    const follower = new Follower(process).start()
    committed.push(...(await place(process, orders, 3)))
    await process.database.sequence()
    expect(await incarnationOf(process)).not.toBe(incarnation)
    expect(process.warnings.join()).toContain('numbered anew')

    // The ids of transactions come to those of its old events, and pass them.
    const top = await number(target, `SELECT max(xid::text::bigint) FROM ${schema}.event`)
    for (let ahead = 1; ahead > -50; ) {
      ahead = top - (await number(target, xid))
      await burn(target, Math.max(50, Math.ceil(ahead / 2)))
      committed.push(...(await place(process, orders, 1)))
      await process.database.sequence()
    }
    const all = await follower.end()
    expect(all.slice(0, seen.length)).toEqual(seen)
    expect(faultsOf(all, committed)).toEqual(none)

    // Nobody begins another incarnation for it.
    const known = await incarnationOf(process)
    const another = await openProcess(target)
    await another.database.sequence()
    expect(await incarnationOf(another)).toBe(known)
  })

  test('is not numbered again when whoever had it numbered did not wait for the end', async () => {
    const { target, orders, committed } = await restored()
    await target.sql(`SELECT ${schema}.resync('by one who has left')`)
    const process = await openProcess(target)
    committed.push(...(await place(process, orders, 1)))
    expect(faultsOf(await new Follower(process).end(), committed)).toEqual(none)
    expect(await incarnationOf(process)).toBe('by one who has left')
  })

  test('is not numbered while a forgotten prepared transaction is in the way, which is named', async () => {
    const { target, orders, committed } = await restored()
    const rig = await Rig.beside(target)
    const client = await rig.connect()
    const forgotten = orders.event()
    await client.query('BEGIN')
    await rig.append(client, [forgotten])
    await client.query(`PREPARE TRANSACTION 'a forgotten import'`)
    const process = await openProcess(target)
    await expect(process.database.sequence()).rejects.toMatchObject({
      code: 'PABAL_RESYNC_BLOCKED',
      message: expect.stringContaining(`'a forgotten import'`),
    })
    await client.query(`COMMIT PREPARED 'a forgotten import'`)
    await eventually('it is numbered', () =>
      process.database.sequence().then(
        () => true,
        () => false,
      ),
    )
    expect(faultsOf(await new Follower(process).end(), [...committed, forgotten.id])).toEqual(none)
  })
})

/** The data folder of a server that has stopped, once more. */
const copyOf = async ({ dataFolder }: PostgresServer, signal: string): Promise<string> => {
  const folder = await serverFolder('copy')
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const copy = join(folder, 'data')
  await cp(dataFolder, copy, { recursive: true })
  await writeFile(join(copy, signal), '')
  return copy
}

const poolTo = (url: string) => (config?: PoolConfig) => {
  const pool = new Pool({ connectionString: url, ...config })
  pool.on('error', () => {})
  onTestFinished(() => pool.end())
  return pool
}

describe.skipIf(missing)(titled('a log whose server has a new timeline', missing), () => {
  /** A log, on a server that was stopped. */
  let server: PostgresServer
  let name: string
  let placed: string[]
  let incarnation: string
  let orders: Orders
  beforeAll(async () => {
    orders = await ordersOf(3)
    server = await startPostgres()
    const created = await freshDatabase(server)
    const database = await postgres(created.pool()).database.open(systemEnvironment)
    const { log: own } = await database.context('ordering')
    const process = { database, log: own }
    placed = await place(process, orders, 5)
    await database.sequence()
    incarnation = await incarnationOf(process)
    name = created.name
    await database.close()
    await server.stop()
  })
  afterAll(() => server?.[Symbol.asyncDispose]())

  test('because it was restored to a point in time begins a new incarnation', async () => {
    const dataFolder = await copyOf(server, 'recovery.signal')
    const copy = await testServer({ dataFolder, settings: { restore_command: 'false' } })
    const url = copy.url(name)
    const admin = await connected(url)
    await eventually('it has recovered', async () => {
      const { rows } = await admin.query<{ recovers: boolean }>('SELECT pg_is_in_recovery() AS recovers')
      return !rows[0]!.recovers
    })
    const process = await openProcess({ pool: poolTo(url) })
    const more = await place(process, orders, 2)
    expect(faultsOf(await new Follower(process).end(), [...placed, ...more])).toEqual(none)
    expect(await incarnationOf(process)).not.toBe(incarnation)
  })

  test.each([false, true])(
    'because it was promoted, under those who wait for it, begins a new one (pooler: %s)',
    async (pooler) => {
      const dataFolder = await copyOf(server, 'standby.signal')
      const url = (await testServer({ dataFolder })).url(name)
      const admin = await connected(url)
      const process = await openProcess({ pool: poolTo(url) }, { options: { pooler } })
      for (let n = 0; n < 4; n++)
        await expect(process.database.sequence()).rejects.toMatchObject({ code: 'PABAL_STORE_READONLY' })
      const { rows } = await admin.query(`SELECT 1 FROM pg_stat_activity WHERE application_name ~ '^(pabal|pooled):'`)
      // One that could not be used may be on its way out.
      expect(rows.length).toBeLessThan(2)

      await admin.query('SELECT pg_promote()')
      await eventually('it is the primary', () =>
        process.database.sequence().then(
          () => true,
          () => false,
        ),
      )
      const more = await place(process, orders, 2)
      expect(faultsOf(await new Follower(process).end(), [...placed, ...more])).toEqual(none)
      expect(await incarnationOf(process)).not.toBe(incarnation)
    },
  )
})
