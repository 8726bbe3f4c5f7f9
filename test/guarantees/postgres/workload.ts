/** What the tests of the log on Postgres share: real events, processes on one database, and P1 to P3 as one question. */

import { setTimeout as sleep } from 'node:timers/promises'
import type { Pool, PoolConfig } from 'pg'
import { onTestFinished } from 'vitest'
import { type Environment, systemEnvironment } from '../../../src/core/environment.ts'
import type { EventRecord, StoredEvent } from '../../../src/event/envelope.ts'
import { codeOf } from '../../../src/store/postgres/errors.ts'
import { postgres, type PostgresOptions, type PostgresTx } from '../../../src/store/postgres/index.ts'
import type { ContextStore, Database, Session } from '../../../src/store/store.ts'
import { placed, raised } from '../../../src/testing/store-contract/fixture.ts'
import type { TestDatabase } from '../../support/postgres.ts'
import { realOrders } from '../world.ts'
import type { Chance } from './chance.ts'

/** Real orders of the customers who order most, so that keys are wanted by several at once. */
export interface Orders {
  readonly customers: readonly string[]
  /** The next order of a customer as an event; of anyone when none is named. */
  event(customer?: string): EventRecord
}

let read: Promise<Awaited<ReturnType<typeof realOrders>>> | undefined

export const ordersOf = async (customers: number): Promise<Orders> => {
  const byCustomer = Map.groupBy(await (read ??= realOrders(600)), ({ orderId }) => orderId)
  const most = [...byCustomer].toSorted(([, a], [, b]) => b.length - a.length).slice(0, customers)
  const names = most.map(([name]) => name)
  const orders = new Map(most)
  let next = 0
  return {
    customers: names,
    event: (customer = names[next % names.length]!) => {
      const own = orders.get(customer)!
      return raised({ type: placed, key: customer, text: JSON.stringify(own[next++ % own.length]) })
    },
  }
}

/** One process on a database. */
export interface Process {
  readonly database: Database
  readonly log: ContextStore['log']
  readonly context: ContextStore
  readonly pool: Pool
  readonly tx: (session: Session) => PostgresTx
  /** What it was warned of. */
  readonly warnings: readonly string[]
}

export interface ProcessOptions {
  readonly pool?: PoolConfig
  readonly options?: PostgresOptions
  readonly environment?: Environment
}

/** A process with the context `ordering`, closed with the test. */
export const openProcess = async (
  { pool: poolOf }: Pick<TestDatabase, 'pool'>,
  { pool: config, options, environment = systemEnvironment }: ProcessOptions = {},
): Promise<Process> => {
  const pool = poolOf(config)
  const store = postgres(pool, options)
  const warnings: string[] = []
  const database = await store.database.open(environment, {
    warn: (what, error) => warnings.push(`${what}: ${error instanceof Error ? error.message : String(error)}`),
  })
  onTestFinished(() => database.close())
  const context = await database.context('ordering')
  return { database, context, log: context.log, pool, tx: (session) => store.tx(session), warnings }
}

/** The state of the business: a row for each event, written in the event's transaction. */
export const createState = (database: Pick<TestDatabase, 'sql'>): Promise<unknown> =>
  database.sql('CREATE TABLE state (event_id uuid PRIMARY KEY)')

export const insertState = 'INSERT INTO state (event_id) SELECT unnest($1::uuid[])'

/** Ids of events whose transactions have committed, whoever knows of it. */
export const committedIn = async (database: Pick<TestDatabase, 'sql'>): Promise<string[]> =>
  (await database.sql<{ event_id: string }>('SELECT event_id FROM state')).map(({ event_id }) => event_id)

/** Sessions of this database that wait for a lock. */
export const waitingSessions = `SELECT DISTINCT pid FROM pg_locks JOIN pg_stat_activity USING (pid)
  WHERE NOT granted AND datname = current_database()`

