/** What retention has hidden goes as whole partitions: nothing that anybody needs is lost, and nobody waits for long (L19 to L22). */

import { createApp, defineContext, defineEvent } from 'pabal'
import { operate, retryAll } from 'pabal/operate'
import { postgres } from 'pabal/postgres'
import type { Pool } from 'pg'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import { eventually } from '../../../test/support/eventually.ts'
import { missingPostgres, type TestDatabase, testDatabase } from '../../../test/support/postgres.ts'
import { type PostgresServer, startPostgres } from '../../../test/support/postgres-server.ts'
import { titled } from '../../../test/support/require-server.ts'
import { dropOld } from '../../app/retention.ts'
import type { ContextRuntime } from '../../context/runtime.ts'
import type { Awaitable } from '../../core/awaitable.ts'
import { systemEnvironment } from '../../core/environment.ts'
import { append, type Process, processOn, raised } from '../../testing/store-contract/fixture.ts'
import { schemaName } from './migrate.ts'
import { log } from './migrations/0001-log.ts'

const schema = schemaName('pabal_ordering')
const s = schema.sql
const sizes = { events: 10, positions: 20, ahead: 3 }

interface SmallLog extends TestDatabase {
  /** Another process. */
  readonly process: () => Promise<Process>
  /** What each process does every minute. Gives how many partitions went. */
  readonly maintain: () => Promise<number>
  readonly partitions: (of: 'event' | 'run') => Promise<number[]>
}

// Of its own: a transaction that some other test has open for long would hold up what is closed here.
let server: PostgresServer
beforeAll(async () => {
  if (missingPostgres() === undefined) server = await startPostgres()
})
afterAll(() => server?.[Symbol.asyncDispose]())

/** A log with partitions of few events. */
const smallLog = async (small = sizes): Promise<SmallLog> => {
  const database = await testDatabase(server)
  const { sql, pool } = database
  await sql(`CREATE SCHEMA ${s}; ${log(schema, small)}`)
  await sql(`INSERT INTO ${s}.migration VALUES (1, 'log', 0); UPDATE ${s}.meta SET incarnation = 'one'`)
  await sql(`SELECT ${s}.create_partitions()`)
  const process = async () => {
    const opened = await postgres(pool()).database.open(systemEnvironment, { warn: () => {} })
    onTestFinished(() => opened.close())
    return processOn(opened)
  }
  const maintain = async (): Promise<number> => {
    await sql(`SELECT ${s}.create_partitions()`)
    for (let all = 0; ; ) {
      const [row] = await sql<{ dropped: number }>(`SELECT ${s}.drop_partitions(200) AS dropped`)
      if (row!.dropped === 0) return all
      all += row!.dropped
    }
  }
  const partitions = async (of: string) =>
    (await sql<{ n: string }>(`SELECT n FROM ${s}.partitions($1) n ORDER BY n`, [of])).map(({ n }) => Number(n))
  return { ...database, process, maintain, partitions }
}

const once = (work: () => Promise<unknown>): (() => Promise<unknown>) => {
  let done: Promise<unknown> | undefined
  return () => (done ??= work())
}
const followed =
  <A extends unknown[], R>(read: (...args: A) => Awaitable<R>, then: () => Promise<unknown>) =>
  async (...args: A): Promise<R> => {
    const result = await read(...args)
    await then()
    return result
  }

/** Appends events of these keys in turn, a transaction each, and lets the partitions that they fill close. */
const fill = async (
  { maintain }: SmallLog,
  process: Process,
  events: number,
  keys = ['a', 'b', '주문'],
): Promise<void> => {
  for (let n = 0; n < events; n++) {
    await append(process, raised({ key: keys[n % keys.length]! }))
    if (n % 5 === 4) await maintain()
  }
}

