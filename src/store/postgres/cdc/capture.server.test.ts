import { type App, createApp, defineContext, defineEvent, isPabalError } from 'pabal'
import { kysely } from 'pabal/kysely'
import { type Capture, captureChanges, postgres, type SourceTransaction } from 'pabal/postgres'
import { cp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Pool as PgPool, type Pool } from 'pg'
import { afterAll, describe, expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import { startChild } from '../../../../test/support/child.ts'
import { eventually, gate } from '../../../../test/support/eventually.ts'
import {
  captureLegacyOrders,
  type LegacyCaptureOptions,
  legacyOrders,
  legacyTables,
  placeLegacyOrder,
  salesApp,
  translate,
} from '../../../../test/support/legacy-shop.ts'
import { missingPostgres, type TestDatabase, testDatabase, testServer } from '../../../../test/support/postgres.ts'
import { type PostgresOptions, type PostgresServer, startPostgres } from '../../../../test/support/postgres-server.ts'
import { titled } from '../../../../test/support/require-server.ts'

interface World {
  readonly server: PostgresServer
  readonly database: TestDatabase
  readonly pool: Pool
  readonly warnings: unknown[]
  readonly capture: (options?: LegacyCaptureOptions) => Capture
}

const slot = 'pabal_sales_legacy_orders'

const bounded = { max_slot_wal_keep_size: '1GB' }
let shared: Promise<PostgresServer> | undefined
afterAll(async () => (await shared)?.[Symbol.asyncDispose]())

/** On the server of this file, or on one of its own where options are given. */
const world = async (options?: PostgresOptions): Promise<World> => {
  shared ??= options === undefined ? startPostgres({ settings: bounded }) : undefined
  const server =
    options === undefined
      ? await shared!
      : await testServer({ ...options, settings: { ...bounded, ...options.settings } })
  const database = await testDatabase(server)
  await database.sql(legacyTables)
  const pool = database.pool()
  const app = salesApp(pool)
  onTestFinished(() => app.stop())
  const warnings: unknown[] = []
  const capture = (given: LegacyCaptureOptions = {}): Capture => {
    const handle = captureLegacyOrders(app, pool, { onWarning: (_what, error) => warnings.push(error), ...given })
    onTestFinished(() => handle.stop())
    return handle
  }
  return { server, database, pool, warnings, capture }
}

/** An app on another server than that which is captured. */
const salesAppOf = ({ database }: World): App => {
  const app = salesApp(database.pool())
  onTestFinished(() => app.stop())
  return app
}

/** The context's log, in the order of positions. */
const events = async ({ database }: World): Promise<string[]> => {
  const rows = await database.sql<{ event: string }>(
    `SELECT replace(type, 'sales.order-', '') || ' ' || key AS event FROM pabal_sales.event ORDER BY id`,
  )
  return rows.map(({ event }) => event)
}

const arrive = async (of: World, count: number): Promise<string[]> => {
  await eventually(`${count} events`, async () => (await events(of)).length >= count)
  return events(of)
}

/** Takes what the translator is given. */
const recorder = () => {
  const transactions: SourceTransaction<'orders' | 'order_line'>[] = []
  return {
    transactions,
    translate: (given: SourceTransaction<'orders' | 'order_line'>) => void transactions.push(given),
  }
}

const codeOf = (error: unknown): unknown => (isPabalError(error) ? error.code : error)
/** A walsender notices a moment later that nobody is there any more. */
const inactive = ({ database }: World): Promise<unknown> =>
  eventually('the slot is inactive', async () => {
    const [row] = await database.sql(`SELECT active FROM pg_replication_slots WHERE slot_name = '${slot}'`)
    return row?.['active'] === false
  })
const failure = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'none',
    (error: unknown) => error,
  )

const missing = missingPostgres()