/** Uses up ids of transactions. */
export const burn = (database: Pick<TestDatabase, 'sql'>, count: number): Promise<unknown> =>
  database.sql(`DO $$ BEGIN FOR i IN 1..${count} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$`)

export const idsOf = (events: readonly { readonly id: string }[]): string[] => events.map(({ id }) => id)

export class Undone extends Error {}

/** A unit of business as it comes: an early or a late row of state, some waiting, and now and then a rollback. */
export const work = async (process: Process, orders: Orders, chance: Chance, holdMs = 150): Promise<void> => {
  const events = chance.some(orders.customers, 3).map((customer) => orders.event(customer))
  if (chance.percent(30)) events.push(orders.event(events[0]!.key))
  const early = chance.percent(50)
  const waitsMs = [chance.below(holdMs + 1), chance.below(holdMs + 1)] as const
  const undone = chance.percent(10)
  try {
    await process.database.transaction(async (session) => {
      const write = () => process.tx(session).query(insertState, [idsOf(events)])
      // The transaction id is taken here, long before the lock of the key: the order of ids is not the order of keys.
      if (early) await write()
      await sleep(waitsMs[0])
      await process.log.append(session, events)
      if (!early) await write()
      await sleep(waitsMs[1])
      if (undone) throw new Undone()
    })
  } catch (error) {
    if (!(error instanceof Undone)) throw error
  }
}

/** False when the server was gone. */
const unlessLost = async (ask: () => Promise<void>): Promise<boolean> => {
  try {
    await ask()
    return true
  } catch (error) {
    if (codeOf(error) !== 'PABAL_STORE_UNREACHABLE') throw error
    await sleep(20)
    return false
  }
}

/** A place in the log, as a reader has seen it. */
export type Seen = Pick<StoredEvent, 'position' | 'id' | 'key' | 'sequence'>

/** A reader that goes on from its cursor, whatever happens meanwhile. */
export class Follower {
  readonly #process: Process
  readonly #limit: number
  readonly seen: Seen[] = []
  #cursor = 0
  #ended = false
  #running: Promise<void> | undefined

  constructor(process: Process, limit = 7) {
    this.#process = process
    this.#limit = limit
  }

  start(): this {
    this.#running = this.#run()
    this.#running.catch(() => {})
    return this
  }

  async #run(): Promise<void> {
    while (!this.#ended) {
      await unlessLost(() => this.#read())
      await sleep(2)
    }
  }

  async #read(): Promise<void> {
    const { database, log } = this.#process
    for (;;) {
      const { events, through } = await database.read((session) =>
        log.readAfter(session, { after: this.#cursor, limit: this.#limit }),
      )
      for (const { position, id, key, sequence } of events) this.seen.push({ position, id, key, sequence })
      if (through === this.#cursor) return
      this.#cursor = through
    }
  }

  /** Everything up to now, as it came. */
  async end(): Promise<readonly Seen[]> {
    this.#ended = true
    await this.#running
    while (!(await unlessLost(() => this.#process.database.sequence())));
    await this.#read()
    return this.seen
  }
}

/** What is wrong with a log: against what has committed (P1), with its positions (P2), with the order of its keys (P3). */
export const faultsOf = (seen: readonly Seen[], committed: readonly string[]) => {
  const logged = new Set(idsOf(seen))
  const expected = new Set(committed)
  const sequences = new Map<string, number>()
  let disorder = 0
  for (const { key, sequence } of seen) {
    if (sequence !== (sequences.get(key) ?? 0) + 1) disorder++
    sequences.set(key, sequence)
  }
  return {
    lost: expected.difference(logged).size,
    ghosts: logged.difference(expected).size,
    twice: seen.length - logged.size,
    gaps: seen.filter(({ position }, index) => position !== index + 1).length,
    disorder,
  }
}

export const none = { lost: 0, ghosts: 0, twice: 0, gaps: 0, disorder: 0 } as const
