/** What `pabal doctor` finds on a Postgres that has something wrong with it, and that it finds nothing where nothing is. */

import { randomUUID } from 'node:crypto'
import { postgres, type PostgresOptions } from 'pabal/postgres'
import { Pool, type PoolClient } from 'pg'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { operatedFolder } from '../../../test/support/cli.ts'
import { eventually } from '../../../test/support/eventually.ts'
import { missingPgBouncer, startPgBouncer } from '../../../test/support/pgbouncer.ts'
import { missingPostgres, type TestDatabase, testDatabase, testServer } from '../../../test/support/postgres.ts'
import { type PostgresServer, startPostgres } from '../../../test/support/postgres-server.ts'
import { titled } from '../../../test/support/require-server.ts'
import { systemEnvironment } from '../../core/environment.ts'
import { append, type Process, processOn, raised } from '../../testing/store-contract/fixture.ts'
import type { Finding } from '../store.ts'
import type { PostgresSession } from './connection.ts'
import type { PostgresDatabase } from './database.ts'
import { diagnose } from './diagnose.ts'
import { server as lookAtServer } from './diagnose-server.ts'
import { defaultPatience, type Patience } from './look.ts'
import { schemaName } from './migrate.ts'

const s = '"pabal_ordering"'
const schemas = [{ context: 'ordering', schema: schemaName('pabal_ordering') }]
const impatient: Patience = {
  appending: 0,
  stuck: 1_000,
  idle: 0,
  snapshot: 0,
  prepared: 0,
  foreign: 0,
  numbering: 0.2,
}

interface Opened extends TestDatabase {
  readonly process: () => Promise<Process>
  /** A process that opens it to look, as the doctor does. */
  readonly doctor: (patience?: Patience, pool?: Pool) => Promise<readonly Finding[]>
  readonly client: () => Promise<PoolClient>
}

const opened = async (server?: PostgresServer, options: PostgresOptions = {}): Promise<Opened> => {
  const database = await testDatabase(server)
  const { pool } = database
  const process = async () => {
    const handle = await postgres(pool(), options).database.open(systemEnvironment)
    onTestFinished(() => handle.close())
    return processOn(handle)
  }
  const doctor = async (patience = defaultPatience, through = pool()) => {
    const handle = (await postgres(through, options).database.open(systemEnvironment, {
      existing: true,
    })) as PostgresDatabase
    try {
      await handle.context('ordering', { existing: true })
      if (patience === defaultPatience) return await handle.diagnose()
      return await handle.read((session) =>
        diagnose(session as PostgresSession, { label: handle.label, schemas, pooler: 'none', patience }),
      )
    } finally {
      await handle.close()
    }
  }
  const client = async () => {
    const own = await pool().connect()
    onTestFinished(() => own.release(true))
    return own
  }
  return { ...database, process, doctor, client }
}

const wrong = (findings: readonly Finding[]): readonly Finding[] => findings.filter(({ level }) => level !== 'ok')

const missing = missingPostgres()

for (const version of [14, 18] as const) {
  const absent = missingPostgres(version)
  describe.skipIf(absent)(titled(`the doctor on Postgres ${version}`, absent), () => {
    test('finds nothing where nothing is wrong', async () => {
      const { process, doctor } = await opened(version === 18 ? undefined : await testServer({ version }))
      const open = await process()
      await append(open, raised(), raised())
      const findings = await doctor()
      expect(wrong(findings)).toEqual([])
      expect(findings).toMatchObject([
        { title: 'server', detail: expect.stringContaining(`: PostgreSQL ${version}.`) },
        { title: 'durability', detail: 'fsync, full_page_writes, synchronous_commit=on' },
        { title: 'partitions', detail: 'ahead: 3 of events, 2 of positions' },
        { title: 'numbering', detail: 'every committed event has its position' },
      ])
    })
  })
}