const missing = missingPostgres()
describe.skipIf(missing)(titled('retention on Postgres', missing), () => {
  test('drops the partitions of which everything is hidden, oldest first, and none that is written to', async () => {
    const small = await smallLog()
    const process = await small.process()
    await fill(small, process, 67)
    expect(await small.partitions('event')).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    expect(await small.maintain()).toBe(0)

    expect(await process.write((session) => process.log.dropThrough(session, 47))).toBe(47)
    await small.maintain()
    // Partition 4 holds events 40 to 49; of positions, 40 to 59 are needed from 48 on.
    expect(await small.partitions('event')).toEqual([4, 5, 6, 7, 8, 9])
    expect(await small.partitions('run')).toEqual([2, 3, 4, 5])

    expect(await process.write((session) => process.log.dropThrough(session, 1_000))).toBe(20)
    await small.maintain()
    expect(await small.partitions('event')).toEqual([6, 7, 8, 9])
    expect(await small.partitions('run')).toEqual([3, 4, 5])
  })

  test('what was dropped is not there, and everything else goes on where it was', async () => {
    const small = await smallLog()
    const process = await small.process()
    const [first] = await append(process, raised({ key: 'a', type: 'ordering.order-paid' }))
    await fill(small, process, 60)
    await process.write((session) => process.log.dropThrough(session, 55))
    expect(await small.maintain()).toBeGreaterThan(5)

    const another = await small.process()
    expect(await another.read((session) => another.log.oldest(session))).toBe(56)
    const { events } = await another.read((session) => another.log.readAfter(session, { after: 0, limit: 100 }))
    expect(events.map(({ position }) => position)).toEqual([56, 57, 58, 59, 60, 61])
    expect(await another.read((session) => another.log.byId(session, first!.id))).toBeUndefined()
    expect(await another.read((session) => another.log.at(session, 55))).toBeUndefined()
    expect(await another.read((session) => another.log.readKey(session, 'b', { from: 1, limit: 100 }))).toMatchObject([
      { sequence: 19 },
      { sequence: 20 },
    ])
    const previous = (before: number, ...types: string[]) =>
      another.read((session) => another.log.previous(session, 'a', before, types))
    expect(await previous(20, 'ordering.order-placed')).toEqual({ droppedSequence: 19 })
    expect(await previous(21, 'ordering.order-paid')).toEqual({ droppedSequence: 1 })
    expect(await previous(21, 'ordering.order-cancelled')).toBeUndefined()

    const [next] = await append(another, raised({ key: 'a', expectedSequence: 21 }))
    expect(next).toMatchObject({ sequence: 22, position: 62 })
  })

  test('a log that comes to another server brings nothing back', async () => {
    const small = await smallLog()
    const process = await small.process()
    await fill(small, process, 60)
    await process.write((session) => process.log.dropThrough(session, 45))
    await small.maintain()
    await small.sql(`UPDATE ${s}.meta SET system_identifier = '1'`)
    const moved = await small.process()
    await eventually('the log is numbered anew', async () => {
      const [row] = await small.sql<{ incarnation: string }>(`SELECT incarnation FROM ${s}.meta`)
      return row!.incarnation !== 'one'
    })
    await append(moved, raised({ key: 'a' }))
    const { events } = await moved.read((session) => moved.log.readAfter(session, { after: 0, limit: 100 }))
    expect(events.map(({ position }) => position)).toEqual(Array.from({ length: 16 }, (_, n) => 46 + n))
    await moved.write((session) => moved.log.dropThrough(session, 61))
    await fill(small, moved, 20)
    await small.maintain()
    expect(Math.min(...(await small.partitions('event')))).toBe(6)
  })

  test('an event that was appended long ago and commits late keeps its partition', async () => {
    const small = await smallLog()
    const process = await small.process()
    await fill(small, process, 3)
    const late = raised({ key: 'late' })
    const { promise: ended, resolve: end } = Promise.withResolvers<void>()
    const appended = Promise.withResolvers<void>()
    const slow = process.write(async (session) => {
      await process.log.append(session, [late])
      await session.savepoint(() => undefined) // the append has been answered
      appended.resolve()
      await ended
    })
    await appended.promise
    await fill(small, process, 50)
    await process.write((session) => process.log.dropThrough(session, 53))
    await small.maintain()
    expect(await small.partitions('event')).toContain(0)

    end()
    await slow
    await fill(small, process, 20)
    const stored = await process.read((session) => process.log.byId(session, late.id))
    expect(stored).toMatchObject({ position: 54, key: 'late' })
    expect(await small.partitions('event')).toContain(0)
    await process.write((session) => process.log.dropThrough(session, 60))
    await small.maintain()
    expect(await small.partitions('event')).not.toContain(0)
  })
})

const Placed = defineEvent('ordering.order-placed', { schema: z.object({ id: z.string() }), key: ({ id }) => id })
const ordering = defineContext('ordering', { store: postgres, events: [Placed] })

