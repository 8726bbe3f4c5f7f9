/**
 * P1 to P3 on Postgres, while the server crashes, connections are ended and answers are lost: the store connects again by itself,
 * and a unit of which nobody knows whether it has committed is asked for again with its idempotency key, and done once.
 */

import { eventually } from '../../support/eventually.ts'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, onTestFinished, test } from 'vitest'
import { codeOf } from '../../../src/store/postgres/errors.ts'
import { fromPg } from '../../../src/store/postgres/index.ts'
import { missingPostgres, testDatabase, type TestDatabase, testServer } from '../../support/postgres.ts'
import { titled } from '../../support/require-server.ts'
import { faultProxy } from '../../support/tcp-fault.ts'
import { type Chance, deadline, testChance, timeout } from './chance.ts'
import { connected } from './connected.ts'
import { changed, Rig, type RigOptions } from './rig.ts'
import {
  committedIn,
  createState,
  faultsOf,
  Follower,
  insertState,
  none,
  openProcess,
  type Orders,
  ordersOf,
  type Process,
} from './workload.ts'

const createRequests = async (database: TestDatabase): Promise<void> => {
  await createState(database)
  // Nothing here keeps a request from being done twice.
  await database.sql('CREATE TABLE request (name text)')
}

/** A unit with an idempotency key; its answer is the id of its event. */
const unit = (process: Process, orders: Orders, name: string, holdMs = 0): Promise<string> =>
  process.database.transaction(async (session) => {
    const { log, context, tx } = process
    const known = await context.units.get(session, name)
    if (known !== undefined) return known.result
    const event = orders.event()
    await tx(session).query(insertState, [[event.id]])
    await tx(session).query('INSERT INTO request (name) VALUES ($1)', [name])
    await sleep(holdMs)
    await log.append(session, [event])
    await context.units.put(session, name, 'place', event.id)
    return event.id
  })

/** Asks until there is an answer; tells which errors came before. */
const surely = async (process: Process, orders: Orders, name: string, chance: Chance): Promise<readonly string[]> => {
  const errors: string[] = []
  for (;;)
    try {
      await unit(process, orders, name, chance.below(30))
      return errors
    } catch (error) {
      const code = codeOf(error)
      if (code !== 'PABAL_COMMIT_UNKNOWN' && code !== 'PABAL_STORE_UNREACHABLE') throw error
      errors.push(code)
      await sleep(chance.below(50))
    }
}

interface Load {
  readonly processes: readonly Process[]
  readonly orders: Orders
  readonly followers: readonly Follower[]
  /** Which ones all have met so far. */
  readonly errors: ReadonlySet<string>
  /** Lets the requests that are under way be done; which errors all have met. */
  end(): Promise<ReadonlySet<string>>
}

/** Eight writers on two processes, and two readers. */
const load = async (database: TestDatabase, chance: Chance): Promise<Load> => {
  const orders = await ordersOf(8)
  await createRequests(database)
  const pool = { max: 6, connectionTimeoutMillis: 2_000 }
  const processes = [
    await openProcess(database, { pool }),
    await openProcess(database, { pool: { ...pool, pipeline: true } }),
  ]
  const followers = processes.map((process) => new Follower(process, 50).start())
  const ending = new AbortController()
  onTestFinished(() => ending.abort())
  const errors = new Set<string>()
  const writer = async (n: number): Promise<void> => {
    const own = chance.fork()
    for (let i = 0; !ending.signal.aborted; i++)
      for (const error of await surely(processes[n % 2]!, orders, `request-${n}-${i}`, own)) errors.add(error)
  }
  const writers = Promise.all(Array.from({ length: 8 }, (_, n) => writer(n)))
  writers.catch(() => {})
  return {
    processes,
    orders,
    followers,
    errors,
    end: async () => {
      ending.abort()
      await writers
      return errors
    },
  }
}

const expectSound = async (database: TestDatabase, { processes, followers }: Load): Promise<void> => {
  const committed = await committedIn(database)
  const requests = await database.sql('SELECT name FROM request GROUP BY name HAVING count(*) > 1')
  expect(requests).toEqual([])
  // What was seen before a crash is still there, at the same place.
  for (const follower of followers) expect(faultsOf(await follower.end(), committed)).toEqual(none)
  const anew = await new Follower(processes[0]!, 1_000).end()
  for (const follower of followers) expect(follower.seen).toEqual(anew)
}