describe.skipIf(missing)(titled('the doctor on Postgres', missing), () => {
  test.each([
    ['130011', 'problem', 'older than 14'],
    ['190001', 'warning', 'newer than any'],
  ])('a server of version %s is a %s', async (number, level, why) => {
    const row = { version: number, major: Math.floor(Number(number) / 10_000), encoding: 'UTF8' }
    const session = { rows: async () => [[JSON.stringify([row])]] } as unknown as PostgresSession
    expect(await lookAtServer(session, { label: 'here', schemas, pooler: 'none' })).toMatchObject([
      { level, title: 'server', detail: expect.stringContaining(why), remedy: expect.any(String) },
    ])
  })

  test('a server that risks its data is named for it', { timeout: 180_000 }, async () => {
    const server = await testServer({
      settings: { fsync: 'off', full_page_writes: 'off', synchronous_commit: 'off', max_connections: '16' },
    })
    const { process, doctor, pool } = await opened(server)
    await process()
    expect(wrong(await doctor())).toMatchObject([
      { level: 'problem', title: 'durability', remedy: expect.stringContaining('fsync = on') },
      { level: 'warning', title: 'durability', remedy: expect.stringContaining('full_page_writes = on') },
      {
        level: 'warning',
        title: 'durability',
        detail: expect.stringContaining('synchronous_commit is off on this server'),
        remedy: expect.stringContaining('ALTER SYSTEM'),
      },
    ])
    // Of 16 connections 3 are reserved for superusers.
    const crowd = pool({ max: 12 })
    await Promise.all(Array.from({ length: 7 }, () => crowd.connect()))
    expect(wrong(await doctor()).at(3)).toMatchObject({
      level: 'warning',
      title: 'connections',
      detail: expect.stringContaining('of 13 are taken'),
    })
  })

  test('synchronous_commit is found where it was set', async () => {
    const { process, doctor, sql, name, pool } = await opened()
    await process()
    const durability = async (through?: Pool) =>
      (await doctor(defaultPatience, through)).filter(({ title }) => title === 'durability')
    await sql(`ALTER DATABASE ${name} SET synchronous_commit = off`)
    expect(await durability(pool())).toMatchObject([
      { level: 'warning', remedy: `ALTER DATABASE ${name} RESET synchronous_commit` },
    ])
    await sql(`ALTER DATABASE ${name} RESET synchronous_commit`)
    expect(await durability(pool({ options: '-c synchronous_commit=off' }))).toMatchObject([
      { level: 'warning', detail: expect.stringContaining('by the options of the pool') },
    ])
    await sql(`CREATE ROLE other_${name}; ALTER ROLE other_${name} IN DATABASE ${name} SET synchronous_commit = off`)
    onTestFinished(async () => void (await (await testDatabase()).sql(`DROP ROLE other_${name}`)))
    expect(await durability()).toMatchObject([
      {
        level: 'warning',
        detail: expect.stringContaining(`off for role other_${name} in database ${name}`),
        remedy: `ALTER ROLE other_${name} IN DATABASE ${name} RESET synchronous_commit`,
      },
    ])
  })

  test('a database where nothing can be written says so', async () => {
    const { process, doctor, sql, name, pool } = await opened()
    await process()
    await sql(`ALTER DATABASE ${name} SET default_transaction_read_only = on`)
    expect(wrong(await doctor(defaultPatience, pool()))).toMatchObject([{ level: 'problem', title: 'read-only' }])
  })
})

