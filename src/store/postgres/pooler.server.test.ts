/** Postgres behind a pooler that lends its connections for one transaction each (`pooler: true`). */

import { createApp, defineContext, defineEvent } from 'pabal'
import { postgres } from 'pabal/postgres'
import { Pool } from 'pg'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import { type Child, startChild } from '../../../test/support/child.ts'
import { eventually } from '../../../test/support/eventually.ts'
import { missingPgBouncer, type PgBouncer, startPgBouncer } from '../../../test/support/pgbouncer.ts'
import { freshDatabase, missingPostgres, sharedServer, testDatabase } from '../../../test/support/postgres.ts'
import { titled } from '../../../test/support/require-server.ts'
import { systemEnvironment } from '../../core/environment.ts'
import { storeContract, type StoreHarness } from '../../testing/index.ts'
import type { Database } from '../store.ts'
import { poolerOf } from './pooler.ts'

const missing = missingPostgres() ?? missingPgBouncer()

describe.skipIf(missing)(titled('behind a pooler', missing), () => {
  let bouncer: PgBouncer
  beforeAll(async () => {
    bouncer = await startPgBouncer((await sharedServer()).url())
  })
  afterAll(() => bouncer[Symbol.asyncDispose]())

  const poolTo = (url: string): Pool => {
    const pool = new Pool({ connectionString: url })
    pool.on('error', () => {})
    return pool
  }

  const harness: StoreHarness = {
    create: async () => {
      const database = await freshDatabase()
      const pools: Pool[] = []
      const opened: Database[] = []
      return {
        open: async () => {
          const pool = poolTo(bouncer.url(database.url))
          pools.push(pool)
          const handle = await postgres(pool, { pooler: true }).database.open(systemEnvironment)
          opened.push(handle)
          return handle
        },
        [Symbol.asyncDispose]: async () => {
          for (const handle of opened) await handle.close()
          for (const pool of pools) await pool.end()
          await database.drop()
        },
      }
    },
  }

  // What the guarantees rest on; the rest of the suite asks nothing of a connection.
  const core = storeContract.filter(({ guarantee }) => guarantee !== undefined)
  test('the rules that the guarantees rest on are many', () => {
    expect(core.length).toBeGreaterThan(15)
  })
  test.each(core)('$name', ({ run }) => run(harness))

  test('it is told apart from a server, and from a pooler that lends them for a session', async () => {
    const { url, pool } = await testDatabase()
    expect(await poolerOf(pool())).toBe('none')
    for (const [settings, kind] of [
      [{}, 'transaction'],
      [{ default_pool_size: '1' }, 'transaction'],
      [{ server_round_robin: '1' }, 'transaction'],
      [{ pool_mode: 'session' }, 'session'],
    ] as const) {
      await using other = await startPgBouncer(url, settings)
      const through = poolTo(other.url(url))
      expect([settings, await poolerOf(through)]).toEqual([settings, kind])
      expect(through.totalCount).toBe(through.idleCount)
      await through.end()
    }
  })

  describe('an app in two processes', () => {
    const Placed = defineEvent('ordering.order-placed', {
      schema: z.object({ id: z.string(), at: z.number() }),
      key: ({ id }) => id,
    })
    const ordering = defineContext('ordering', { store: postgres, events: [Placed] })

    /** Handles, and says how long after its raising each event came. */
    const startWorker = async (url: string, name: string): Promise<Child> => {
      const child = startChild(
        {
          text: `
            import { createApp, defineContext, defineEvent } from 'pabal'
            import { postgres } from 'pabal/postgres'
            import pg from 'pg'
            import { z } from 'zod'
            const [url, name] = process.argv.slice(1)
            const Placed = defineEvent('ordering.order-placed', {
              schema: z.object({ id: z.string(), at: z.number() }), key: ({ id }) => id })
            const ordering = defineContext('ordering', { store: postgres, events: [Placed] })
            const pool = new pg.Pool({ connectionString: url })
            const app = createApp({ contexts: [ordering.with({
              store: postgres(pool, { pooler: true }),
              prepare: (tx) => tx.query('CREATE TABLE IF NOT EXISTS handled (id text, sequence bigint, by text, PRIMARY KEY (id, sequence))'),
              handlers: [ordering.on(Placed, 'list', async ({ key, sequence, data }, { tx }) => {
                await tx.query('INSERT INTO handled VALUES ($1, $2, $3)', [key, sequence, name])
                console.log('handled after ' + (Date.now() - data.at))
              }, { lanes: 4 })],
            })] })
            await app.start()
            console.log('started')
            for await (const chunk of process.stdin) if (String(chunk).includes('stop')) break
            await app.stop()
            await pool.end()
            console.log('stopped')
            process.exit()`,
        },
        url,
        name,
      )
      await child.said('started')
      return child
    }

    test('handles each event once, about a second after another process has committed it', {
      timeout: 180_000,
    }, async () => {
      const { url, sql } = await testDatabase()
      const through = bouncer.url(url)
      const workers = [await startWorker(through, 'one'), await startWorker(through, 'two')]
      // A third process, which only sends.
      const pool = poolTo(through)
      const app = createApp({
        contexts: [ordering.with({ store: postgres(pool, { pooler: true }) })],
        onWarning: () => {},
      })
      onTestFinished(async () => {
        await app.stop()
        await pool.end()
      })
      const place = (id: string) =>
        app.context(ordering).transaction(({ raise }) => raise(Placed, { id, at: Date.now() }))
      const handled = () =>
        sql<{ id: string; sequence: string }>('SELECT id, sequence FROM handled ORDER BY id, sequence')

      for (let n = 0; n < 40; n++) await place(`k${n % 8}`)
      await eventually('all are handled', async () => (await handled()).length === 40)
      // From here on they come out of the blue: whoever looks has come to rest in between.
      const before = workers.flatMap(({ lines }) => lines).length
      for (let n = 0; n < 5; n++) {
        await eventually('nobody has looked for a while', () => systemEnvironment.sleep(1_500).then(() => true))
        await place('late')
        await eventually('it is handled', async () => (await handled()).length === 41 + n)
      }
      expect(await handled()).toEqual(
        [...Array.from({ length: 8 }, (_, n) => `k${n}`), 'late'].flatMap((id) =>
          Array.from({ length: 5 }, (_, n) => ({ id, sequence: String(n + 1) })),
        ),
      )
      const lateMs = workers.flatMap(({ lines }) => lines).slice(before)
      const delays = workers
        .flatMap(({ lines }) => lines)
        .map((line) => /^handled after (\d+)$/.exec(line)?.[1])
        .filter((ms) => ms !== undefined)
        .map(Number)
      expect(lateMs.length).toBe(5)
      expect(delays).toHaveLength(45)
      expect(Math.max(...delays)).toBeLessThan(2_000)
      for (const worker of workers) worker.tell('stop')
      for (const worker of workers) await worker.said('stopped')
    })

    test('goes on when the one that worked is killed, once its lease has run out', { timeout: 180_000 }, async () => {
      const { url, sql } = await testDatabase()
      const through = bouncer.url(url)
      const first = await startWorker(through, 'one')
      const pool = poolTo(through)
      const app = createApp({
        contexts: [ordering.with({ store: postgres(pool, { pooler: true }) })],
        onWarning: () => {},
      })
      onTestFinished(async () => {
        await app.stop()
        await pool.end()
      })
      const place = (id: string) =>
        app.context(ordering).transaction(({ raise }) => raise(Placed, { id, at: Date.now() }))
      const handled = async () => Number((await sql<{ n: string }>('SELECT count(*) AS n FROM handled'))[0]!.n)
      await place('a')
      await eventually('it is handled', async () => (await handled()) === 1)
      await first.kill()
      await startWorker(through, 'two')
      await place('a')
      await eventually('the other one has it', async () => (await handled()) === 2, 40_000)
    })
  })
})