describe.skipIf(missing)(titled('partitions that somebody needs', missing), () => {
  /** An app over a log of small partitions, which keeps its events for no time at all. */
  const retained = async () => {
    const small = await smallLog()
    let fails = true
    const pool = small.pool()
    const app = createApp({
      contexts: [
        ordering.with({
          store: postgres(pool),
          keep: 0,
          handlers: [
            ordering.on(
              Placed,
              'list',
              ({ key }) => {
                if (fails && key === 'k1') throw new Error('no')
              },
              { retry: 'none', lanes: 1 },
            ),
          ],
        }),
      ],
      onWarning: () => {},
    })
    onTestFinished(() => app.stop())
    await app.start()
    const runtime = (await app['~pabal'].open()).runtimes.get('ordering')!
    const place = async (events: number): Promise<void> => {
      for (let n = 0; n < events; n++)
        await app.context(ordering).transaction(({ raise }) => raise(Placed, { id: `k${n % 3}` }))
      await app.settle()
      await small.maintain()
    }
    return { ...small, app, place, runtime, mend: () => (fails = false), drop: () => dropOld(runtime, 0) }
  }

  test('a parked key keeps the partition that it waits in, and no other', async () => {
    const { place, drop, maintain, partitions, mend, app } = await retained()
    for (let n = 0; n < 7; n++) await place(10)
    expect(await drop()).toBe(1)
    await maintain()
    expect(await partitions('event')).toContain(0)

    mend()
    await retryAll(await operate(app), {}, { by: 'test', reason: undefined })
    await app.settle()
    expect(await drop()).toBeGreaterThanOrEqual(69)
    await maintain()
    expect(Math.min(...(await partitions('event')))).toBeGreaterThan(4)
  })

  test('a key that parks while the position is looked for keeps its event', async () => {
    const { place, runtime, mend, sql } = await retained()
    mend()
    await place(20)
    // As a batch leaves it: the key waits at 7, and the cursor has gone on.
    const park = once(() =>
      sql(
        `UPDATE ${s}.cursor SET position = 20; INSERT INTO ${s}.parked (consumer, source, key, lane, status, sequence, position, event_id,
           type, attempts, next_ms, error, fingerprint, first_failed_ms, last_failed_ms)
         VALUES ('list', 'ordering', 'k0', 0, 'dead', 3, 7, 'x', '${Placed.type}', 1, 0, '{}', 'f', 0, 0)`,
      ),
    )
    await sql(`UPDATE ${s}.cursor SET position = 6`)
    const { database, contextStore, environment, name } = runtime
    const { cursors, parking } = contextStore
    const looking = {
      ...contextStore,
      cursors: {
        ...cursors,
        cursors: followed((...of: Parameters<typeof cursors.cursors>) => cursors.cursors(...of), park),
      },
      parking: {
        ...parking,
        oldestNeeded: followed((...of: Parameters<typeof parking.oldestNeeded>) => parking.oldestNeeded(...of), park),
      },
    }
    expect(await dropOld({ database, contextStore: looking, environment, name } as ContextRuntime, 0)).toBe(6)
  })

  test('a consumer that stands still keeps them all, and finds them all', async () => {
    const { place, drop, maintain, partitions, mend, runtime } = await retained()
    mend()
    const { database, contextStore } = runtime
    await place(5)
    await database.transaction((session) => contextStore.readers.report(session, 'shipping/ship', 3))
    for (let n = 0; n < 4; n++) await place(10)
    expect(await drop()).toBe(3)
    await maintain()
    expect(await partitions('event')).toContain(0)
    const { events } = await database.read((session) => contextStore.log.readAfter(session, { after: 3, limit: 100 }))
    expect(events).toHaveLength(42)
  })
})

