/** What an app on Postgres asks of the server while nothing happens: little, and no more with more contexts. */

import { type App, type Bound, createApp, defineContext, defineEvent, definePublicEvent, publish } from 'pabal'
import { postgres, type PostgresOptions } from 'pabal/postgres'
import type { Pool } from 'pg'
import { describe, expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import { missingPgBouncer, startPgBouncer } from '../../../test/support/pgbouncer.ts'
import { eventually } from '../../../test/support/eventually.ts'
import { missingPostgres, testDatabase, testServer } from '../../../test/support/postgres.ts'
import { titled } from '../../../test/support/require-server.ts'
import { type Environment, systemEnvironment } from '../../core/environment.ts'

/** Time that passes faster than it does. */
const hurried = (times: number): Environment => {
  const startMs = systemEnvironment.now()
  return {
    ...systemEnvironment,
    now: () => startMs + Math.round((systemEnvironment.now() - startMs) * times),
    sleep: (ms, signal) => systemEnvironment.sleep(ms / times, signal),
  }
}
const times = 20

const schema = z.object({ id: z.string() })
const key = ({ id }: { id: string }): string => id

/** A context with handlers of each kind, some of which watch the time. */
const contextNamed = (name: string) => {
  const Placed = defineEvent(`${name}.order-placed`, { schema, key })
  const Paid = defineEvent(`${name}.order-paid`, { schema, key })
  const PlacedV1 = definePublicEvent(`${name}.order-placed.v1`, { schema, key, kind: 'domain' })
  const context = defineContext(name, {
    store: postgres,
    events: [Placed, Paid],
    publishes: [publish(Placed, PlacedV1, ({ data }) => data)],
  })
  const bind = (pool: Pool, options: PostgresOptions): Bound =>
    context.with({
      store: postgres(pool, options),
      handlers: [
        context.on(Placed, 'list', () => {}),
        context.on([Paid], 'paid', () => {}, { within: { time: '2s', onLate: () => 0 } }),
        context.on(Placed, 'call', () => {}, { effects: 'external', startAt: 'beginning' }),
      ],
    })
  const place = (app: App) =>
    app.context(context).transaction(({ raise }) => {
      for (let n = 0; n < 20; n++) raise(Placed, { id: `k${n % 4}` })
    })
  return { bind, place }
}

const names = (contexts: number): string[] => Array.from({ length: contexts }, (_, n) => `c${n}`)

/** Statements of a process in a minute in which nothing happens, by its own clock. */
const idleMinute = async (apps: readonly App[]): Promise<number[]> => {
  const count = async (app: App): Promise<number> =>
    ((await app['~pabal'].open()).databases as unknown as { readonly queries: number }[]).reduce(
      (all, { queries }) => all + queries,
      0,
    )
  // Time itself is the subject here: nothing else could be waited for.
  await systemEnvironment.sleep(30_000 / times)
  const before = await Promise.all(apps.map(count))
  await systemEnvironment.sleep(60_000 / times)
  const after = await Promise.all(apps.map(count))
  return after.map((queries, n) => queries - before[n]!)
}

/** Processes that have handled something, and now have nothing to do. */
const idle = async (
  contexts: number,
  processes: number,
  options: PostgresOptions = {},
  through?: (url: string) => string,
): Promise<App[]> => {
  // A server of its own: what others write there is looked at too.
  const { pool, url } = await testDatabase(through === undefined ? await testServer() : undefined)
  const apps: App[] = []
  for (let n = 0; n < processes; n++) {
    const own = pool({ connectionString: through?.(url) ?? url })
    const all = names(contexts).map(contextNamed)
    const app = createApp({
      contexts: all.map(({ bind }) => bind(own, options)),
      environment: hurried(times),
      onWarning: () => {},
    })
    onTestFinished(() => app.stop())
    await app.start()
    for (const { place } of all) await place(app)
    apps.push(app)
  }
  await apps[0]!.settle()
  return apps
}

const missing = missingPostgres()
describe.skipIf(missing)(titled('an idle app on Postgres', missing), () => {
  test.each([
    [1, 1],
    [1, 3],
    [20, 2],
  ])('with %i contexts, in each of %i processes, asks fewer than 30 times a minute', async (contexts, processes) => {
    const all = await idleMinute(await idle(contexts, processes))
    for (const queries of all) expect(queries).toBeLessThan(30)
  })

  test('with 20 contexts, the same while others write on the server', async () => {
    const apps = await idle(20, 1)
    const stopped = new AbortController()
    const writing = (async () => {
      const { sql } = await testDatabase()
      await sql('CREATE TABLE other (n integer)')
      while (!stopped.signal.aborted) {
        await sql('INSERT INTO other VALUES (1)')
        await systemEnvironment.sleep(5, stopped.signal)
      }
    })()
    const [queries] = await idleMinute(apps)
    stopped.abort()
    await writing
    expect(queries).toBeLessThan(30)
  })

  test('numbers what another process has committed and told nobody', async () => {
    const { pool, url, sql } = await testDatabase(await testServer())
    const { bind } = contextNamed('c0')
    const app = createApp({
      contexts: [bind(pool({ connectionString: url }), {})],
      environment: hurried(times),
      onWarning: () => {},
    })
    onTestFinished(() => app.stop())
    await app.start()
    // Looked at twice and found done, before somebody appends and is gone.
    await systemEnvironment.sleep(15_000 / times)
    await sql(
      `WITH head AS (INSERT INTO pabal_c0.key_head (key, sequence) VALUES ('k', 1) RETURNING key, sequence)
       INSERT INTO pabal_c0.event (id, xid, event_id, key, sequence, slot, type, version, data, hops, time_ms)
       SELECT nextval('pabal_c0.event_id'), pg_current_xact_id()::text::bigint, gen_random_uuid(), key, sequence, 0, 'c0.order-placed', 1, '{"id":"k"}', 0, 0 FROM head`,
    )
    await eventually('it has a position', async () => {
      const [row] = await sql<{ n: number }>('SELECT count(*)::integer AS n FROM pabal_c0.run')
      return row!.n === 1
    })
  })
})

const missingPooler = missing ?? missingPgBouncer()
describe.skipIf(missingPooler)(titled('an idle app behind a pooler', missingPooler), () => {
  test('asks fewer than 90 times a minute and process', async () => {
    const { url } = await testDatabase()
    const bouncer = await startPgBouncer(url)
    onTestFinished(() => bouncer[Symbol.asyncDispose]())
    const all = await idleMinute(await idle(3, 2, { pooler: true }, (direct) => bouncer.url(direct)))
    for (const queries of all) expect(queries).toBeLessThan(90)
  })
})