describe.skipIf(missing)(titled('who stands in the way', missing), () => {
  let server: PostgresServer
  beforeAll(async () => {
    server = await startPostgres()
  })
  afterAll(() => server[Symbol.asyncDispose]())

  /** Appends in a transaction that stays open. */
  const appendOpen = async (client: PoolClient, key = 'a'): Promise<void> => {
    await client.query('BEGIN')
    await client.query(
      `WITH head AS (INSERT INTO ${s}.key_head AS h (key, sequence) VALUES ($1, 1) ON CONFLICT (key) DO UPDATE SET sequence = h.sequence + 1 RETURNING *)
       INSERT INTO ${s}.event (id, xid, event_id, key, sequence, slot, type, version, data, hops, time_ms)
       SELECT nextval('${s}.event_id'), pg_current_xact_id()::text::bigint, $2, key, sequence, 0, 't', 1, '{}', 0, 0 FROM head`,
      [key, randomUUID()],
    )
  }

  test('an appender that does not end is named with its session, and what ends it', async () => {
    const { process, doctor, client, sql } = await opened(server)
    await process()
    const own = await client()
    await own.query(`SET application_name = 'the shop'`)
    await appendOpen(own)
    const [{ pid } = { pid: 0 }] = await sql<{ pid: number }>(
      `SELECT pid FROM pg_stat_activity WHERE application_name = 'the shop'`,
    )
    expect(wrong(await doctor())).toEqual([])
    const [found] = wrong(await doctor(impatient))
    expect(found).toMatchObject({ level: 'warning', title: 'open transaction' })
    expect(found!.detail).toMatch(
      new RegExp(
        `^events wait for session ${pid} \\(the shop, postgres; idle in transaction\\), open for 0 s, since \\d{4}-`,
      ),
    )
    expect(found!.remedy).toBe(`SELECT pg_terminate_backend(${pid})`)
    expect((await doctor({ ...impatient, stuck: 0 })).find(({ title }) => title === 'open transaction')?.level).toBe(
      'problem',
    )
    await sql(found!.remedy!)
    await eventually('nobody is in the way', async () => wrong(await doctor(impatient)).length === 0)
  })

  test('sessions that keep vacuum from its work are named, each once, and the rest counted', async () => {
    const { process, doctor, client } = await opened(server)
    await process()
    const idle = await client()
    await idle.query('BEGIN; SELECT 1')
    const viewers = await Promise.all([client(), client(), client(), client()])
    for (const viewer of viewers)
      await viewer.query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM pg_class LIMIT 1')
    const titles = (patience: Patience) =>
      doctor(patience).then((findings) => wrong(findings).map(({ title, detail }) => [title, detail.split(' ', 1)[0]]))
    expect(await titles(impatient)).toEqual([
      ...Array.from({ length: 3 }, () => ['idle transaction', 'session']),
      ['idle transaction', '2'],
    ])
    expect(await titles({ ...impatient, idle: 1_000 })).toEqual([
      ...Array.from({ length: 3 }, () => ['old snapshot', 'session']),
      ['old snapshot', '1'],
    ])
  })

  test('prepared transactions are named with what ends them, here and in other databases', async () => {
    const here = await opened(server)
    const there = await opened(server)
    await here.process()
    const own = await here.client()
    await appendOpen(own, 'k')
    await own.query(`PREPARE TRANSACTION 'it''s appended'`)
    await own.query(`BEGIN; CREATE TABLE t (n int); PREPARE TRANSACTION 'plain'`)
    await there.sql(`BEGIN; CREATE TABLE t (n int); PREPARE TRANSACTION 'foreign'`)
    expect(wrong(await here.doctor())).toEqual([])
    const found = wrong(await here.doctor(impatient))
    expect(found).toMatchObject([
      {
        level: 'warning',
        title: 'prepared transaction',
        detail: expect.stringContaining('whoever appends to one of their keys waits'),
        remedy: `COMMIT PREPARED 'it''s appended' or ROLLBACK PREPARED 'it''s appended', as postgres in ${here.name}`,
      },
      { title: 'prepared transaction', detail: expect.stringContaining('vacuum cannot clean up') },
      { title: 'prepared transaction', detail: expect.stringContaining('old partitions are not dropped') },
    ])
  })

  test('a logical slot without a reader is named with what it keeps', { timeout: 180_000 }, async () => {
    const own = await testServer({ settings: { min_wal_size: '32MB' } })
    const { process, doctor, sql } = await opened(own)
    await process()
    await sql(`SELECT pg_create_logical_replication_slot('left_over', 'pgoutput')`)
    expect(wrong(await doctor())).toEqual([])
    for (let segment = 0; segment < 6; segment++)
      await sql(`SELECT pg_logical_emit_message(false, 'a', 'b'); SELECT pg_switch_wal()`)
    expect(wrong(await doctor())).toMatchObject([
      {
        level: 'warning',
        title: 'replication slot',
        detail: expect.stringMatching(/^nobody reads from left_over: the server keeps (8|9|1\d)\d MB/),
        remedy: expect.stringContaining(`pg_drop_replication_slot('left_over')`),
      },
    ])
  })

  test('a user without rights is told what cannot be seen, once', async () => {
    const { process, doctor, sql, client, name, url } = await opened(server)
    const open = await process()
    await append(open, raised())
    await sql(`CREATE ROLE doctor_${name} LOGIN; GRANT USAGE ON SCHEMA ${s} TO doctor_${name};
      GRANT SELECT ON ALL TABLES IN SCHEMA ${s} TO doctor_${name}; GRANT SELECT ON ALL SEQUENCES IN SCHEMA ${s} TO doctor_${name}`)
    const pool = new Pool({ connectionString: url.replace('postgres@', `doctor_${name}@`) })
    onTestFinished(() => pool.end())
    const other = await client()
    await appendOpen(other)
    const found = await doctor(impatient, pool)
    expect(wrong(found)).toMatchObject([
      { level: 'warning', title: 'rights', detail: expect.stringMatching(/^\d sessions of other users/) },
    ])
    expect(found).toContainEqual(expect.objectContaining({ level: 'ok', title: 'numbering' }))

    await sql(`REVOKE ALL ON ${s}.event_id FROM doctor_${name}`)
    expect(wrong(await doctor(impatient, pool))).toContainEqual(
      expect.objectContaining({ title: 'rights', detail: 'this user may not look at logs' }),
    )
  })
})

