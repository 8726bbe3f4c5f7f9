/**
 * P1 to P3 on Postgres, while many transactions are open at once, take their ids and their keys' locks in any order, roll back
 * or are prepared, and several processes tick: nothing is lost, nothing comes twice, everyone sees the same.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { fromPg } from '../../../src/store/postgres/index.ts'
import { missingPostgres, testDatabase, type TestDatabase } from '../../support/postgres.ts'
import { type PostgresServer, type PostgresVersion, startPostgres } from '../../support/postgres-server.ts'
import { titled } from '../../support/require-server.ts'
import { type Chance, deadline, testChance, timeout } from './chance.ts'
import {
  committedIn,
  createState,
  faultsOf,
  Follower,
  idsOf,
  insertState,
  none,
  openProcess,
  type Orders,
  ordersOf,
  type Process,
  work,
} from './workload.ts'

const expectSound = async (database: TestDatabase, followers: readonly Follower[]): Promise<void> => {
  const committed = await committedIn(database)
  expect(committed.length).toBeGreaterThan(20)
  const [first, ...others] = await Promise.all(followers.map((follower) => follower.end()))
  expect(faultsOf(first!, committed)).toEqual(none)
  for (const other of others) expect(other).toEqual(first)
}

/** Twelve writers, three processes that tick, two that follow. */
const manyWriters = async (database: TestDatabase, forMs: number): Promise<void> => {
  const chance = testChance()
  const orders = await ordersOf(8)
  await createState(database)
  const processes: Process[] = []
  for (const pipeline of [false, true, false])
    processes.push(await openProcess(database, { pool: { max: 7, pipeline } }))
  const followers = [new Follower(processes[0]!).start(), new Follower(processes[2]!, 100).start()]
  const end = deadline(forMs)
  const writer = async (process: Process, own: Chance): Promise<void> => {
    while (!end.passed()) await work(process, orders, own)
  }
  await Promise.all(Array.from({ length: 12 }, (_, n) => writer(processes[n % 3]!, chance.fork())))
  await expectSound(database, followers)
}

/** An appender with a connection and transactions of its own, which the store joins. */
const appender = async (
  url: string,
  process: Process,
  orders: Orders,
  chance: Chance,
  end: ReturnType<typeof deadline>,
): Promise<void> => {
  const client = new Client({ connectionString: url })
  client.on('error', () => {})
  await client.connect()
  try {
    do {
      const events = chance.some(orders.customers, 3).map((customer) => orders.event(customer))
      await client.query('BEGIN')
      if (chance.percent(50)) await client.query(insertState, [idsOf(events)])
      else {
        await client.query('SELECT pg_current_xact_id()')
        await client.query(insertState, [idsOf(events)])
      }
      await sleep(chance.below(20))
      await process.database.join(fromPg(client), (session) => process.log.append(session, events))
      await sleep(chance.below(20))
      const ending = chance.percent(10) ? 'ROLLBACK' : 'COMMIT'
      if (chance.percent(30)) {
        const gid = `'${events[0]!.id}'`
        await client.query(`PREPARE TRANSACTION ${gid}`)
        await sleep(chance.below(40))
        await client.query(`${ending} PREPARED ${gid}`)
      } else await client.query(ending)
    } while (!end.passed())
  } finally {
    await client.end()
  }
}

const versions: readonly PostgresVersion[] = [18, 14]

describe.each(versions)('Postgres %i', (version) => {
  const missing = missingPostgres(version)
  let server: PostgresServer
  beforeAll(async () => {
    const settings = { max_connections: '300', max_prepared_transactions: '250' }
    if (missing === undefined) server = await startPostgres({ version, settings })
  })
  afterAll(() => server?.[Symbol.asyncDispose]())

  describe.skipIf(missing)(titled('the log', missing), () => {
    test('is what twelve writers with open transactions have committed, in one order for all', timeout, async () => {
      await manyWriters(await testDatabase(server), 1_500)
    })

    test('is what 200 appenders with two-phase commits have committed, while three tick', timeout, async () => {
      const chance = testChance()
      const database = await testDatabase(server)
      const orders = await ordersOf(120)
      await createState(database)
      const processes: Process[] = []
      for (let n = 0; n < 3; n++) processes.push(await openProcess(database))
      const ticking = new AbortController()
      onTestFinished(() => ticking.abort())
      const tickers = processes.map(async ({ database: own }) => {
        while (!ticking.signal.aborted) await own.sequence()
      })
      const followers = [new Follower(processes[0]!, 50).start(), new Follower(processes[1]!, 50).start()]
      const end = deadline(1_000)
      await Promise.all(
        Array.from({ length: 200 }, (_, n) => appender(database.url, processes[n % 3]!, orders, chance.fork(), end)),
      )
      ticking.abort()
      await Promise.all(tickers)
      await expectSound(database, followers)
    })
  })
})