describe.skipIf(missing)(titled('capture of legacy tables', missing), () => {
  test('what happened to real orders becomes events, and what only changed does not', async () => {
    const shop = await world()
    await shop.capture().start()
    const orders = await legacyOrders(20)
    for (const order of orders) await placeLegacyOrder(shop.pool, order)
    const [first, second] = orders
    await shop.database.sql(`UPDATE orders SET comment = 'call before delivery' WHERE id = $1`, [first!.id])
    await shop.database.sql(`UPDATE orders SET status = 'paid' WHERE id = $1`, [second!.id])
    await shop.database.sql(`UPDATE orders SET status = 'paid', comment = 'again' WHERE id = $1`, [second!.id])
    await shop.database.sql(`UPDATE orders SET status = 'paid' WHERE id = $1`, [first!.id])
    expect(await arrive(shop, 22)).toEqual([
      ...orders.map(({ id }) => `placed ${id}`),
      `paid ${second!.id}`,
      `paid ${first!.id}`,
    ])
    const [placed] = await shop.database.sql<{ data: string }>('SELECT data FROM pabal_sales.event ORDER BY id LIMIT 1')
    expect(JSON.parse(placed!.data)).toEqual({
      orderId: first!.id,
      customer: first!.customer,
      total: first!.total,
      lines: first!.lines.length,
    })
    expect(shop.warnings).toEqual([])
  })

  test('a transaction comes whole and in its order; one that rolls back does not come', async () => {
    const shop = await world()
    const { transactions, translate: record } = recorder()
    await shop.capture({ translate: record }).start()
    const [one, two] = [await shop.pool.connect(), await shop.pool.connect()]
    const insert = `INSERT INTO orders (id, customer, total, placed_at) VALUES ($1, 'c', 1, now())`
    await one.query('BEGIN')
    await two.query('BEGIN')
    await one.query(insert, ['a1'])
    await two.query(insert, ['b1'])
    await one.query('SAVEPOINT s')
    await one.query(insert, ['a-undone'])
    await one.query('ROLLBACK TO s')
    await two.query(insert, ['b2'])
    await one.query(`UPDATE orders SET id = 'a2' WHERE id = 'a1'`)
    await two.query('COMMIT')
    await one.query('COMMIT')
    await one.query('BEGIN')
    await one.query(insert, ['never'])
    await one.query('ROLLBACK')
    await one.query(`DELETE FROM orders WHERE id = 'b1'`)
    await one.query('TRUNCATE orders CASCADE')
    for (const client of [one, two]) client.release()
    await eventually('four transactions', () => transactions.length === 4)
    const told = transactions.map(({ changes }) =>
      changes.map(({ table, operation, before, after }) => [table, operation, before?.['id'], after?.['id']]),
    )
    expect(told).toEqual([
      [
        ['orders', 'insert', undefined, 'b1'],
        ['orders', 'insert', undefined, 'b2'],
      ],
      [
        ['orders', 'insert', undefined, 'a1'],
        ['orders', 'update', 'a1', 'a2'],
      ],
      [['orders', 'delete', 'b1', undefined]],
      [
        ['orders', 'truncate', undefined, undefined],
        ['order_line', 'truncate', undefined, undefined],
      ],
    ])
    const lsns = transactions.map(({ lsn }) => BigInt(`0x${lsn.replace('/', '').padStart(16, '0')}`))
    expect(lsns).toEqual(lsns.toSorted((a, b) => Number(a - b)))
    expect(transactions.every(({ committedAt }) => Math.abs(committedAt.getTime() - Date.now()) < 60_000)).toBe(true)
    expect(new Set(transactions.map(({ xid }) => xid)).size).toBe(4)
  })

  test('each type comes as the pool reads it, and a large value that has not changed is never taken for null', async () => {
    const shop = await world()
    await shop.database.sql(`
      CREATE TABLE typed (
        id bigint PRIMARY KEY, price numeric(20, 4), at timestamptz, day date, flag boolean, doc jsonb, raw json, tags text[],
        large text, "Näme ""x""" text, bytes bytea
      );
      ALTER TABLE typed ALTER COLUMN large SET STORAGE EXTERNAL`)
    const { transactions, translate: record } = recorder()
    const large = 'x'.repeat(20_000)
    const tables = ['typed'] as unknown as ['orders']
    await shop.capture({ tables, translate: record }).start()
    await shop.database.sql(
      `INSERT INTO typed VALUES (9007199254740993, 12345678901234.5678, '2026-03-01 12:00:00.123456+09', '2026-03-01', true,
         '{"b": [1, null]}', '{"a":1}', '{"x,y",NULL}', $1, '주문', '\\x00ff')`,
      [large],
    )
    await shop.database.sql(`UPDATE typed SET price = price + 1`)
    await shop.database.sql(`ALTER TABLE typed REPLICA IDENTITY FULL`)
    await shop.database.sql(`UPDATE typed SET price = price + 1`)
    await shop.database.sql(`UPDATE typed SET flag = NULL, id = 1`)
    await eventually('four transactions', () => transactions.length === 4)
    const [inserted, byKey, full, moved] = transactions.map(({ changes }) => changes[0]!)
    // As a query of the same pool gives it.
    const [row] = (await shop.pool.query('SELECT * FROM typed')).rows as Record<string, unknown>[]
    expect(inserted!.after).toEqual({
      ...row,
      id: '9007199254740993',
      price: '12345678901234.5678',
      flag: true,
      large,
      'Näme "x"': '주문',
    })
    expect(inserted!.after!['doc']).toEqual({ b: [1, null] })
    // By key only: nothing is known of before, nor of what was too large to be sent again.
    expect(byKey).toMatchObject({ before: undefined, unchanged: ['large'] })
    expect('large' in byKey!.after!).toBe(false)
    expect(byKey!.after!['price']).toBe('12345678901235.5678')
    // With all of the old row nothing is missing.
    expect(full).toMatchObject({ unchanged: [], before: { price: '12345678901235.5678', large } })
    expect(full!.after).toMatchObject({ price: '12345678901236.5678', large })
    expect(moved).toMatchObject({
      before: { id: '9007199254740993', flag: true },
      after: { id: '1', flag: null, large },
    })
  })

  test('without the old row an update of the key still tells the old key', async () => {
    const shop = await world()
    const { transactions, translate: record } = recorder()
    await shop.database.sql('ALTER TABLE orders REPLICA IDENTITY DEFAULT')
    await shop.capture({ translate: record }).start()
    await shop.database.sql(`INSERT INTO orders (id, customer, total, placed_at) VALUES ('1', 'c', 1, now())`)
    await shop.database.sql(`UPDATE orders SET id = '2'`)
    await shop.database.sql(`DELETE FROM orders`)
    await eventually('three transactions', () => transactions.length === 3)
    expect(transactions[1]!.changes[0]!.before).toEqual({ id: '1' })
    expect(transactions[2]!.changes[0]!.before).toEqual({ id: '2' })
  })

  test('a transaction of 10,000 rows comes as one, and is appended as one', async () => {
    const shop = await world()
    await shop.capture().start()
    await shop.database.sql(
      `INSERT INTO orders SELECT 'o' || n, 'c', 'open', n, now(), NULL FROM generate_series(1, 10000) AS n`,
    )
    const all = await arrive(shop, 10_000)
    expect(all).toEqual(Array.from({ length: 10_000 }, (_, n) => `placed o${n + 1}`))
    const [{ units }] = (await shop.database.sql<{ units: number }>(
      'SELECT count(DISTINCT xid)::int AS units FROM pabal_sales.event',
    )) as [{ units: number }]
    expect(units).toBe(1)
  })

  test('what is beyond `changesMax` stops the capture, and can be left out', async () => {
    const shop = await world()
    const capture = shop.capture({ changesMax: 100 })
    await capture.start()
    await shop.database.sql(
      `INSERT INTO orders SELECT 'o' || n, 'c', 'open', n, now(), NULL FROM generate_series(1, 101) AS n`,
    )
    await eventually('it is told', () => shop.warnings.length > 0)
    expect(String(shop.warnings[0])).toContain('has more than 100 changes; raise changesMax')
    const { failed } = await capture.status()
    await capture.skip(failed!.lsn, { reason: 'imported by hand' })
    await shop.database.sql(`INSERT INTO orders VALUES ('last', 'c', 'open', 1, now(), NULL)`)
    expect(await arrive(shop, 1)).toEqual(['placed last'])
  })

  test('a translator that throws stops everything behind it, visibly, until it is corrected', async () => {
    const shop = await world()
    let broken = true
    const capture = shop.capture({
      translate: (given, unit) => {
        translate(given, unit)
        if (broken && given.changes.some(({ after }) => after?.['id'] === '2')) throw new TypeError('no such status')
      },
    })
    await capture.start()
    for (const id of ['1', '2', '3'])
      await shop.database.sql(`INSERT INTO orders VALUES ('${id}', 'c', 'open', 1, now(), NULL)`)
    await eventually('it is told twice', () => shop.warnings.length >= 2)
    expect(await events(shop)).toEqual(['placed 1'])
    const [warning] = shop.warnings
    const status = await capture.status()
    expect(codeOf(warning)).toBe('PABAL_CAPTURE_STOPPED')
    expect(String(warning)).toContain(status.failed!.lsn)
    expect(status).toMatchObject({ failed: { error: 'TypeError: no such status' } })
    broken = false
    expect(await arrive(shop, 3)).toEqual(['placed 1', 'placed 2', 'placed 3'])
    expect((await capture.status()).failed).toBeUndefined()
  })

  test('a person leaves a transaction out by its place, with a reason; another one is refused', async () => {
    const shop = await world()
    const capture = shop.capture({
      translate: (given, unit) => {
        translate(given, unit)
        if (given.changes.some(({ after }) => after?.['id'] === '2')) throw new TypeError('no such status')
      },
    })
    await capture.start()
    for (const id of ['1', '2', '3'])
      await shop.database.sql(`INSERT INTO orders VALUES ('${id}', 'c', 'open', 1, now(), NULL)`)
    await eventually('it is told', () => shop.warnings.length > 0)
    expect(codeOf(await failure(capture.skip('0/1', { reason: 'a guess' })))).toBe('PABAL_PLAN_CHANGED')
    const { failed } = await capture.status()
    // By whichever process, also while nobody captures.
    await capture.stop()
    await capture.skip(failed!.lsn, { reason: 'a test order', by: 'kim' })
    await capture.start()
    expect(await arrive(shop, 2)).toEqual(['placed 1', 'placed 3'])
    const skipped = await shop.database.sql(
      'SELECT name, lsn::text, reason, by, error FROM pabal_sales.capture_skipped',
    )
    expect(skipped).toEqual([
      {
        name: 'legacy-orders',
        lsn: failed!.lsn,
        reason: 'a test order',
        by: 'kim',
        error: 'TypeError: no such status',
      },
    ])
  })

  test('the rows that are there already come first, once, and then what was committed since', async () => {
    const shop = await world()
    const orders = await legacyOrders(6)
    for (const order of orders.slice(0, 3)) await placeLegacyOrder(shop.pool, order)
    await shop.database.sql(`UPDATE orders SET status = 'paid' WHERE id = $1`, [orders[0]!.id])
    let attempts = 0
    const capture = shop.capture({
      startAt: 'snapshot',
      translate: async (given, unit) => {
        // Committed between the snapshot and the first look at the stream.
        if (attempts === 1) await placeLegacyOrder(shop.pool, orders[3]!)
        translate(given, unit)
        if (attempts++ === 0) throw new Error('the first try fails')
      },
    })
    expect(String(await failure(capture.start()))).toContain('the first try fails')
    const [left] = await shop.database.sql(`SELECT slot_name FROM pg_replication_slots WHERE slot_name = '${slot}'`)
    expect(left).toBeUndefined()
    await capture.start()
    for (const order of orders.slice(4)) await placeLegacyOrder(shop.pool, order)
    const all = await arrive(shop, 7)
    expect(all.slice(0, 4).toSorted()).toEqual(
      [`paid ${orders[0]!.id}`, ...orders.slice(0, 3).map(({ id }) => `placed ${id}`)].toSorted(),
    )
    expect(all.slice(4)).toEqual(orders.slice(3).map(({ id }) => `placed ${id}`))
  })

  test('a second process stands by, and takes over', async () => {
    const shop = await world()
    const [one, two] = [shop.capture(), shop.capture()]
    await one.start()
    await two.start()
    expect([(await one.status()).state, (await two.status()).state]).toEqual(['capturing', 'standby'])
    await shop.database.sql(`INSERT INTO orders VALUES ('1', 'c', 'open', 1, now(), NULL)`)
    await arrive(shop, 1)
    await one.stop()
    await shop.database.sql(`INSERT INTO orders VALUES ('2', 'c', 'open', 1, now(), NULL)`)
    expect(await arrive(shop, 2)).toEqual(['placed 1', 'placed 2'])
    expect((await two.status()).state).toBe('capturing')
  })

  test('a column that is added comes with the next change', async () => {
    const shop = await world()
    const { transactions, translate: record } = recorder()
    await shop.capture({ translate: record }).start()
    await shop.database.sql(`INSERT INTO orders VALUES ('1', 'c', 'open', 1, now(), NULL)`)
    await shop.database.sql(`ALTER TABLE orders ADD COLUMN channel text DEFAULT 'shop'`)
    await shop.database.sql(`UPDATE orders SET channel = 'web'`)
    await eventually('two transactions', () => transactions.length === 2)
    const [inserted, updated] = transactions.map(({ changes }) => changes[0]!)
    expect('channel' in inserted!.after!).toBe(false)
    expect(updated).toMatchObject({ before: { channel: 'shop' }, after: { channel: 'web' } })
  })

  test('in a context with Kysely as its handle, and with metadata of its own', async () => {
    const shop = await world()
    const Noted = defineEvent('audit.order-noted', { schema: z.object({ id: z.string() }), key: ({ id }) => id })
    const audit = defineContext('audit', {
      store: kysely<{ note: { id: string } }>,
      events: [Noted],
      metadata: z.object({ actor: z.string() }),
    })
    const app = createApp({
      contexts: [
        audit.with({
          store: kysely<{ note: { id: string } }>(postgres(shop.pool)),
          prepare: (tx) => tx.schema.createTable('note').ifNotExists().addColumn('id', 'text').execute(),
        }),
      ],
    })
    onTestFinished(() => app.stop())
    const capture = captureChanges(app.context(audit), {
      name: 'orders',
      pool: shop.pool,
      tables: ['orders'],
      startAt: 'now',
      metadata: ({ xid }) => ({ actor: `transaction ${xid}` }),
      translate: async ({ changes }, { tx, raise }) => {
        for (const { after } of changes) {
          const id = String(after?.['id'])
          await tx.insertInto('note').values({ id }).execute()
          raise(Noted, { id })
        }
      },
    })
    onTestFinished(() => capture.stop())
    await capture.start()
    await shop.database.sql(`INSERT INTO orders VALUES ('1', 'c', 'open', 1, now(), NULL)`)
    const [event] = await eventually('it is noted', async () => {
      const rows = await shop.database.sql('SELECT key, metadata FROM pabal_audit.event')
      return rows.length > 0 && rows
    })
    expect(event).toEqual({ key: '1', metadata: expect.stringMatching(/^\{"actor":"transaction \d+"\}$/) })
    expect(await shop.database.sql('SELECT id FROM note')).toEqual([{ id: '1' }])
  })

  test('what is committed while nobody captures comes later', async () => {
    const shop = await world()
    const capture = shop.capture()
    await capture.start()
    await capture.stop()
    await shop.database.sql(`INSERT INTO orders VALUES ('1', 'c', 'open', 1, now(), NULL)`)
    expect((await capture.status()).retainedBytes).toBeGreaterThan(0)
    await capture.start()
    expect(await arrive(shop, 1)).toEqual(['placed 1'])
  })
})

