import { createApp, defineContext, defineEvent, type Environment, isPabalError, systemEnvironment } from 'pabal'
import { logicalReplication, postgres, type PostgresOptions as PostgresStoreOptions } from 'pabal/postgres'
import { describe, expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import { startChild } from '../../../../test/support/child.ts'
import { eventually } from '../../../../test/support/eventually.ts'
import { missingPostgres, testDatabase, testServer, type TestDatabase } from '../../../../test/support/postgres.ts'
import type { PostgresOptions, PostgresServer } from '../../../../test/support/postgres-server.ts'
import { titled } from '../../../../test/support/require-server.ts'

const OrderPlaced = defineEvent('ordering.order-placed', {
  schema: z.object({ orderId: z.string(), n: z.int() }),
  key: ({ orderId }) => orderId,
})
const ordering = defineContext('ordering', { store: postgres, events: [OrderPlaced] })

/** Nobody looks: what would be waited for as long as between two looks is waited for without end. */
const withoutLooks: Environment = {
  ...systemEnvironment,
  sleep: (ms, signal) => systemEnvironment.sleep(ms >= 3_000 && ms < 1e9 ? 1e9 : ms, signal),
}

interface Listening {
  readonly handled: { readonly n: number; readonly atMs: number }[]
  readonly warnings: string[]
  /** Its stream runs. */
  readonly live: () => Promise<void>
}

/** An app that hears by logical replication only, and counts what it handles. */
const listening = async (
  database: TestDatabase,
  environment: Environment = withoutLooks,
  options: PostgresStoreOptions = { cdc: logicalReplication() },
): Promise<Listening> => {
  const handled: { n: number; atMs: number }[] = []
  const warnings: string[] = []
  const app = createApp({
    environment,
    onWarning: (what, error) => warnings.push(`${what}: ${String(error)}`),
    contexts: [
      ordering.with({
        store: postgres(database.pool(), options),
        handlers: [
          ordering.on(OrderPlaced, 'note', ({ data }) => void handled.push({ n: data.n, atMs: Date.now() }), {
            lanes: 1,
          }),
        ],
      }),
    ],
  })
  onTestFinished(() => app.stop())
  await app.start()
  return { handled, warnings, live: () => streaming(database) }
}

/** The stream runs, and nothing that was asked of the database before is under way. */
const streaming = async (database: TestDatabase): Promise<void> => {
  await eventually('the stream runs', async () => {
    const [row] = await database.sql<{ active: number }>(
      `SELECT count(*)::int AS active FROM pg_stat_replication r JOIN pg_replication_slots s ON s.active_pid = r.pid
       WHERE s.database = '${database.name}' AND r.state = 'streaming'`,
    )
    return row!.active > 0
  })
}

/** Another process: it commits one event for each line that it is told. */
const committer = (database: TestDatabase) => {
  const child = startChild(
    {
      text: `
        import { createApp, defineContext, defineEvent } from 'pabal'
        import { postgres } from 'pabal/postgres'
        import { Pool } from 'pg'
        import { z } from 'zod'
        import { createInterface } from 'node:readline'
        const OrderPlaced = defineEvent('ordering.order-placed', {
          schema: z.object({ orderId: z.string(), n: z.int() }), key: ({ orderId }) => orderId })
        const ordering = defineContext('ordering', { store: postgres, events: [OrderPlaced] })
        const app = createApp({ contexts: [ordering.with({ store: postgres(new Pool({ connectionString: process.argv[1] })) })] })
        await app.context(ordering).read(() => {})
        console.log('ready')
        for await (const line of createInterface({ input: process.stdin })) {
          await app.context(ordering).transaction(({ raise }) => raise(OrderPlaced, { orderId: 'o-' + line, n: Number(line) }))
          console.log(line + ' ' + Date.now())
        }`,
    },
    database.url,
  )
  return {
    ready: () => child.said('ready'),
    /** Commits, and says when it has. */
    commit: async (n: number): Promise<number> => {
      child.tell(String(n))
      const line = await eventually(`${n} is committed`, () => child.lines.find((each) => each.startsWith(`${n} `)))
      return Number(line.split(' ')[1])
    },
  }
}

const start = async (options?: PostgresOptions): Promise<[PostgresServer, TestDatabase]> => {
  const server = await testServer(options)
  return [server, await testDatabase(server)]
}

describe.each([18, 14] as const)('on Postgres %i', (version) => {
  const lacking = missingPostgres(version)

  test.skipIf(lacking)('events of another process arrive at once, without LISTEN and without a look', async () => {
    const [, database] = await start({ version })
    const { handled, warnings, live } = await listening(database)
    await live()
    const other = committer(database)
    await other.ready()
    const delays: number[] = []
    for (let n = 1; n <= 30; n++) {
      const committedMs = await other.commit(n)
      const event = await eventually(`${n} is handled`, () => handled.find((each) => each.n === n), 3_000)
      delays.push(event.atMs - committedMs)
    }
    const listeners = await database.sql<{ n: number }>(
      `SELECT count(*)::int AS n FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'
       AND application_name IN (SELECT replace(application_name, ' cdc', '') FROM pg_stat_replication)`,
    )
    expect(listeners[0]!.n).toBe(0)
    // A sanity check on a busy machine, not a measurement.
    expect(delays.toSorted((a, b) => a - b)[15]).toBeLessThan(250)
    expect(warnings).toEqual([])
  })
})

/** One event, committed as the store does it. */
const append = `
  WITH head AS (INSERT INTO pabal_ordering.key_head (key, sequence) VALUES ('left', 1) RETURNING key, sequence)
  INSERT INTO pabal_ordering.event (id, xid, event_id, key, sequence, slot, type, version, data, hops, time_ms)
  SELECT nextval('pabal_ordering.event_id'), pg_current_xact_id()::text::bigint, '01930000-0000-7000-8000-000000000001', key, sequence, 1,
    'ordering.order-placed', 1, '{"orderId":"left","n":7}', 0, 1 FROM head`

const missing = missingPostgres()

describe.skipIf(missing)(titled('wake-ups by logical replication', missing), () => {
  test('events whose process has ended between COMMIT and tick get their positions at once', async () => {
    const [, database] = await start()
    // As behind a pooler, with a way around it.
    const { handled, live } = await listening(database, withoutLooks, {
      pooler: true,
      cdc: logicalReplication({ pool: database.pool() }),
    })
    await live()
    // As a process would leave them: committed, and nobody ticks.
    await database.sql(append)
    await eventually('it is handled', () => handled.some(({ n }) => n === 7), 3_000)
  })

  test('a commit that is told of before anybody can see it wakes when it can be read', async () => {
    // A commit that waits for a standby is durable, and in the stream, but not to be seen yet.
    const [, database] = await start({
      settings: { synchronous_standby_names: 'nobody', synchronous_commit: 'local' },
    })
    const { handled, live } = await listening(database)
    await live()
    const client = await database.pool().connect()
    client.on('error', () => {})
    const ticking = client.query(
      `BEGIN; ${append}; COMMIT; SET synchronous_commit = on; BEGIN; SELECT pabal_ordering.tick(100); COMMIT`,
    )
    await eventually('the tick is told of, and not to be seen', async () => {
      const [row] = await database.sql<{ waiting: boolean }>(
        `SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep')
           AND (SELECT confirmed_flush_lsn FROM pg_replication_slots) >= pg_current_wal_lsn() AS waiting`,
      )
      return row!.waiting
    })
    // Long enough for whoever was woken too early to look and to sleep again.
    await systemEnvironment.sleep(300)
    expect(handled).toEqual([])
    await database.sql(`SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`)
    await ticking
    client.release()
    await eventually('it is handled', () => handled.some(({ n }) => n === 7), 3_000)
  })

  test('a stream that is lost is told of, looking goes on, and the stream comes back', async () => {
    const [server, database] = await start()
    const { handled, warnings, live } = await listening(database, systemEnvironment)
    await live()
    const other = committer(database)
    await other.ready()
    await other.commit(1)
    await eventually('1 is handled', () => handled.some(({ n }) => n === 1))
    await database.sql(`SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active`)
    await other.commit(2)
    await eventually('2 is handled', () => handled.some(({ n }) => n === 2))
    expect(warnings.filter((warning) => warning.includes('the change stream of'))).toHaveLength(1)
    await live()
    for (const [n, immediate] of [
      [3, true],
      [4, false],
    ] as const) {
      await server.restart({ immediate })
      const again = committer(database)
      await again.ready()
      await again.commit(n)
      await eventually(`${n} is handled`, () => handled.some((each) => each.n === n))
      await live()
    }
    expect(handled.map(({ n }) => n)).toEqual([1, 2, 3, 4])
  })

  test('the slot goes with its process, and follows the log also where nothing happens in it', async () => {
    const [, database] = await start()
    const { live } = await listening(database, systemEnvironment)
    await live()
    await database.sql('CREATE TABLE noise (t text)')
    await database.sql(`INSERT INTO noise SELECT repeat('x', 500) FROM generate_series(1, 20000)`)
    const [{ upto }] = (await database.sql<{ upto: string }>('SELECT pg_current_wal_lsn() AS upto')) as [
      { upto: string },
    ]
    await eventually('the slot has followed', async () => {
      const rows = await database.sql<{ behind: boolean }>(
        `SELECT confirmed_flush_lsn < '${upto}' AS behind FROM pg_replication_slots`,
      )
      return rows.length === 1 && !rows[0]!.behind
    })
  })

  test('a server whose wal_level is not logical is refused, with one clear error', async () => {
    const [, database] = await start({ settings: { wal_level: 'replica' } })
    const app = createApp({
      contexts: [ordering.with({ store: postgres(database.pool(), { cdc: logicalReplication() }) })],
    })
    onTestFinished(() => app.stop())
    const error = await app.start().catch((thrown: unknown) => thrown)
    expect(isPabalError(error) && error.code).toBe('PABAL_REPLICATION_UNAVAILABLE')
    expect(String(error)).toContain('wal_level is replica, not logical')
  })
})