describe.skipIf(missing)(titled('whoever appends and reads while partitions go', missing), () => {
  /** A transaction that has appended and stays open. */
  const appender = async (pool: Pool): Promise<() => Promise<void>> => {
    const client = await pool.connect()
    await client.query(`BEGIN; SELECT count(*) FROM ${s}.event`)
    return async () => {
      await client.query('COMMIT')
      client.release()
    }
  }
  const hidden = async () => {
    const small = await smallLog()
    const process = await small.process()
    await fill(small, process, 30)
    await process.write((session) => process.log.dropThrough(session, 30))
    return { ...small, process }
  }
  const timed = async (work: () => Promise<unknown>): Promise<number> => {
    const startMs = performance.now()
    await work()
    return performance.now() - startMs
  }

  test('waits for no longer than the lock timeout behind somebody who has just come', async () => {
    const { process, pool, sql, partitions } = await hidden()
    const end = await appender(pool())
    const dropping = sql(`SELECT ${s}.drop_partitions(200)`)
    await eventually(
      'it waits for the lock',
      async () => (await sql('SELECT 1 FROM pg_locks WHERE NOT granted')).length > 0,
    )
    const waitedMs = await timed(() => process.write((session) => process.log.append(session, [raised()])))
    expect(waitedMs).toBeLessThan(600)
    await dropping
    expect(await partitions('event')).toContain(0)
    await end()
    await sql(`SELECT ${s}.drop_partitions(200)`)
    expect(await partitions('event')).not.toContain(0)
  })

  test('does not wait at all behind somebody who has been there for longer: it is not even tried', async () => {
    const { pool, sql, partitions } = await hidden()
    const end = await appender(pool())
    await eventually('it is old', async () => {
      const [row] = await sql<{ old: boolean }>(
        `SELECT bool_or(xact_start < clock_timestamp() - interval '0.3 s') AS old FROM pg_stat_activity WHERE state = 'idle in transaction' AND datname = current_database()`,
      )
      return row!.old
    })
    // With a timeout of half a minute this test would show it.
    expect(await timed(() => sql(`SELECT ${s}.drop_partitions(200)`))).toBeLessThan(150)
    expect(await partitions('event')).toContain(0)
    await end()
  })

  test('loses nothing, and waits for little, under load', { timeout: 180_000 }, async () => {
    const small = await smallLog({ events: 200, positions: 300, ahead: 3 })
    const slowestMs = { append: 0, read: 0 }
    const promised: string[] = []
    const work = { writing: true }
    const untilMs = performance.now() + 6_000
    const write = async (name: string, holdMs: number): Promise<void> => {
      const process = await small.process()
      for (let n = 0; performance.now() < untilMs; n++) {
        const events = Array.from({ length: 1 + (n % 7) }, (_, m) => raised({ key: `${name}${(n + m) % 5}` }))
        const ms = await timed(() =>
          process.write(async (session) => {
            await process.log.append(session, events)
            if (n % 10 === 0 && holdMs > 0) await new Promise((resolve) => setTimeout(resolve, holdMs))
          }),
        )
        slowestMs.append = Math.max(slowestMs.append, ms - (n % 10 === 0 ? holdMs : 0))
        promised.push(...events.map(({ id }) => id))
      }
    }
    const seen = [new Map<number, string>(), new Map<number, string>()]
    const places = [0, 0]
    const read = async (reader: number): Promise<void> => {
      const process = await small.process()
      for (;;) {
        const last = !work.writing
        if (last) await process.database.sequence()
        const after = places[reader]!
        const startMs = performance.now()
        const { events, through } = await process.database.read((session) =>
          process.log.readAfter(session, { after, limit: 100 }),
        )
        slowestMs.read = Math.max(slowestMs.read, performance.now() - startMs)
        for (const { position, id } of events) seen[reader]!.set(position, id)
        places[reader] = through
        if (last && through === after) return
        if (events.length === 0) await new Promise((resolve) => setTimeout(resolve, 2))
      }
    }
    let gone = 0
    const retain = async (): Promise<void> => {
      const process = await small.process()
      while (work.writing) {
        await process.write((session) => process.log.dropThrough(session, Math.min(...places)))
        gone += await small.maintain()
      }
    }
    const others = [read(0), read(1), retain(), retain()]
    await Promise.all([write('a', 0), write('b', 0), write('c', 150)])
    work.writing = false
    await Promise.all(others)

    const positions = Array.from({ length: promised.length }, (_, n) => n + 1)
    for (const one of seen) {
      expect([...one.keys()]).toEqual(positions)
      expect(new Set(one.values())).toEqual(new Set(promised))
    }
    expect(gone).toBeGreaterThan(5)
    // The lock's 200 ms, and what two busy cores add.
    expect(Math.max(...Object.values(slowestMs))).toBeLessThan(1_000)
  })
})

describe.skipIf(missing)(titled('partitions made by several processes at once', missing), () => {
  test('are made once, and nobody fails', async () => {
    const small = await smallLog()
    const pool = small.pool({ max: 12 })
    for (let round = 1; round <= 5; round++) {
      await small.sql(`SELECT setval('${s}.event_id', ${round * 100})`)
      const made = await Promise.all(
        Array.from({ length: 12 }, () => pool.query<{ made: number }>(`SELECT ${s}.create_partitions() AS made`)),
      )
      expect(made.map(({ rows }) => rows[0]!.made).filter((n) => n > 0)).toEqual([4])
    }
  })

  test('a first start of several processes is clean', async () => {
    const { pool } = await testDatabase(server)
    const warnings: unknown[] = []
    const opened = await Promise.all(
      Array.from({ length: 6 }, async () => {
        const database = await postgres(pool()).database.open(systemEnvironment, {
          warn: (what, error) => warnings.push([what, error]),
        })
        onTestFinished(() => database.close())
        return Promise.all(['ordering', 'shipping', 'billing'].map((name) => processOn(database, name)))
      }),
    )
    for (const contexts of opened) await Promise.all(contexts.map((process) => append(process, raised({ key: 'a' }))))
    const heads = await Promise.all(opened.map(([first]) => first!.read((session) => first!.log.head(session))))
    expect(heads).toEqual(Array.from({ length: 6 }, () => ({ position: 6, incarnation: heads[0]!.incarnation })))
    expect(warnings).toEqual([])
  })

  test('an app does both by itself', async () => {
    const small = await smallLog()
    const process = await small.process()
    await fill(small, process, 35)
    await process.write((session) => process.log.dropThrough(session, 35))
    expect(await small.partitions('event')).toContain(0)
    await small.process()
    await eventually('the first partitions are gone', async () => !(await small.partitions('event')).includes(2))
  })
})