describe.skipIf(missing)(titled('a capture that is interrupted', missing), () => {
  const child = (shop: World, mode: string) =>
    startChild(
      {
        text: `
          import { Pool } from 'pg'
          import { captureLegacyOrders, salesApp, translate } from './test/support/legacy-shop.ts'
          const [url, mode] = process.argv.slice(1)
          const pool = new Pool({ connectionString: url })
          const app = salesApp(pool)
          const context = app.context
          if (mode === 'dies-after-commit')
            app.context = (definition) => {
              const running = context.call(app, definition)
              return { ...running, transaction: async (fn, options) => {
                let raised = false
                const result = await running.transaction((unit) => fn({ ...unit, tx: unit.tx, raise: (...given) => { raised = true; return unit.raise(...given) } }), options)
                if (raised) process.kill(process.pid, 'SIGKILL')
                return result
              } }
            }
          await captureLegacyOrders(app, pool).start()
          console.log('started')`,
      },
      shop.database.url,
      mode,
    )

  test('by SIGKILL between COMMIT and acknowledgement appends nothing twice', async () => {
    const shop = await world()
    for (const id of ['1', '2', '3']) {
      const dying = child(shop, 'dies-after-commit')
      await dying.said('started')
      await shop.database.sql(`INSERT INTO orders VALUES ('${id}', 'c', 'open', 1, now(), NULL)`)
      expect(await dying.ended).toBe(null)
      // Committed, and not acknowledged.
      expect((await events(shop)).at(-1)).toBe(`placed ${id}`)
      const [row] = await shop.database.sql(
        'SELECT confirmed_flush_lsn < lsn AS is_behind FROM pg_replication_slots, pabal_sales.capture',
      )
      expect(row).toEqual({ is_behind: true })
    }
    await shop.capture().start()
    await shop.database.sql(`INSERT INTO orders VALUES ('4', 'c', 'open', 1, now(), NULL)`)
    expect(await arrive(shop, 4)).toEqual(['placed 1', 'placed 2', 'placed 3', 'placed 4'])
  })

  test('again and again, under load, takes every order once and in order', async () => {
    const shop = await world()
    const orders = await legacyOrders(200)
    const first = shop.capture()
    await first.start()
    await first.stop()
    const state = { isPlacing: true }
    const placed = (async () => {
      for (const order of orders) {
        await placeLegacyOrder(shop.pool, order)
        await shop.database.sql(`UPDATE orders SET status = 'paid' WHERE id = $1`, [order.id])
      }
      state.isPlacing = false
    })()
    for (let kills = 0; state.isPlacing || kills < 3; kills++) {
      const dying = child(shop, 'plain')
      await dying.said('started')
      const seen = (await events(shop)).length
      await eventually('some are captured', async () => !state.isPlacing || (await events(shop)).length > seen + 5)
      await dying.kill()
    }
    await placed
    await shop.capture().start()
    expect(await arrive(shop, 400)).toEqual(orders.flatMap(({ id }) => [`placed ${id}`, `paid ${id}`]))
  })

  test('between two commits that touch each other in the log loses neither', async () => {
    const shop = await world()
    // Captured into another server, so that nothing is written between them.
    const elsewhere = await world({})
    const seen: string[] = []
    const { translate: record, transactions } = recorder()
    const capture = captureLegacyOrders(salesAppOf(elsewhere), shop.pool, {
      translate: (given) => {
        const id = String(given.changes[0]?.after?.['id'])
        seen.push(id)
        if (id === 'second' && seen.filter((each) => each === id).length === 1) throw new Error('not yet')
        record(given)
      },
    })
    onTestFinished(() => capture.stop())
    await capture.start()
    const [one, two] = [await shop.pool.connect(), await shop.pool.connect()]
    for (const [client, id] of [[one, 'first'] as const, [two, 'second'] as const]) {
      await client.query('BEGIN')
      await client.query(`INSERT INTO orders VALUES ($1, 'c', 'open', 1, now(), NULL)`, [id])
    }
    await Promise.all([one.query('COMMIT'), two.query('COMMIT')])
    for (const client of [one, two]) client.release()
    await eventually('both are captured', () => transactions.length === 2)
    expect(seen.toSorted()).toEqual(['first', 'second', 'second'])
  })

  test('while it translates, and taken over, appends once', async () => {
    const shop = await world()
    const held = gate()
    const reached = gate()
    const frozen = shop.capture({
      translate: async (given, unit) => {
        translate(given, unit)
        reached.open()
        await held.opened
      },
    })
    await frozen.start()
    await shop.database.sql(`INSERT INTO orders VALUES ('1', 'c', 'open', 1, now(), NULL)`)
    await reached.opened
    // The server believes it gone.
    await shop.database.sql('SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots')
    const successor = shop.capture()
    await eventually('another one takes over', async () => {
      await successor.start()
      return (await successor.status()).state === 'capturing'
    })
    await shop.database.sql(`INSERT INTO orders VALUES ('2', 'c', 'open', 1, now(), NULL)`)
    held.open()
    expect(await arrive(shop, 2)).toEqual(['placed 1', 'placed 2'])
    await frozen.stop()
    expect(await events(shop)).toEqual(['placed 1', 'placed 2'])
  })

  test('by a restart and by a crash of the server goes on where it was', async () => {
    const shop = await world({})
    await shop.capture().start()
    const insert = (id: string) => shop.database.sql(`INSERT INTO orders VALUES ('${id}', 'c', 'open', 1, now(), NULL)`)
    await insert('1')
    await arrive(shop, 1)
    await shop.server.restart()
    await insert('2')
    expect(await arrive(shop, 2)).toEqual(['placed 1', 'placed 2'])
    await insert('3')
    await shop.server.restart({ immediate: true })
    await insert('4')
    expect(await arrive(shop, 4)).toEqual(['placed 1', 'placed 2', 'placed 3', 'placed 4'])
    for (const warning of shop.warnings) expect(codeOf(warning)).not.toBe('PABAL_CHANGES_MISSING')
  })
})