describe.skipIf(missing)(titled('a log that is not as it should be', missing), () => {
  test('partitions that are missing, few, or a default', async () => {
    const { process, doctor, sql } = await opened()
    const open = await process()
    await append(open, raised())
    await open.database.close()
    const partitions = async () => (await doctor()).filter(({ title }) => title === 'partitions')
    await sql(`DROP TABLE ${s}.event_3, ${s}.event_2`)
    expect(await partitions()).toMatchObject([
      {
        level: 'warning',
        detail: expect.stringMatching(/^after 9,\d{3},\d{3} more appends fail/),
        remedy: expect.stringContaining(`SELECT ${s}.create_partitions()`),
      },
    ])
    await sql(`DROP TABLE ${s}.event_1, ${s}.run_1, ${s}.run_2; SELECT setval('${s}.event_id', 5000000)`)
    await sql(`CREATE TABLE ${s}.rest PARTITION OF ${s}.run DEFAULT`)
    expect(await partitions()).toMatchObject([
      { level: 'problem', detail: 'there is none for 5,000,001: appends fail' },
      { level: 'warning', detail: expect.stringContaining('rest is a default partition') },
      { level: 'problem', detail: expect.stringMatching(/^after 9,\d{3},\d{3} more the numbering of events fail/) },
    ])
  })

  test('a cursor beyond the end, and a sequence that hands out ids in stock', async () => {
    const { process, doctor, sql } = await opened()
    const open = await process()
    await append(open, raised(), raised())
    const { incarnation } = await open.read((session) => open.log.head(session))
    await open.write(async (session) => {
      await open.cursors.register(session, { name: 'order-list', effects: 'database', lanes: 1, types: [] })
      await open.cursors.create(
        session,
        { consumer: 'order-list', source: 'ordering', lane: 0 },
        { position: 7_000, eventId: null, incarnation },
      )
    })
    await sql(`ALTER SEQUENCE ${s}.event_id CACHE 20`)
    expect(wrong(await doctor())).toMatchObject([
      { level: 'problem', title: 'ids', remedy: `ALTER SEQUENCE ${s}.event_id CACHE 1` },
      {
        level: 'problem',
        title: 'rewound',
        detail: "order-list stands at 7,000 of 'ordering', which ends at 2: the log is an older copy",
        remedy: expect.stringContaining('pabal consumer reset order-list --to 2'),
      },
    ])
  })

  test('events that nobody numbers', async () => {
    const { process, doctor, client, sql } = await opened()
    const open = await process()
    await append(open, raised())
    await open.database.close()
    // As a process leaves them that dies between its commit and its tick.
    await sql(
      `INSERT INTO ${s}.event (id, xid, event_id, key, sequence, slot, type, version, data, hops, time_ms)
       SELECT nextval('${s}.event_id'), pg_current_xact_id()::text::bigint, gen_random_uuid(), 'left', 1, 0, 't', 1, '{}', 0, 0`,
    )
    expect(wrong(await doctor(impatient))).toMatchObject([
      {
        level: 'warning',
        title: 'numbering',
        detail: expect.stringContaining('1 committed events have no position, so nobody reads them: no process'),
      },
    ])
    const idle = await client()
    await idle.query(`SET application_name = 'pabal:frozen'`)
    expect(wrong(await doctor(impatient))).toMatchObject([
      { level: 'problem', title: 'numbering', detail: expect.stringContaining('although 1 process is here') },
    ])
    const again = await process()
    await again.database.sequence()
    expect(wrong(await doctor(impatient))).toEqual([])
  })
})

