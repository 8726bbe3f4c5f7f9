/** The world in which the guarantees are tried on Postgres: real orders, two contexts with a database each, processes that handle. */

import { type App, type Environment, systemEnvironment } from 'pabal'
import { postgres } from 'pabal/postgres'
import type { Awaitable } from '../../../src/core/awaitable.ts'
import type { StoredEvent } from '../../../src/event/envelope.ts'
import type { ContextStore, Database, Session } from '../../../src/store/store.ts'
import { isPabalError } from '../../../src/core/errors.ts'
import { Pool, type PoolConfig } from 'pg'
import { expect, onTestFailed, onTestFinished } from 'vitest'
import { type Child, startChild } from '../../support/child.ts'
import { eventually } from '../../support/eventually.ts'
import { testFolder } from '../../support/folder.ts'
import { testDatabase, type TestDatabase } from '../../support/postgres.ts'
import type { PostgresServer } from '../../support/postgres-server.ts'
import { type FaultProxy, faultProxy } from '../../support/tcp-fault.ts'
import type { LedgerRow } from '../../support/shop.ts'
import { type Call, callsOf, expectGapless, none, realOrders, violations } from '../world.ts'
import { seeded } from './seeded.ts'
import { type Conduct, type Consumer, OrderPaid, OrderPlaced, openShop, place, tables } from './shop.ts'
import type { WorkerOptions } from './worker.ts'

/** Long forms run for so long; 0: the short form. */
export const soakSeconds = Number(process.env['PABAL_SOAK'] ?? 0)