describe.skipIf(missing)(titled('changes that may be missing', missing), () => {
  /** Captures one order, and stops. */
  const captured = async (options?: PostgresOptions): Promise<[World, Capture]> => {
    const shop = await world(options)
    const capture = shop.capture()
    await capture.start()
    await shop.database.sql(`INSERT INTO orders VALUES ('1', 'c', 'open', 1, now(), NULL)`)
    await arrive(shop, 1)
    await capture.stop()
    await inactive(shop)
    return [shop, capture]
  }
  const refused = async (capture: Capture, why: string): Promise<void> => {
    const error = await failure(capture.start())
    expect(codeOf(error)).toBe('PABAL_CHANGES_MISSING')
    expect(String(error)).toContain(why)
    expect(String(error)).toMatch(/All is captured up to [0-9A-F]+\/[0-9A-F]+ \(\d{4}-/)
  }

  test('a slot that was dropped is refused, and a person begins anew with a reason', async () => {
    const [shop, capture] = await captured()
    await shop.database.sql(`SELECT pg_drop_replication_slot('${slot}')`)
    await shop.database.sql(`INSERT INTO orders VALUES ('lost', 'c', 'open', 1, now(), NULL)`)
    await refused(capture, 'is not there any more')
    await capture.restart({ reason: 'entered by hand' })
    await capture.start()
    await shop.database.sql(`INSERT INTO orders VALUES ('2', 'c', 'open', 1, now(), NULL)`)
    expect(await arrive(shop, 2)).toEqual(['placed 1', 'placed 2'])
    const [row] = await shop.database.sql('SELECT what, reason FROM pabal_sales.capture_skipped')
    expect(row).toEqual({ what: 'everything until the next start', reason: 'entered by hand' })
  })

  test('a slot that was created anew is refused', async () => {
    const [shop, capture] = await captured()
    await shop.database.sql(`SELECT pg_drop_replication_slot('${slot}')`)
    await shop.database.sql(`INSERT INTO orders VALUES ('lost', 'c', 'open', 1, now(), NULL)`)
    await shop.database.sql(`SELECT pg_create_logical_replication_slot('${slot}', 'pgoutput')`)
    await refused(capture, 'it was created anew, or somebody else has read from it')
  })

  test('a slot that somebody else has read from is refused', async () => {
    const [shop, capture] = await captured()
    await shop.database.sql(`INSERT INTO orders VALUES ('lost', 'c', 'open', 1, now(), NULL)`)
    await shop.database.sql(`SELECT pg_replication_slot_advance('${slot}', pg_current_wal_lsn())`)
    await refused(capture, 'somebody else has read from it')
  })

  test('a slot that the server has given up is refused', async () => {
    const [shop, capture] = await captured({
      settings: { max_slot_wal_keep_size: '1MB', max_wal_size: '32MB', min_wal_size: '32MB' },
    })
    await shop.database.sql('CREATE TABLE noise (t text)')
    await eventually('the slot is lost', async () => {
      await shop.database.sql(`INSERT INTO noise SELECT repeat('x', 1000) FROM generate_series(1, 20000)`)
      await shop.database.sql('SELECT pg_switch_wal()')
      await shop.database.sql('CHECKPOINT')
      const [row] = await shop.database.sql(`SELECT wal_status FROM pg_replication_slots WHERE slot_name = '${slot}'`)
      return row!['wal_status'] === 'lost'
    })
    await refused(capture, 'has given up the slot')
  })

  test('a slot that is lost while changes are read is told of, and nothing goes on', async () => {
    const [shop, capture] = await captured()
    await capture.start()
    await eventually('the slot is dropped', () =>
      shop.database
        .sql(`SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots`)
        .then(() => shop.database.sql(`SELECT pg_drop_replication_slot('${slot}')`))
        .then(
          () => true,
          () => false,
        ),
    )
    await eventually('it is told', () => shop.warnings.some((warning) => codeOf(warning) === 'PABAL_CHANGES_MISSING'))
    await shop.database.sql(`INSERT INTO orders VALUES ('lost', 'c', 'open', 1, now(), NULL)`)
    expect(await events(shop)).toEqual(['placed 1'])
  })

  test.each([
    ['dropped', `DROP PUBLICATION ${slot}`],
    ['altered', `ALTER PUBLICATION ${slot} DROP TABLE orders`],
    ['of fewer operations', `ALTER PUBLICATION ${slot} SET (publish = 'insert')`],
  ])('a publication that is %s is refused', async (_, statement) => {
    const [shop, capture] = await captured()
    await shop.database.sql(statement)
    await refused(capture, 'publication')
  })

  test('a publication that is dropped while changes are read stops the capture before it passes over anything', async () => {
    const [shop, capture] = await captured()
    await capture.start()
    await shop.database.sql(`DROP PUBLICATION ${slot}`)
    await shop.database.sql(`INSERT INTO orders VALUES ('lost', 'c', 'open', 1, now(), NULL)`)
    await eventually('it is told', () => shop.warnings.some((warning) => codeOf(warning) === 'PABAL_CHANGES_MISSING'))
    expect(await events(shop)).toEqual(['placed 1'])
  })

  describe('after a failover', () => {
    const insert = ({ database }: World, id: string) =>
      database.sql(`INSERT INTO orders VALUES ('${id}', 'c', 'open', 1, now(), NULL)`)
    /** As a standby that takes over: recovery ends where the log ends, and the server goes on in a new timeline. */
    const promoted = { settings: { restore_command: 'false' } }

    const takenOver = async (pool: Pool): Promise<void> => {
      await eventually('it has taken over', async () => {
        const { rows } = await pool.query('SELECT pg_is_in_recovery() AS is_standby')
        return !(rows[0] as { is_standby: boolean }).is_standby
      })
      const { rows } = await pool.query('SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8) AS timeline')
      expect(rows).toEqual([{ timeline: '00000002' }])
    }

    test('to a server that has everything, the capture goes on', async () => {
      const [shop, capture] = await captured(promoted)
      await insert(shop, '2')
      await shop.server.stop()
      await writeFile(join(shop.server.dataFolder, 'recovery.signal'), '')
      await shop.server.start()
      await takenOver(shop.pool)
      await capture.start()
      await insert(shop, '3')
      expect(await arrive(shop, 3)).toEqual(['placed 1', 'placed 2', 'placed 3'])
      await capture.stop()
      await capture.start()
    })

    test('to a server that lacks something, it is refused', async () => {
      const shop = await world(promoted)
      const elsewhere = await world()
      const capture = captureLegacyOrders(salesAppOf(elsewhere), shop.pool)
      await capture.start()
      await insert(shop, '1')
      await arrive(elsewhere, 1)
      await capture.stop()
      await inactive(shop)
      await shop.server.stop()
      const copy = `${shop.server.dataFolder}-copy`
      await cp(shop.server.dataFolder, copy, { recursive: true })
      onTestFinished(() => rm(copy, { recursive: true, force: true }))
      await shop.server.start()
      await capture.start()
      for (let n = 2; n < 20; n++) await insert(shop, String(n))
      await arrive(elsewhere, 19)
      await capture.stop()
      await shop.server.stop()
      await rm(join(copy, 'postmaster.pid'), { force: true })
      await writeFile(join(copy, 'recovery.signal'), '')
      const successor = await testServer({ ...promoted, dataFolder: copy })
      const pool = new PgPool({ connectionString: successor.url(shop.database.name) })
      onTestFinished(() => pool.end())
      await takenOver(pool)
      const other = captureLegacyOrders(salesAppOf(elsewhere), pool)
      await refused(other, 'it is an older copy')
      await pool.query(
        `INSERT INTO orders SELECT 'other' || n, 'c', 'open', 1, now(), NULL FROM generate_series(1, 1000) n`,
      )
      await refused(other, 'it lacks transactions that were captured')
      // Its database is dropped when the test ends.
      await shop.server.start()
    })
  })

  test('a slot of the same name that the context knows nothing of is refused', async () => {
    const shop = await world()
    await shop.database.sql(`SELECT pg_create_logical_replication_slot('${slot}', 'pgoutput')`)
    expect(codeOf(await failure(shop.capture().start()))).toBe('PABAL_CHANGES_MISSING')
  })
})

describe.skipIf(missing)(titled('a server that gives no changes', missing), () => {
  test('because its wal_level is not logical is refused, with one clear error', async () => {
    const shop = await world({ settings: { wal_level: 'replica' } })
    const error = await failure(shop.capture().start())
    expect(codeOf(error)).toBe('PABAL_REPLICATION_UNAVAILABLE')
    expect(String(error)).toContain('wal_level is replica, not logical')
  })

  test('to a role without REPLICATION is refused, and so is one whose slots are all in use', async () => {
    const shop = await world({ settings: { max_replication_slots: '1' } })
    await shop.database.sql('CREATE ROLE plain LOGIN')
    const pool = new PgPool({ connectionString: shop.database.url.replace('postgres@', 'plain@') })
    onTestFinished(() => pool.end())
    const error = await failure(shop.capture({ pool }).start())
    expect(codeOf(error)).toBe('PABAL_REPLICATION_UNAVAILABLE')
    expect(String(error)).toContain('permission denied to start WAL sender')
    await shop.database.sql(`SELECT pg_create_logical_replication_slot('other', 'pgoutput')`)
    expect(String(await failure(shop.capture().start()))).toContain('all replication slots are in use')
  })

  test('for a table without a key, whose updates a publication would break, is refused before there is one', async () => {
    const shop = await world()
    await shop.database.sql('ALTER TABLE order_line DROP CONSTRAINT order_line_pkey')
    const error = await failure(shop.capture().start())
    expect(codeOf(error)).toBe('PABAL_REPLICATION_UNAVAILABLE')
    expect(String(error)).toContain('order_line has no primary key; ALTER TABLE order_line REPLICA IDENTITY FULL')
    expect(await shop.database.sql('SELECT pubname FROM pg_publication')).toEqual([])
  })

  test('because another database of it has a slot of that name is refused; `slot` names another one', async () => {
    const shop = await world()
    const other = await world()
    await shop.capture().start()
    const error = await failure(other.capture().start())
    expect(codeOf(error)).toBe('PABAL_REPLICATION_UNAVAILABLE')
    expect(String(error)).toContain('name another one with `slot`')
    await other.capture({ slot: 'pabal_sales_other' }).start()
  })

  test('for a table that is not there is refused', async () => {
    const shop = await world()
    await shop.database.sql('DROP TABLE order_line')
    expect(String(await failure(shop.capture().start()))).toContain('there is no table order_line')
  })
})

const missingOldest = missingPostgres(14)

describe.skipIf(missingOldest)(titled('on Postgres 14', missingOldest), () => {
  test('real orders are captured, and a publication that is dropped stops the capture', async () => {
    const shop = await world({ version: 14 })
    const orders = await legacyOrders(5)
    await placeLegacyOrder(shop.pool, orders[0]!)
    const capture = shop.capture({ startAt: 'snapshot' })
    await capture.start()
    for (const order of orders.slice(1)) await placeLegacyOrder(shop.pool, order)
    expect(await arrive(shop, 5)).toEqual(orders.map(({ id }) => `placed ${id}`))
    await shop.database.sql(`DROP PUBLICATION ${slot}`)
    await shop.database.sql(`INSERT INTO orders VALUES ('lost', 'c', 'open', 1, now(), NULL)`)
    await eventually('it is told', () => shop.warnings.some((warning) => codeOf(warning) === 'PABAL_CHANGES_MISSING'))
    await capture.stop()
    await inactive(shop)
    await shop.database.sql(`SELECT pg_drop_replication_slot('${slot}')`)
    expect(String(await failure(capture.start()))).toContain('is not there any more')
  })
})

describe.skipIf(missing)(titled('the slot of a capture', missing), () => {
  test('keeps no log while its tables are quiet and others are not', async () => {
    const shop = await world()
    await shop.capture().start()
    await shop.database.sql('CREATE TABLE noise (t text)')
    const [{ from }] = (await shop.database.sql<{ from: string }>(
      'SELECT restart_lsn::text AS from FROM pg_replication_slots',
    )) as [{ from: string }]
    await eventually('the slot follows', async () => {
      await shop.database.sql(`INSERT INTO noise SELECT repeat('x', 1000) FROM generate_series(1, 5000)`)
      await shop.database.sql('CHECKPOINT')
      const [row] = await shop.database.sql<{ moved: number; behind: number }>(
        `SELECT pg_wal_lsn_diff(restart_lsn, '${from}')::int AS moved,
           pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::int AS behind FROM pg_replication_slots`,
      )
      return row!.moved > 40_000_000 && row!.behind < 20_000_000
    })
  })

  test('is told of when nothing bounds what it may keep', async () => {
    const shop = await world({ settings: { max_slot_wal_keep_size: '-1' } })
    await shop.capture().start()
    expect(shop.warnings).toEqual([expect.stringContaining('max_slot_wal_keep_size is -1')])
  })

  test('waits for open transactions of the server, and says so', async () => {
    const shop = await world()
    const client = await shop.pool.connect()
    await client.query('BEGIN')
    await client.query('CREATE TABLE open_for_long (x int)')
    const started = shop.capture().start()
    await eventually('it is told', () =>
      shop.warnings.some((warning) => String(warning).includes('waits for transactions')),
    )
    await client.query('COMMIT')
    client.release()
    await started
  })
})
