/** Connections: those of the pool come back clean, are given up when they are lost, and end no process; P1 whatever a unit does with its own. */

import { AsyncLocalStorage } from 'node:async_hooks'
import { type App, createApp } from 'pabal'
import { fromPg, type PostgresOptions, postgres } from 'pabal/postgres'
import type { PoolConfig } from 'pg'
import { describe, expect, onTestFinished, test } from 'vitest'
import { on, statement } from '../../../src/store/postgres/connection.ts'
import { eventually, gate } from '../../support/eventually.ts'
import { missingPostgres, testServer } from '../../support/postgres.ts'
import { titled } from '../../support/require-server.ts'
import { realOrders } from '../world.ts'
import { type Order, OrderPlaced, OrderPlacedV1, openShop, ordering, shipping } from './shop.ts'
import {
  expectNothingOpen,
  expectWhole,
  placeAll,
  plainPool,
  proxyTo,
  settled,
  testWorld,
  type World,
} from './world.ts'

type Handlers = NonNullable<Parameters<typeof ordering.with>[0]['handlers']>

/** `ordering` alone, with other handlers. */
const orderingApp = (
  world: World,
  {
    pool = {},
    handlers = [],
    options = {},
  }: { pool?: PoolConfig; handlers?: Handlers; options?: PostgresOptions } = {},
) => {
  const own = plainPool({ connectionString: world.ordering.url, ...pool })
  const app = createApp({
    onWarning: () => {},
    contexts: [ordering.with({ store: postgres(own, options), handlers })],
  })
  onTestFinished(() => app.stop())
  return { app, pool: own, context: app.context(ordering) }
}

const backends = ({ ordering: { sql, name } }: World, which = 'true') =>
  sql<{ pid: number }>(
    `SELECT pid FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND ${which}`,
    [name],
  )

const aState = `INSERT INTO state (request, id) VALUES ($1, 'x')`
const states = async ({ ordering: { sql } }: World): Promise<string[]> =>
  (await sql<{ request: string }>('SELECT request FROM state ORDER BY request')).map(({ request }) => request)

const order: Order = { orderId: '17850', n: 1 }

