/** What goes wrong around a Postgres: one code each, with a remedy; nothing half-written, nothing left open, no password told. */

import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmdirSync } from 'node:fs'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { type App, createApp, defineContext, defineEvent, isPabalError } from 'pabal'
import { fromPg, postgres, type PostgresOptions } from 'pabal/postgres'
import { Client, Pool } from 'pg'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import { eventually } from '../../../test/support/eventually.ts'
import { missingPgBouncer, startPgBouncer } from '../../../test/support/pgbouncer.ts'
import { freshDatabase, missingPostgres, type TestDatabase } from '../../../test/support/postgres.ts'
import { type PostgresServer, startPostgres } from '../../../test/support/postgres-server.ts'
import { titled } from '../../../test/support/require-server.ts'
import { handOver, serverFolder } from '../../../tools/servers/server-process.ts'
import type { PabalError } from '../../core/errors.ts'

const Placed = defineEvent('ordering.order-placed', {
  schema: z.object({ id: z.string(), text: z.string().default('') }),
  key: ({ id }) => id,
})
const ordering = defineContext('ordering', { store: postgres, events: [Placed] })
const s = '"pabal_ordering"'
const password = 's3cr3t-p4ssw0rd'

interface Started {
  readonly app: App
  readonly pool: Pool
  readonly warnings: readonly unknown[]
  readonly place: (text?: string) => Promise<void>
}

const appOn = (pool: Pool, options: PostgresOptions = {}): Started => {
  const warnings: unknown[] = []
  const app = createApp({
    contexts: [
      ordering.with({
        store: postgres(pool, options),
        handlers: [ordering.on(Placed, 'list', () => {}, { lanes: 1 })],
      }),
    ],
    onWarning: (what, error) => warnings.push([what, error]),
  })
  onTestFinished(() => app.stop())
  const place = (text = '') => app.context(ordering).transaction(({ raise }) => raise(Placed, { id: 'a', text }))
  return { app, pool, warnings, place }
}

/** The error of something that must fail, once everything around it has been looked at. */
const failure = async (work: Promise<unknown>, { pool, app }: Pick<Started, 'pool' | 'app'>): Promise<PabalError> => {
  const error: unknown = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  if (!isPabalError(error)) throw new Error('it did not fail with an error of ours', { cause: error })
  expect(error.remedy).not.toBe('')
  expect(inspect(error, { depth: 10 })).not.toContain(password)
  await app.stop()
  expect(pool.idleCount).toBe(pool.totalCount)
  return error
}

/** The reason why no small disk can be made here. */
const missingMount = (): string | undefined => {
  const folder = mkdtempSync(join(tmpdir(), 'pabal-mount-'))
  const { status } = spawnSync('mount', ['-t', 'tmpfs', 'tmpfs', folder])
  if (status === 0) spawnSync('umount', [folder])
  rmdirSync(folder)
  return status === 0 ? undefined : 'no file system can be mounted here, which needs root'
}