const missingPooler = missing ?? missingPgBouncer()
describe.skipIf(missingPooler)(titled('a pooler in between', missingPooler), () => {
  test('is told of, and what it costs', async () => {
    const { process, doctor, url } = await opened()
    await process()
    const through = async (mode: string): Promise<Pool> => {
      const bouncer = await startPgBouncer(url, { pool_mode: mode })
      onTestFinished(() => bouncer[Symbol.asyncDispose]())
      const pool = new Pool({ connectionString: bouncer.url(url) })
      onTestFinished(() => pool.end())
      return pool
    }
    expect(await doctor(defaultPatience, await through('session'))).toContainEqual(
      expect.objectContaining({ level: 'ok', title: 'pooler', detail: expect.stringContaining('leaves each client') }),
    )
    const transactions = await through('transaction')
    await expect(doctor(defaultPatience, transactions)).rejects.toMatchObject({ code: 'PABAL_STORE_POOLED' })
    const declared = await postgres(transactions, { pooler: true }).database.open(systemEnvironment, { existing: true })
    onTestFinished(() => declared.close())
    expect(await declared.diagnose()).toContainEqual(
      expect.objectContaining({ level: 'ok', title: 'pooler', detail: expect.stringContaining('declared') }),
    )
  })
})

describe.skipIf(missing)(titled('pabal doctor', missing), () => {
  const root = process.cwd()
  const configuration = (url: string): string => `
    import { createApp, defineContext, defineEvent } from ${JSON.stringify(`${root}/src/index.ts`)}
    import { postgres } from ${JSON.stringify(`${root}/src/store/postgres/index.ts`)}
    import pg from ${JSON.stringify(`${root}/node_modules/pg/lib/index.js`)}
    import { z } from ${JSON.stringify(`${root}/node_modules/zod/index.js`)}
    const Placed = defineEvent('ordering.order-placed', { schema: z.object({ id: z.string() }), key: ({ id }) => id })
    const ordering = defineContext('ordering', { store: postgres, events: [Placed] })
    const pool = new pg.Pool({ connectionString: ${JSON.stringify(url)} })
    export default createApp({ contexts: [ordering.with({ store: postgres(pool) })] })`

  test('runs against an app on Postgres, and says what to type', async () => {
    const { url, sql } = await testDatabase()
    const shop = await operatedFolder()
    shop.configure(configuration(url))
    const before = await shop.pabal(['doctor'])
    expect(before).toMatchObject({ code: 4, err: expect.stringContaining('PABAL_CHECK_FAILED') })
    expect(before.out).toContain('PABAL_STORE_OLDER')
    expect(before.out).toContain('pabal db migrate')

    expect(await shop.pabal(['db', 'migrate', '--yes'])).toMatchObject({ code: 0 })
    const well = await shop.pabal(['doctor'])
    expect(well).toMatchObject({ code: 0, err: '', out: expect.stringContaining('all is well') })
    expect(well.out).toContain('✓ ordering server: postgres://127.0.0.1')

    await sql(`ALTER SEQUENCE ${s}.event_id CACHE 5`)
    const ill = await shop.pabal(['doctor', '-o', 'json'])
    expect(ill.code).toBe(4)
    expect(ill.json<{ findings: unknown[] }>().findings).toContainEqual(
      expect.objectContaining({ context: 'ordering', level: 'problem', title: 'ids', remedy: expect.any(String) }),
    )

    shop.configure(configuration(url.replace(/:\d+/, ':1').replace('postgres@', 'postgres:s3cret@')))
    const gone = await shop.pabal(['doctor'])
    expect(gone).toMatchObject({ code: 4, out: expect.stringContaining('PABAL_STORE_UNREACHABLE') })
    expect(gone.out + gone.err).not.toContain('s3cret')
  })
})