const missing = missingPostgres()
describe.skipIf(missing)(titled('the log is what has committed', missing), () => {
  test('when the server crashes and recovers under load', timeout, async () => {
    const chance = testChance()
    const server = await testServer()
    const database = await testDatabase(server)
    const running = await load(database, chance)
    const rig = await Rig.beside(database)
    const aside = await ordersOf(9)
    const end = deadline(500)
    for (let crashes = 0; crashes < 1 || !end.passed(); crashes++) {
      // Prepared before the crash, committed after it, of a key that nobody else waits for.
      const prepared = aside.event(aside.customers.at(-1))
      const client = await connected(database.url)
      await client.query('BEGIN')
      await client.query(insertState, [[prepared.id]])
      await rig.append(client, [prepared])
      await client.query(`PREPARE TRANSACTION 'crash-${crashes}'`)
      await sleep(chance.below(400))
      await server.restart({ immediate: true })
      await sleep(chance.below(200))
      await (await connected(database.url)).query(`COMMIT PREPARED 'crash-${crashes}'`)
    }
    await eventually('much has been committed', async () => (await committedIn(database)).length > 20)
    expect(await running.end()).toContain('PABAL_STORE_UNREACHABLE')
    await expectSound(database, running)
  })

  test('when connections are ended under load', timeout, async () => {
    const chance = testChance()
    const database = await testDatabase()
    const running = await load(database, chance)
    // A COMMIT takes a moment: until one has been hit.
    const [enough, most] = [deadline(1_200), deadline(25_000)]
    while (!most.passed() && !(enough.passed() && running.errors.has('PABAL_COMMIT_UNKNOWN'))) {
      await database.sql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1`)
      await sleep(chance.below(60))
    }
    const errors = await running.end()
    expect(errors).toContain('PABAL_COMMIT_UNKNOWN')
    expect(errors).toContain('PABAL_STORE_UNREACHABLE')
    await expectSound(database, running)
  })

  test.each(['reply', 'request'] as const)(
    'when the %s of a COMMIT is lost: nobody knows, and the key finds out',
    async (lose) => {
      const database = await testDatabase()
      await createRequests(database)
      const proxy = await faultProxy(Number(new URL(database.url).port))
      onTestFinished(() => proxy.close())
      const orders = await ordersOf(3)
      const process = await openProcess(database, { pool: { connectionString: proxy.url(database.url) } })
      const lost = proxy.dropOnce(undefined, { lose, after: 'reset' })
      await expect(unit(process, orders, 'request')).rejects.toMatchObject({ code: 'PABAL_COMMIT_UNKNOWN' })
      await lost
      const committed = await committedIn(database)
      expect(committed).toHaveLength(lose === 'reply' ? 1 : 0)
      const answer = await unit(process, orders, 'request')
      expect(await unit(process, orders, 'request')).toBe(answer)
      if (lose === 'reply') expect([answer]).toEqual(committed)
      expect(faultsOf(await new Follower(process).end(), [answer])).toEqual(none)
    },
  )

  test('and was seen, also where COMMIT is set to be answered before it is durable', async () => {
    // What is not flushed by a commit stays unwritten.
    const server = await testServer({ settings: { wal_writer_delay: '10s' } })
    const rigOf = async (options?: RigOptions): Promise<Rig> => {
      const database = await testDatabase(server)
      await database.sql(`ALTER DATABASE ${database.name} SET synchronous_commit = off`)
      return Rig.create(database, options)
    }
    const rigs = {
      guarded: await rigOf(),
      ticked: await rigOf({ log: [[/PERFORM set_config\('synchronous_commit'[^;]*;/g, '']] }),
      appended: await rigOf({ append: (sql) => changed(sql, [[/WHERE \(SELECT CASE[^]*?IS NOT NULL/, '']]) }),
    }
    const orders = await ordersOf(3)
    for (const rig of Object.values(rigs)) {
      const client = await rig.connect()
      if (rig === rigs.appended) await rig.commit(client, orders.event())
      else for (let n = 0; n < 3; n++) await rig.commit(client, orders.event())
      if (rig !== rigs.appended) await rig.tickAll()
    }
    await server.restart({ immediate: true })
    const left = async ({ database }: Rig) => {
      const client = await connected(database.url)
      const counts = `SELECT (SELECT count(*)::integer FROM rig.event) AS events, (SELECT max(head)::integer FROM rig.sequencer) AS head`
      return (await client.query<{ events: number; head: number }>(counts)).rows[0]
    }
    expect(await left(rigs.guarded)).toEqual({ events: 3, head: 3 })
    // Without its guard a reader has seen positions that are gone, or a writer was told of an event that is.
    expect(await left(rigs.ticked)).toEqual({ events: 3, head: 0 })
    expect(await left(rigs.appended)).toEqual({ events: 0, head: 0 })
  })

  test('also of transactions that are joined before and after the server has restarted', async () => {
    const server = await testServer()
    const database = await testDatabase(server)
    const process = await openProcess(database)
    const orders = await ordersOf(2)
    const join = async (): Promise<string> => {
      const client = await connected(database.url)
      const event = orders.event()
      await client.query('BEGIN')
      await process.database.join(fromPg(client), (session) => process.log.append(session, [event]))
      await client.query('COMMIT')
      return event.id
    }
    const committed = [await join()]
    await server.restart({ immediate: true })
    committed.push(await join())
    expect(faultsOf(await new Follower(process).end(), committed)).toEqual(none)
  })
})