const missing = missingPostgres()
describe.skipIf(missing)(titled('bad input', missing), () => {
  let server: PostgresServer
  let database: TestDatabase
  beforeAll(async () => {
    server = await startPostgres()
    database = await freshDatabase(server)
  })
  afterAll(() => server[Symbol.asyncDispose]())

  const poolOf = (url: string | object): Pool => {
    const pool = new Pool(typeof url === 'string' ? { connectionString: url } : url)
    onTestFinished(() => (pool.ending ? undefined : pool.end()))
    return pool
  }
  /** A database with the log in it, or without. */
  const own = async (prepared = true): Promise<TestDatabase> => {
    const made = await freshDatabase(server)
    onTestFinished(() => made.drop())
    if (prepared) {
      const pool = new Pool({ connectionString: made.url })
      const { app, place } = appOn(pool)
      await app.start()
      await place()
      await app.settle()
      await app.stop()
      await pool.end()
    }
    return made
  }
  const connectionsTo = async ({ sql, name }: TestDatabase): Promise<number> =>
    Number(
      (
        await sql<{ n: string }>(
          'SELECT count(*) AS n FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid() AND usesysid IS NOT NULL',
          [name],
        )
      )[0]!.n,
    )
  /** A role of this database only. */
  const role = async ({ sql, url, name }: TestDatabase, grants: string): Promise<string> => {
    await sql(`CREATE ROLE r_${name} LOGIN; ${grants.replaceAll('$role', `r_${name}`)}`)
    return url.replace('postgres@', `r_${name}@`)
  }

  describe('a server that cannot be reached', () => {
    test.each([
      ['another host', () => server.url().replace('127.0.0.1', 'nowhere.invalid')],
      ['another port', () => server.url().replace(`:${server.port}`, ':1')],
      ['another database', () => server.url('nothing')],
      ['another user', () => server.url().replace('postgres@', 'nobody@')],
      ['not a url', () => `postgres://postgres:${password}@[oops/db`],
    ])('%s', async (_what, url) => {
      const started = appOn(poolOf(url().replace('postgres@', `postgres:${password}@`)))
      const error = await failure(started.app.start(), started)
      expect(error).toMatchObject({ code: 'PABAL_STORE_UNREACHABLE', retryable: true })
      expect(error.remedy).toMatch(/host, port/)
    })

    test('another password, or none', async () => {
      const guarded = await startPostgres()
      onTestFinished(() => guarded[Symbol.asyncDispose]())
      const admin = new Client({ connectionString: guarded.url() })
      await admin.connect()
      await admin.query(`CREATE ROLE shop LOGIN PASSWORD '${password}'`)
      await admin.end()
      const rules = `${guarded.dataFolder}/pg_hba.conf`
      await writeFile(rules, `host all shop all scram-sha-256\n${await readFile(rules, 'utf8')}`)
      await guarded.restart()
      for (const given of [`shop:not-${password}`, 'shop']) {
        const started = appOn(poolOf(guarded.url().replace('postgres@', `${given}@`)))
        expect(await failure(started.app.start(), started)).toMatchObject({ code: 'PABAL_STORE_UNREACHABLE' })
      }
    })

    test('no encryption, where it is asked for', async () => {
      const started = appOn(poolOf({ connectionString: server.url(), ssl: true }))
      expect(await failure(started.app.start(), started)).toMatchObject({ code: 'PABAL_STORE_UNREACHABLE' })
    })

    test('a startup parameter that a pooler does not know', async () => {
      if (missingPgBouncer() !== undefined) return
      const bouncer = await startPgBouncer(server.url())
      onTestFinished(() => bouncer[Symbol.asyncDispose]())
      const started = appOn(poolOf({ connectionString: bouncer.url(server.url()), statement_timeout: 1_000 }), {
        pooler: true,
      })
      const error = await failure(started.app.start(), started)
      expect(error).toMatchObject({ code: 'PABAL_STORE_UNREACHABLE' })
      expect(error.message).toContain('statement_timeout')
    })

    test('comes back, and the same app goes on', async () => {
      const { url } = await own()
      const started = appOn(poolOf(url.replace(/:\d+\//, ':1/')))
      await expect(started.app.start()).rejects.toMatchObject({ code: 'PABAL_STORE_UNREACHABLE' })
      ;(started.pool.options as { connectionString?: string }).connectionString = url
      await started.app.start()
      await started.place()
      await started.app.settle()
    })
  })

  describe('a right that is missing', () => {
    test('to create the schema', async () => {
      const made = await own(false)
      const started = appOn(poolOf(await role(made, '')))
      const error = await failure(started.app.start(), started)
      expect(error).toMatchObject({ code: 'PABAL_STORE_FORBIDDEN' })
      expect(error.message).toContain(`permission denied for database ${made.name}`)
      expect(await made.sql(`SELECT 1 FROM pg_namespace WHERE nspname = 'pabal_ordering'`)).toEqual([])
      await started.pool.end()
      await eventually('nothing is left open', async () => (await connectionsTo(made)) === 0)
    })

    test('to create tables in a schema that is there', async () => {
      const made = await own(false)
      await made.sql(`CREATE SCHEMA ${s}`)
      const started = appOn(
        poolOf(await role(made, `GRANT CREATE ON DATABASE ${made.name} TO $role; GRANT USAGE ON SCHEMA ${s} TO $role`)),
      )
      const error = await failure(started.app.start(), started)
      expect(error).toMatchObject({ code: 'PABAL_STORE_FORBIDDEN' })
      expect(error.message).toContain('permission denied for schema pabal_ordering')
    })

    test('to use the schema', async () => {
      const made = await own()
      const started = appOn(poolOf(await role(made, '')))
      const error = await failure(started.app.start(), started)
      expect(error).toMatchObject({ code: 'PABAL_STORE_FORBIDDEN' })
      expect(error.message).toContain('schema pabal_ordering')
    })

    test('to write', async () => {
      const made = await own()
      const started = appOn(
        poolOf(
          await role(
            made,
            `GRANT USAGE ON SCHEMA ${s} TO $role; GRANT SELECT ON ALL TABLES IN SCHEMA ${s} TO $role; GRANT SELECT ON ALL SEQUENCES IN SCHEMA ${s} TO $role`,
          ),
        ),
      )
      const placed = await failure(started.place(), started)
      expect(placed).toMatchObject({ code: 'PABAL_STORE_FORBIDDEN' })
      expect(await made.sql(`SELECT id FROM ${s}.event`)).toHaveLength(1)
    })

    test('none: what the page on running says is enough', async () => {
      const made = await own()
      const started = appOn(
        poolOf(
          await role(
            made,
            `GRANT USAGE ON SCHEMA ${s} TO $role; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ${s} TO $role;
             GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA ${s} TO $role`,
          ),
        ),
      )
      await started.app.start()
      await started.place()
      await started.app.settle()
      expect(started.warnings).toEqual([])
      // Partitions are made and dropped as their owner.
      await made.sql(`DROP TABLE ${s}.event_3`)
      const another = appOn(poolOf(made.url.replace('postgres@', `r_${made.name}@`)))
      await another.app.start()
      await eventually('the partition is there', async () => {
        const [row] = await made.sql<{ there: boolean }>(`SELECT to_regclass('${s}.event_3') IS NOT NULL AS there`)
        return row!.there
      })
      expect(another.warnings).toEqual([])
    })
  })

  describe('a schema that is not the one of this code', () => {
    test('older, where nothing may be created', async () => {
      const made = await own(false)
      const started = appOn(poolOf(made.url))
      const error = await failure(started.app['~pabal'].open({ existing: true }), started)
      expect(error).toMatchObject({ code: 'PABAL_STORE_OLDER' })
      expect(error.remedy).toContain('pabal db migrate')
      expect(await made.sql(`SELECT 1 FROM pg_namespace WHERE nspname = 'pabal_ordering'`)).toEqual([])
    })

    test('newer', async () => {
      const made = await own()
      await made.sql(`INSERT INTO ${s}.migration VALUES (99, 'later', 0)`)
      const started = appOn(poolOf(made.url))
      expect(await failure(started.app.start(), started)).toMatchObject({ code: 'PABAL_STORE_NEWER' })
    })

    test("somebody else's, with tables of the same names", async () => {
      const made = await own(false)
      await made.sql(`CREATE SCHEMA ${s}; CREATE TABLE ${s}.event (n int)`)
      const started = appOn(poolOf(made.url))
      expect(await failure(started.app.start(), started)).toMatchObject({ code: 'PABAL_STORE_FOREIGN' })
      expect(await made.sql(`SELECT relname FROM pg_class WHERE relnamespace = '${s}'::regnamespace`)).toEqual([
        { relname: 'event' },
      ])
    })

    test('of another tool, with a table of migrations', async () => {
      const made = await own(false)
      await made.sql(`CREATE SCHEMA ${s}; CREATE TABLE ${s}.migration (id int)`)
      const started = appOn(poolOf(made.url))
      expect(await failure(started.app.start(), started)).toMatchObject({ code: 'PABAL_STORE_FOREIGN' })
    })

    test('without a table that was dropped by hand', async () => {
      const made = await own()
      await made.sql(`DROP TABLE ${s}.key_head`)
      const started = appOn(poolOf(made.url))
      expect(await failure(started.place(), started)).toMatchObject({ code: 'PABAL_STORE_FOREIGN' })
    })
  })

  test('a partition is missing: the append fails, nothing is written, and the next one may find it', async () => {
    const made = await own()
    const started = appOn(poolOf(made.url))
    await started.place()
    await made.sql(`DROP TABLE ${s}.event_0; CREATE TABLE rows (id text)`)
    const error: unknown = await started.app
      .context(ordering)
      .transaction(async ({ tx, raise }) => {
        await tx.query(`INSERT INTO rows VALUES ('a')`)
        raise(Placed, { id: 'a' })
      })
      .catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'PABAL_STORE_PARTITION_MISSING', message: expect.stringContaining('event') })
    expect(await made.sql('SELECT * FROM rows')).toEqual([])
    await eventually('it is made', async () =>
      started.place().then(
        () => true,
        () => false,
      ),
    )
  })

  describe('a database where nothing can be written', () => {
    test('read-only by default', async () => {
      const made = await own()
      const pool = poolOf({ connectionString: made.url, options: '-c default_transaction_read_only=on' })
      const started = appOn(pool)
      const error = await failure(started.place(), started)
      expect(error).toMatchObject({ code: 'PABAL_STORE_READONLY' })
      expect(error.remedy).toContain('primary')
    })

    test('a standby', async () => {
      const made = await own()
      const folder = await serverFolder('standby')
      onTestFinished(() => rm(folder, { recursive: true, force: true }))
      await server.stop()
      spawnSync('cp', ['-a', server.dataFolder, `${folder}/data`])
      await server.start()
      await writeFile(`${folder}/data/standby.signal`, '')
      await handOver(`${folder}/data`)
      await using standby = await startPostgres({ dataFolder: `${folder}/data` })
      const url = standby.url(made.name)
      const started = appOn(poolOf(url))
      expect(await failure(started.app.start(), started)).toMatchObject({ code: 'PABAL_STORE_READONLY' })
      // Looking is possible.
      const looking = appOn(poolOf(url))
      const { runtimes } = await looking.app['~pabal'].open({ existing: true })
      const { database: open, contextStore } = runtimes.get('ordering')!
      expect(await open.read((session) => contextStore.log.head(session))).toMatchObject({ position: 1 })
      await expect(open.sequence()).rejects.toMatchObject({ code: 'PABAL_STORE_READONLY' })
      await looking.app.stop()
    })
  })

  describe('a transaction', () => {
    test('with a payload over the limit', async () => {
      const made = await own()
      const started = appOn(poolOf(made.url))
      await expect(started.place('x'.repeat(300_000))).rejects.toMatchObject({ code: 'PABAL_PAYLOAD_TOO_LARGE' })
      expect(await made.sql(`SELECT id FROM ${s}.event`)).toHaveLength(1)
    })

    test('in which a statement has failed and nobody was told', async () => {
      const made = await own()
      const started = appOn(poolOf(made.url))
      const error = await failure(
        started.app.context(ordering).transaction(async ({ tx, raise }) => {
          await tx.query('SELECT 1/0').catch(() => {})
          raise(Placed, { id: 'a' })
        }),
        started,
      )
      expect(error).toMatchObject({ code: 'PABAL_ROLLED_BACK', retryable: true })
      expect(await made.sql(`SELECT id FROM ${s}.event`)).toHaveLength(1)
    })

    test('of the caller in which a statement has failed', async () => {
      const made = await own()
      const started = appOn(poolOf(made.url))
      const client = await poolOf(made.url).connect()
      onTestFinished(() => client.release(true))
      await client.query('BEGIN')
      await client.query('SELECT 1/0').catch(() => {})
      const error = await failure(
        started.app.context(ordering).join(fromPg(client), ({ raise }) => raise(Placed, { id: 'a' })),
        started,
      )
      expect(error).toMatchObject({ code: 'PABAL_ROLLED_BACK' })
    })
  })

  describe('what is not a pool of pg', () => {
    test.each([
      ['nothing', undefined],
      ['a text', 'postgres://127.0.0.1/shop'],
      ['a client', new Client()],
      ['an object with a function', { connect: () => {} }],
      [
        'a pool of an older pg',
        Object.assign(new Pool(), { Client: Object.assign(() => {}, { Query: function Query() {} }) }),
      ],
    ])('%s', (_what, given) => {
      let error: unknown
      try {
        postgres(given as Pool)
      } catch (thrown) {
        error = thrown
      }
      expect(error).toMatchObject({ code: 'PABAL_COMPOSITION_INVALID', message: expect.stringContaining('pg') })
    })
  })

  const pooler = missingPgBouncer()
  const mounts = missingMount()
  describe.skipIf(pooler)(titled('a pooler that nobody has told of', pooler), () => {
    test('is named when the app opens', async () => {
      const made = await own()
      for (const settings of [{}, { default_pool_size: '1' }, { server_round_robin: '1' }]) {
        const bouncer = await startPgBouncer(server.url(), settings)
        const started = appOn(poolOf(bouncer.url(made.url)))
        const error = await failure(started.app.start(), started)
        expect(error).toMatchObject({ code: 'PABAL_STORE_POOLED' })
        expect(error.remedy).toContain('pooler: true')
        await started.pool.end()
        await bouncer[Symbol.asyncDispose]()
      }
      await eventually('nothing is left open', async () => (await connectionsTo(made)) === 0)
    })
  })

  describe.skipIf(mounts)(titled('a full disk', mounts), () => {
    /** A disk of so many megabytes, which the servers' account may use. */
    const disk = async (megabytes: number): Promise<string> => {
      const folder = await serverFolder('disk')
      const options = ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', folder]
      expect(spawnSync('mount', options, { encoding: 'utf8' }).stderr).toBe('')
      onTestFinished(async () => {
        spawnSync('umount', [folder])
        await rm(folder, { recursive: true, force: true })
      })
      await handOver(folder)
      return folder
    }
    /** Units of a row and five events each, until one fails. */
    const placeUntilItFails = async ({ app }: Started): Promise<{ placed: number; error: unknown }> => {
      for (let placed = 0; ; placed++)
        try {
          await app.context(ordering).transaction(async ({ tx, raise }) => {
            await tx.query('INSERT INTO rows VALUES ($1)', [String(placed)])
            for (let n = 0; n < 5; n++) raise(Placed, { id: `k${n}`, text: randomBytes(100_000).toString('base64') })
          })
        } catch (error) {
          return { placed, error }
        }
    }
    const stored = async ({ sql }: TestDatabase) => ({
      rows: (await sql('SELECT id FROM rows')).length,
      events: (await sql(`SELECT id FROM ${s}.event`)).length,
    })

    test('of its tables: the unit fails whole, and all goes on when there is space', { timeout: 180_000 }, async () => {
      const folder = await disk(24)
      const made = await freshDatabase(server)
      onTestFinished(async () => {
        await made.drop()
        await database.sql('DROP TABLESPACE small')
      })
      await database.sql(`CREATE TABLESPACE small LOCATION '${folder}'`)
      await made.sql('CREATE TABLE rows (id text)')
      await database.sql(`ALTER DATABASE ${made.name} SET default_tablespace = small`)
      const started = appOn(poolOf(made.url))
      await started.app.start()
      const { placed, error } = await placeUntilItFails(started)
      expect(error).toMatchObject({ code: 'PABAL_STORE_FULL', retryable: true })
      expect(await stored(made)).toEqual({ rows: placed, events: 5 * placed })
      spawnSync('mount', ['-o', 'remount,size=64m', folder])
      await started.place()
      await started.app.settle()
      await started.app.stop()
    })

    test('of its write-ahead log, at which the server ends: the app outlives it', { timeout: 180_000 }, async () => {
      const folder = await disk(200)
      const small = await startPostgres({
        dataFolder: `${folder}/data`,
        settings: { min_wal_size: '32MB', checkpoint_timeout: '1h', max_wal_size: '10GB' },
      })
      onTestFinished(() => small[Symbol.asyncDispose]())
      const made = await freshDatabase(small)
      await made.sql('CREATE TABLE rows (id text)')
      const started = appOn(poolOf(made.url))
      await started.app.start()
      const { placed, error } = await placeUntilItFails(started)
      expect((error as PabalError).code).toMatch(/^PABAL_(?:COMMIT_UNKNOWN|STORE_UNREACHABLE|STORE_FULL)$/)
      spawnSync('mount', ['-o', 'remount,size=400m', folder])
      await small.restart({ immediate: true })
      const { rows, events } = await stored(made)
      expect(events).toBe(5 * rows)
      // The one whose answer was lost may be there.
      expect([placed, placed + 1]).toContain(rows)
      await eventually('it goes on', () =>
        started.place().then(
          () => true,
          () => false,
        ),
      )
      await started.app.settle()
      await started.app.stop()
    })
  })
})