const missing = missingPostgres()
describe.skipIf(missing)(titled('connections to Postgres', missing), () => {
  test('one that is ended in the moment in which it is there ends nobody', async () => {
    const world = await testWorld()
    const { proxy, pool } = await proxyTo(world.ordering)
    const app = world.app({ pools: { ordering: { ...pool, application_name: 'pooled', idleTimeoutMillis: 1 } } })
    const context = app.context(ordering)
    await context.read(({ tx }) => tx.query('SELECT 1'))
    const pooled = (state: string) => backends(world, `application_name = 'pooled' AND state ${state}`)
    await eventually('the pool is empty', async () => (await pooled('IS NOT NULL')).length === 0)

    // What the server says to the new connection is held, and what it says at its end comes with it.
    proxy.delay(100)
    const reading = context.read(({ tx }) => tx.query('SELECT 1'))
    reading.catch(() => {})
    const [backend] = await eventually('the server has it', async () => {
      const found = await pooled(`= 'idle'`)
      return found.length === 1 && found
    })
    proxy.freeze()
    proxy.delay(0)
    await world.ordering.sql('SELECT pg_terminate_backend($1, 5000)', [backend!.pid])
    proxy.thaw()
    await expect(reading).rejects.toMatchObject({ code: 'PABAL_STORE_UNREACHABLE' })
    await context.read(({ tx }) => tx.query('SELECT 1'))
    await expectNothingOpen(world)
  })

  test('a process that falls silent loses a transaction of pabal, not one of the user', async () => {
    const world = await testWorld()
    const app = world.app()
    const timeout = `SELECT current_setting('idle_in_transaction_session_timeout') AS set`
    const { rows } = await app.context(ordering).transaction(({ tx }) => tx.query<{ set: string }>(timeout))
    expect(rows).toEqual([{ set: '0' }])
    const { database } = (await app['~pabal'].open()).runtimes.get('ordering')!
    // Whoever is silent in it for longer has it ended, and what it has locked is free.
    const bounded = (silentMs?: number) =>
      database.transaction(
        async (session) => {
          const [[pid] = []] = await on(session).rows(statement('SELECT pg_backend_pid()'), [])
          await on(session).rows(statement('SELECT pg_advisory_xact_lock(4711)'), [])
          const isGone = async () => (await backends(world, `pid = ${Number(pid)}`)).length === 0
          if (silentMs !== undefined) await eventually('the server has ended it', isGone)
          return on(session).rows(statement(timeout), [])
        },
        silentMs === undefined ? {} : { silentMs },
      )
    expect(await bounded()).toEqual([['15s']])
    await expect(bounded(100)).rejects.toMatchObject({ code: 'PABAL_ROLLED_BACK' })
    await world.ordering.sql('SELECT pg_advisory_xact_lock(4711)')
  })

  test('idle ones may end at any time', async () => {
    const world = await testWorld()
    const app = world.app()
    await app.start()
    await placeAll(app, 0, 5)
    for (let round = 1; round <= 5; round++) {
      await settled(world)
      for (const { sql, name } of [world.ordering, world.shipping])
        await sql(
          'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()',
          [name],
        )
      await placeAll(app, round * 5, round * 5 + 5)
    }
    await settled(world)
    await expectWhole(world)
  })

  test('one is enough for a unit and all that is nested in it; who asks for another meanwhile is refused in time', async () => {
    const world = await testWorld()
    const { context } = orderingApp(world, { pool: { max: 1, connectionTimeoutMillis: 200 } })
    const elsewhere = AsyncLocalStorage.snapshot()
    await context.transaction(async ({ tx, raise }) => {
      await tx.query(aState, ['outer'])
      await context.transaction(async (inner) => {
        await inner.tx.query(aState, ['inner'])
        expect((await context.read((view) => view.tx.query('SELECT request FROM state'))).rowCount).toBe(2)
      })
      await expect(
        elsewhere(() => context.transaction(({ tx: other }) => other.query(aState, ['other']))),
      ).rejects.toMatchObject({ code: 'PABAL_STORE_BUSY', retryable: true })
      raise(OrderPlaced, order)
    })
    expect(await states(world)).toEqual(['inner', 'outer'])
    expect(await world.log()).toHaveLength(1)
    await expectNothingOpen(world)
  })

  test('two are enough for both contexts and all of their handlers, also when the log begins another life', async () => {
    const world = await testWorld()
    const open = (): App => {
      const pool = plainPool({ connectionString: world.ordering.url, max: 2, connectionTimeoutMillis: 5_000 })
      const app = openShop({ ordering: pool, shipping: pool, calls: world.calls, app: { onWarning: () => {} } })
      onTestFinished(() => app.stop({ graceMs: 100 }))
      return app
    }
    const both = { ...world, shipping: world.ordering }
    const app = open()
    await app.start()
    await placeAll(app, 0, 10)
    await settled(both)
    await app.stop()
    // As after a move to another server: every head of the inbox is compared with the log.
    await world.ordering.sql(`SELECT pabal_ordering.resync('another')`)
    const again = open()
    await again.start()
    await placeAll(again, 10, 20)
    await settled(both)
  })

  test('two are enough for any number of consumers that compare what they have applied with the log', async () => {
    const world = await testWorld()
    const consumers = ['first', 'second', 'third', 'fourth']
    const open = (): App => {
      const pool = plainPool({ connectionString: world.ordering.url, max: 2, connectionTimeoutMillis: 5_000 })
      const handlers = consumers.map((name) =>
        shipping.consume(OrderPlacedV1, name, ({ id, key, sequence }, { tx }) =>
          tx.query('INSERT INTO ledger (consumer, event_id, key, sequence, by) VALUES ($1, $2, $3, $4, $5)', [
            name,
            id,
            key,
            sequence,
            'test',
          ]),
        ),
      )
      const contexts = [ordering.with({ store: postgres(pool) }), shipping.with({ store: postgres(pool), handlers })]
      const app = createApp({ onWarning: () => {}, contexts })
      onTestFinished(() => app.stop({ graceMs: 100 }))
      return app
    }
    const placeMany = (app: App) =>
      app.context(ordering).transaction(({ raise }) => {
        for (let n = 0; n < 20; n++) raise(OrderPlaced, { orderId: String(n), n })
      })
    const entered = (count: number) =>
      eventually(`${count} are entered`, async () => {
        const [row] = await world.ordering.sql<{ n: number }>('SELECT count(*)::integer AS n FROM ledger')
        return row!.n === count
      })
    const app = open()
    await app.start()
    await placeMany(app)
    await entered(80)
    await app.stop()
    await world.ordering.sql(`SELECT pabal_ordering.resync('another')`)
    const again = open()
    await again.start()
    await placeMany(again)
    await entered(160)
  })

  test.each([true, false])(
    'a unit that swallows an error of a statement is rolled back, and nothing is told (pipelined: %s)',
    async (pipeline) => {
      const world = await testWorld()
      const told: string[] = []
      const { context } = orderingApp(world, {
        pool: { max: 1, pipeline },
        handlers: [ordering.on(OrderPlaced, 'tell', ({ id }) => told.push(id), { phase: 'after-commit' })],
      })
      await context.transaction(({ tx }) => tx.query(aState, ['there']))
      const swallow = (then: (query: () => Promise<unknown>) => Promise<unknown>) =>
        context.transaction(async ({ tx, raise }) => {
          await tx.query(aState, ['new'])
          await tx.query(aState, ['there']).catch(() => {})
          await then(() => tx.query(aState, ['more']))
          raise(OrderPlaced, order)
        })
      const rolledBack = { code: 'PABAL_ROLLED_BACK' }
      await expect(swallow(async () => {})).rejects.toMatchObject(rolledBack)
      await expect(swallow((query) => query())).rejects.toMatchObject({
        code: expect.stringMatching(/25P02|ROLLED_BACK/),
      })
      await expect(swallow((query) => query().catch(() => {}))).rejects.toMatchObject(rolledBack)
      // Without an event it is the server's answer to COMMIT that tells.
      await expect(
        context.transaction(async ({ tx }) => void (await tx.query(aState, ['there']).catch(() => {}))),
      ).rejects.toMatchObject(rolledBack)
      expect(await states(world)).toEqual(['there'])
      expect(await world.log()).toEqual([])
      await context.transaction(({ raise }) => raise(OrderPlaced, order))
      await eventually('the next one is told', () => told.length === 1)
      await expectNothingOpen(world)
    },
  )

  test.each([true, false])(
    'a statement that nobody waits for is in the unit, or is refused: never behind it (pipelined: %s)',
    async (pipeline) => {
      const world = await testWorld()
      const { context } = orderingApp(world, { pool: { max: 1, pipeline } })
      // Only inside of a transaction may a cursor be declared.
      const declare = 'DECLARE unawaited CURSOR FOR SELECT 1'
      const outcomes: Promise<unknown>[] = []
      const forget = (sent: Promise<unknown>): void => {
        outcomes.push(
          sent.then(
            () => 'done',
            (error: unknown) => (error as { code?: string }).code,
          ),
        )
      }
      for (let round = 0; round < 3; round++) {
        await context.transaction(({ tx }) => forget(tx.query(declare)))
        await context.transaction(async ({ tx }) => {
          await tx.query('SELECT 1')
          forget(tx.query(declare))
        })
        await context.transaction(({ tx, raise }) => {
          forget(tx.query(declare))
          raise(OrderPlaced, order)
        })
        await expect(
          context.transaction(({ tx }) => {
            forget(tx.query(aState, [`undone-${round}`]))
            throw new Error('no')
          }),
        ).rejects.toThrow('no')
        await expect(
          context.transaction(async ({ tx }) => {
            await tx.query('SELECT 1')
            forget(tx.query('SELECT 1 / 0'))
          }),
        ).rejects.toMatchObject({ code: 'PABAL_ROLLED_BACK' })
        await context.read(({ tx }) => forget(tx.query('SELECT 1')))
        await expectNothingOpen(world, 2_000)
      }
      for (const outcome of await Promise.all(outcomes))
        expect(outcome).toMatch(/^(done|PABAL_UNIT_CLOSED|PABAL_ROLLED_BACK|22012|25P02)$/)
      expect(await states(world)).toEqual([])
      expect(await world.log()).toHaveLength(3)
      await expectNothingOpen(world)
    },
  )

  test('who waits for a lock for too long is told that the store is busy, and only its key waits', async () => {
    const world = await testWorld()
    const [first, second] = (await realOrders(30)).filter(
      ({ orderId }, index, all) => all.findIndex((other) => other.orderId === orderId) === index,
    ) as [Order, Order]
    await world.ordering.sql(`INSERT INTO total VALUES ('${first.orderId}', 0), ('${second.orderId}', 0)`)
    const { app, context } = orderingApp(world, {
      pool: { options: '-c lock_timeout=200' },
      options: { lockTimeoutMs: 200 },
      handlers: [
        ordering.on(
          OrderPlaced,
          'count',
          ({ key }, { tx }) => tx.query('UPDATE total SET events = events + 1 WHERE consumer = $1', [key]),
          { retry: { attempts: 1_000, first: 20, max: 20 } },
        ),
      ],
    })
    const counted = async (key: string) =>
      (await world.ordering.sql<{ events: number }>('SELECT events FROM total WHERE consumer = $1', [key]))[0]!.events
    const holder = await plainPool({ connectionString: world.ordering.url }).connect()
    await holder.query('BEGIN')
    await holder.query('SELECT 1 FROM total WHERE consumer = $1 FOR UPDATE', [first.orderId])
    await expect(
      context.transaction(({ tx }) => tx.query('DELETE FROM total WHERE consumer = $1', [first.orderId])),
    ).rejects.toMatchObject({ code: 'PABAL_STORE_BUSY', retryable: true })

    await app.start()
    await context.transaction(({ raise }) => {
      raise(OrderPlaced, first)
      raise(OrderPlaced, second)
    })
    await eventually('the other key is counted', async () => (await counted(second.orderId)) === 1)
    await holder.query('COMMIT')
    holder.release()
    await eventually('the key is counted', async () => (await counted(first.orderId)) === 1)
    await app.settle({ withinMs: 10_000 })
    await expectNothingOpen(world)
  })

  test('those of units that end in any way are free again, and clean', async () => {
    const world = await testWorld()
    const { context, pool } = orderingApp(world, { pool: { max: 2 } })
    await context.transaction(({ tx }) => tx.query(aState, ['there']))
    const ways: (() => Promise<unknown>)[] = [
      () => context.transaction(({ tx }) => tx.query(aState, ['there'])),
      () => context.transaction(({ tx }) => tx.query('SELECT 1 / 0')),
      () => context.transaction(({ tx }) => tx.query('nonsense')),
      () => context.transaction(({ tx }) => tx.query('COMMIT')),
      () => context.transaction(({ tx }) => tx.query('SELECT 1; SELECT 2', ['x'])),
      () => context.read(({ tx }) => tx.query(`INSERT INTO state VALUES ('read', 'x')`)),
      () => context.transaction(({ tx }) => tx.query('SELECT pg_terminate_backend(pg_backend_pid())')),
      () =>
        context.transaction(async ({ tx }) => {
          await tx.query(aState, ['undone'])
          throw new Error('no')
        }),
    ]
    await Promise.all(
      Array.from({ length: 6 }, () => ways)
        .flat()
        .map((way) => expect(way()).rejects.toBeInstanceOf(Error)),
    )
    expect(await states(world)).toEqual(['there'])
    expect(pool.totalCount).toBeLessThanOrEqual(2)
    expect(pool.idleCount).toBe(pool.totalCount)
    expect(pool.waitingCount).toBe(0)
    await expectNothingOpen(world)
    await context.transaction(({ tx }) => tx.query(aState, ['again']))
  })

  test('a joined transaction needs no second one, and is known again after a restart of the server', async () => {
    const server = await testServer()
    const world = await testWorld(server)
    const { context, pool } = orderingApp(world, { pool: { max: 1, connectionTimeoutMillis: 2_000 } })
    await context.read(({ tx }) => tx.query('SELECT 1'))
    const join = async (): Promise<void> => {
      const client = await pool.connect()
      try {
        await client.query('BEGIN')
        await context.join(fromPg(client), ({ raise }) => raise(OrderPlaced, order))
        await client.query('COMMIT')
      } catch (error) {
        await client.query('ROLLBACK')
        throw error
      } finally {
        client.release()
      }
    }
    await join()
    await server.restart()
    await eventually('it is there again', () => context.read(({ tx }) => tx.query('SELECT 1')).catch(() => undefined))
    await join()
    await eventually('both are in the log', async () => (await world.log().catch(() => [])).length === 2)
  })

  test('what a process does at its end waits for a unit that is open, and leaves nothing behind', async () => {
    const world = await testWorld()
    const { app, context } = orderingApp(world)
    const [begun, goOn] = [gate(), gate()]
    const unit = context.transaction(async ({ tx, raise }) => {
      await tx.query(aState, ['late'])
      begun.open()
      await goOn.opened
      raise(OrderPlaced, order)
    })
    await begun.opened
    const stopped = app.stop()
    goOn.open()
    await Promise.all([unit, stopped])
    expect(await states(world)).toEqual(['late'])
    expect(await world.log()).toHaveLength(1)
    const [given] = await world.ordering.sql('SELECT sum(events)::integer AS positions FROM pabal_ordering.run')
    expect(given).toEqual({ positions: 1 })
    await expectNothingOpen(world)
  })
})