/** Chance of the running test: its seed is printed when the test fails, and PABAL_SEED gives it again. */
export const testRandom = (): (() => number) => {
  const seed = Number(process.env['PABAL_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
  onTestFailed(() => console.error(`the faults were chosen with PABAL_SEED=${seed}`))
  return seeded(seed)
}

export interface Worker extends Child {
  /** Its names in leases, one for each database. */
  readonly owners: readonly string[]
  /** Lines of what it warned of. */
  readonly warnings: readonly string[]
  /** Lets it stop in order. */
  stop(): Promise<void>
}

export interface World {
  readonly ordering: TestDatabase
  readonly shipping: TestDatabase
  readonly calls: string
  /** A process that handles. It has started when this resolves. */
  worker(by: string, options?: Partial<WorkerOptions>): Promise<Worker>
  /** The same app in this process; stopped with the test. */
  app(options?: Partial<Conduct> & AppOptions): App
  /** The log of `ordering`, with all that was committed before. */
  log(): Promise<StoredEvent[]>
  /** The same, for other questions. */
  look<R>(ask: (store: ContextStore, session: Session) => Awaitable<R>): Promise<R>
  /** In the order of application. */
  ledger(consumer: Consumer): Promise<Entry[]>
  /** What was called outside. */
  called(): readonly (Call & { readonly by: string })[]
}

/** `at_ms` is by the server's clock, as leases are. */
interface Entry extends LedgerRow {
  readonly by: string
  readonly at_ms: number
}

interface AppOptions {
  readonly pools?: { readonly ordering?: PoolConfig; readonly shipping?: PoolConfig }
  readonly queryTimeoutMs?: number
  readonly leaseMs?: number
  readonly warnings?: string[]
  readonly environment?: Environment
}

type Servers = Pick<PostgresServer, 'url'>

/** A new world on the shared server, or on servers of the test's own; or one with the orders of another. */
export const testWorld = async (on?: Servers, shippingOn = on, other?: Pick<World, 'ordering'>): Promise<World> => {
  const folder = await testFolder()
  const withTables = async (server: Servers | undefined): Promise<TestDatabase> => {
    const made = await testDatabase(server)
    await made.sql(tables)
    return made
  }
  const [ordering, shipping] = await Promise.all([other?.ordering ?? withTables(on), withTables(shippingOn)])
  const calls = `${folder}/calls.jsonl`

  const worker = async (by: string, options: Partial<WorkerOptions> = {}): Promise<Worker> => {
    const given: WorkerOptions = {
      by,
      ordering: { connectionString: ordering.url },
      shipping: { connectionString: shipping.url },
      calls,
      leaseMs: 1_000,
      ...options,
    }
    const child = startChild({ file: 'test/guarantees/postgres-workers/worker.ts' }, JSON.stringify(given))
    const said = (word: string) => () =>
      child.lines.flatMap((line) => (line.startsWith(`${word} `) ? [line.slice(word.length + 1)] : []))
    await eventually(`worker ${by} has started`, () => child.lines.includes('started') || died(child))
    return {
      ...child,
      owners: said('owner')(),
      get warnings() {
        return said('warning')()
      },
      stop: async () => {
        child.tell('stop')
        expect([await child.ended, said('crashed')()]).toEqual([0, []])
      },
    }
  }

  const app = ({
    pools = {},
    queryTimeoutMs,
    leaseMs = 1_000,
    warnings,
    environment,
    ...conduct
  }: Partial<Conduct> & AppOptions = {}) => {
    const opened = openShop({
      ...conduct,
      ordering: plainPool({ connectionString: ordering.url, ...pools.ordering }),
      shipping: plainPool({ connectionString: shipping.url, ...pools.shipping }),
      calls,
      ...(queryTimeoutMs === undefined ? {} : { queryTimeoutMs }),
      app: {
        leaseMs,
        ...(environment === undefined ? {} : { environment }),
        onWarning: (what, error) =>
          warnings?.push(`${what}: ${error instanceof Error ? error.message : String(error)}`),
      },
    })
    // It may be at the far end of a network that the test has broken.
    onTestFinished(() => opened.stop({ graceMs: 100 }).catch(() => {}))
    return opened
  }

  let looking: Promise<Database> | undefined
  const look: World['look'] = async (ask) => {
    looking ??= (async () =>
      postgres(plainPool({ connectionString: ordering.url, max: 2 })).database.open(systemEnvironment))()
    const database = await looking
    const store = await database.context('ordering')
    await database.sequence()
    return database.read((session) => ask(store, session))
  }
  onTestFinished(async () => (await looking)?.close())

  return {
    ordering,
    shipping,
    calls,
    worker,
    app,
    log: () =>
      look(({ log }, session) => log.readAfter(session, { after: 0, limit: 1_000_000 })).then(({ events }) => [
        ...events,
      ]),
    look,
    ledger: (consumer) =>
      (consumer === 'ship' ? shipping : ordering).sql(
        'SELECT n::integer, consumer, event_id, key, sequence, by, at_ms::float8 FROM ledger WHERE consumer = $1 ORDER BY n',
        [consumer],
      ),
    called: () => callsOf(folder) as (Call & { by: string })[],
  }
}

/** What stands between a process and the server of a database. */
export const proxyTo = async ({
  url,
}: TestDatabase): Promise<{ readonly proxy: FaultProxy; readonly pool: PoolConfig }> => {
  const proxy = await faultProxy(Number(new URL(url).port))
  onTestFinished(() => proxy.close())
  return { proxy, pool: { connectionString: proxy.url(url) } }
}

/** A pool as an app makes it, without a listener for what becomes of its connections. */
export const plainPool = (config: PoolConfig): Pool => {
  const pool = new Pool({ connectionTimeoutMillis: 5_000, ...config })
  onTestFinished(() => void pool.end())
  return pool
}

/** Ended by itself: what a worker must never do. */
const died = (child: Child): false => {
  const crash = child.lines.find((line) => line.startsWith('crashed '))
  if (crash !== undefined) throw new Error(crash)
  return false
}

/** Places orders as their clients do: whatever is not known to be done is asked for again, with the same key. */
export const placeSurely = async (app: App, request: string, order: { orderId: string; n: number }): Promise<void> => {
  for (;;)
    try {
      expect(await place(app, request, order)).toBe(request)
      return
    } catch (error) {
      if (!isPabalError(error) || !error.retryable) throw error
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
}

/** So many units, in turn. */
export const placeAll = async (app: App, from: number, to: number): Promise<void> => {
  const orders = await realOrders(to)
  for (let i = from; i < to; i++) await placeSurely(app, `request-${i}`, orders[i]!)
}

const typed = (log: readonly StoredEvent[], { type }: { type: string }) => log.filter((row) => row.type === type)

/** What is left to do, in numbers; keys on which handlers always fail are not waited for. */
export const leftToDo = async (world: World, poison?: string): Promise<number> => {
  const left = await world.look(async ({ log }, session) => {
    const count = ({ type }: { type: string }) => log.count(session, { after: 0, types: [type] })
    const placed = await count(OrderPlaced)
    const paid = await count(OrderPaid)
    // Last: what comes after the last payment would be another order.
    const ill = poison === undefined ? 0 : await log.countKeys(session, poison)
    return { unpaid: placed - paid, well: (await log.head(session)).position - ill }
  })
  const applied = async ({ sql }: TestDatabase, consumer: Consumer): Promise<number> => {
    const [row] = await sql<{ n: number }>(
      'SELECT count(DISTINCT event_id)::integer AS n FROM ledger WHERE consumer = $1',
      [consumer],
    )
    return row!.n
  }
  return (
    Math.max(0, left.unpaid) +
    Math.max(0, left.well - (await applied(world.ordering, 'ledger'))) +
    Math.max(0, left.well - (await applied(world.shipping, 'ship')))
  )
}

/** Until so few things are left to do. */
export const leftAtMost = async (most: number, world: World, poison?: string, withinMs = 60_000): Promise<void> => {
  let left: unknown
  // Just after a fault nobody may be able to say.
  const look = () => leftToDo(world, poison).catch((error: unknown) => error)
  const isDone = async (): Promise<boolean> => {
    left = await look()
    return typeof left === 'number' && left <= most
  }
  await eventually('it is handled', isDone, withinMs).catch((error: unknown) => {
    throw new Error(`${String(error)}; left: ${String(left)}`)
  })
}

/** Until everything is handled. */
export const settled = (world: World, poison?: string, withinMs?: number): Promise<void> =>
  leftAtMost(0, world, poison, withinMs)

/** What must hold of a settled world, however it came there: P1 to P5, and P6 where a key is poison. */
export const expectWhole = async (world: World, poison?: string): Promise<void> => {
  const log = await world.log()
  const placed = typed(log, OrderPlaced)
  const state = await world.ordering.sql<{ id: string }>('SELECT id FROM state')
  expect(placed.map(({ key }) => key).toSorted()).toEqual(state.map(({ id }) => id).toSorted())
  expectGapless(log)
  const well = log.filter(({ key }) => key !== poison)
  for (const consumer of ['ledger', 'ship'] as const)
    expect({ consumer, ...violations(await world.ledger(consumer), well) }).toEqual({ consumer, ...none })
  // Outside: at least once, with a key that is the same for every run; inside, its record: exactly once.
  const calls = world.called()
  expect(new Set(calls.map(({ id }) => id))).toEqual(new Set(placed.map(({ id }) => id)))
  for (const { idempotencyKey, id } of calls) expect(idempotencyKey).toBe(`ordering/pay:${id}`)
  expect(violations(await world.ledger('pay'), placed)).toEqual(none)
  expect(
    typed(log, OrderPaid)
      .map(({ causation_id }) => String(causation_id))
      .toSorted(),
  ).toEqual(placed.map(({ id }) => id).toSorted())
  if (poison === undefined) return
  for (const consumer of ['ledger', 'ship'] as const)
    expect((await world.ledger(consumer)).filter(({ key }) => key === poison)).toEqual([])
  expect(await parkedKeys(world.ordering, 'ordering', 'ledger')).toEqual([poison])
  expect(await parkedKeys(world.shipping, 'shipping', 'ship')).toEqual([poison])
}

export const parkedKeys = async ({ sql }: TestDatabase, context: string, consumer: string): Promise<string[]> =>
  (
    await sql<{ key: string }>(`SELECT key FROM pabal_${context}.parked WHERE consumer = $1 ORDER BY key`, [consumer])
  ).map(({ key }) => key)

/** No session stays in a transaction and does nothing. */
export const expectNothingOpen = async ({ ordering, shipping }: World, withinMs = 5_000): Promise<void> => {
  for (const { sql, name } of [ordering, shipping]) {
    let open: unknown[] = []
    await eventually(
      'nothing is open',
      async () => {
        open = await sql(
          `SELECT application_name, query FROM pg_stat_activity WHERE datname = $1 AND state LIKE 'idle in transaction%'`,
          [name],
        )
        return open.length === 0
      },
      withinMs,
    ).catch(() => {})
    expect(open).toEqual([])
  }
}
