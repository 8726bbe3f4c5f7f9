/**
 * Each guard of the log on Postgres taken out breaks its guarantee, within a few schedules or in one that shows it; the same with
 * the guard in place holds. A guard is taken out of the text of the migration, or of the statement that appends.
 */

import { describe, expect, test } from 'vitest'
import type { EventRecord } from '../../../src/event/envelope.ts'
import { eventually } from '../../support/eventually.ts'
import { missingPostgres, testDatabase } from '../../support/postgres.ts'
import { titled } from '../../support/require-server.ts'
import { Chance } from './chance.ts'
import { type Change, changed, Rig, type RigOptions } from './rig.ts'
import { Schedules } from './schedule.ts'
import { burn, faultsOf, idsOf, none, ordersOf, waitingSessions } from './workload.ts'

const id = `nextval('"rig".event_id')`

/** The ids of the events before the locks of their keys. */
const idsFirst = (sql: string): string => {
  const one: readonly Change[] = [
    [`SELECT ${id}`, 'SELECT taken.id'],
    ['FROM head', 'FROM taken, head'],
    ['WITH head', `WITH taken AS MATERIALIZED (SELECT ${id} AS id), head`],
    ['VALUES ($1, 1)', 'SELECT $1, 1 FROM taken WHERE taken.id > 0'],
  ]
  const many: readonly Change[] = [
    [`SELECT ${id}`, 'SELECT (SELECT taken.id FROM taken WHERE taken.n = o.n)'],
    [
      'WITH given',
      `WITH taken AS MATERIALIZED (SELECT n, ${id} AS id FROM unnest($4::text::uuid[]) WITH ORDINALITY AS t (e, n)), given`,
    ],
    ['FROM given ORDER BY', 'FROM given WHERE (SELECT count(*) FROM taken) > 0 ORDER BY'],
  ]
  if (!sql.includes('.event (')) return sql
  return changed(sql, sql.includes('given') ? many : one)
}

const inBand = /AND \(\(e\.xid >= [^\n]*\n\s*AND pg_visible_in_snapshot\(e\.xid::text::xid8, upto\)/
const fewIds: readonly Change[] = [[/st\.mark - 20000\b/, 'st.mark - 3']]

/** What the schedules find. */
const bySchedules: [string, RigOptions][] = [
  ['an id that is taken under the lock of its key', { append: idsFirst }],
  ['positions in the order of ids', { log: [[/ORDER BY e\.id LIMIT most/, 'ORDER BY e.xid, e.id LIMIT most']] }],
  [
    'the snapshot, by the last id',
    { log: [[inBand, 'AND e.id > (SELECT coalesce(max(r.id + r.events - 1), 0) FROM "rig".run r)']] },
  ],
  ['the transactions that were open', { log: [[' OR e.xid = ANY (ended_ids)', '']] }],
  ['those that were open for long', { log: [...fewIds, ['cardinality(long_ended) > 0', 'false']] }],
  [
    'a mark that is older than its snapshot',
    { log: [['upto, upto_mark, fresh_mark', 'upto, fresh_mark, fresh_mark']] },
  ],
  ['one snapshot for all parts of a difference', { log: [['upto := st.target', 'upto := pg_current_snapshot()']] }],
  [
    'the parts that are left of a difference',
    { log: [['CASE WHEN st.target IS NULL THEN counted ELSE most END', 'counted']] },
  ],
]

/** Seeds that are enough to show each of them. */
const schedulesMax = 100

/** The first fault that schedules come to, each with a seed of its own. */
const firstFault = async (options: RigOptions): Promise<unknown> => {
  const rig = await Rig.create(await testDatabase(), options)
  const schedules = await Schedules.create(rig, await ordersOf(6))
  for (let seed = 1; seed <= schedulesMax; seed++) {
    const faults = await schedules.run(new Chance(seed))
    if (Object.values(faults).some((count) => count > 0)) return { seed, ...faults }
  }
  return undefined
}

const missing = missingPostgres()
describe.skipIf(missing)(titled('without', missing), () => {
  test.each(bySchedules)('%s, schedules lose events or their order', { timeout: 180_000 }, async (_, options) => {
    expect(await firstFault(options)).toBeDefined()
  })
})

describe.skipIf(missing)(titled('the guard', missing), () => {
  const events = async (count: number): Promise<EventRecord[]> => {
    const orders = await ordersOf(5)
    return Array.from({ length: count }, () => orders.event())
  }
  const faults = async (rig: Rig, committed: readonly EventRecord[]) => {
    await rig.read()
    return faultsOf(rig.seen, idsOf(committed))
  }

  /** A transaction appends, ticks, and appends again. */
  const tickBetween = async (log: readonly Change[]) => {
    const rig = await Rig.create(await testDatabase(), { log })
    const [client, other] = [await rig.connect(), await rig.connect()]
    const committed = await events(3)
    await client.query('BEGIN')
    await rig.append(client, committed.slice(0, 1))
    await rig.commit(other, committed[1]!)
    await rig.tickInside(client)
    await rig.append(client, committed.slice(2))
    await client.query('COMMIT')
    await rig.tickAll()
    return faults(rig, committed)
  }

  test('of a transaction that has written nothing keeps a tick from losing what its own appends later', async () => {
    await expect(tickBetween([])).rejects.toMatchObject({ code: '25001' })
    const anywhere: Change = ['pg_current_xact_id_if_assigned() IS NOT NULL', 'false']
    expect(await tickBetween([anywhere])).toMatchObject({ lost: 1 })
  })

  /** The log comes to a server whose transaction ids are behind those of its events, which then pass them. */
  const resynced = async (log: readonly Change[]) => {
    const rig = await Rig.create(await testDatabase(), { log })
    const client = await rig.connect()
    const [before, after] = [await events(10), await events(5)]
    await rig.commit(client, ...before.slice(0, 5))
    await rig.tickAll()
    await rig.commit(client, ...before.slice(5))
    await rig.sql(`UPDATE rig.event SET xid = pg_snapshot_xmax(pg_current_snapshot())::text::bigint + 200`)
    await rig.sql(`SELECT rig.resync('new')`)
    await burn(rig.database, 150)
    await rig.commit(client, ...after)
    await rig.tickAll()
    await burn(rig.database, 150)
    await rig.commit(client, ...(await events(1)))
    await rig.tickAll()
    await rig.read()
    return { twice: rig.seen.length - new Set(idsOf(rig.seen)).size }
  }

  test('of a resync keeps its events from being numbered again when transaction ids pass theirs', async () => {
    expect(await resynced([])).toEqual({ twice: 0 })
    // The place from which it looks is all of it: floor and marks are the same id.
    const from = [
      [
        /"rig"\.last_id\(\), "rig"\.last_id\(\), xids, array_fill\("rig"\.last_id\(\), (.*)\), "rig"\.last_id\(\)/,
        '0, 0, xids, array_fill(0::bigint, $1), 0',
      ],
    ] as const
    expect(await resynced(from)).not.toEqual({ twice: 0 })
  })

  /** A log whose last snapshot is that of a server far ahead of this one. */
  const younger = async (log: readonly Change[]) => {
    const rig = await Rig.create(await testDatabase(), { log })
    const client = await rig.connect()
    await rig.sql(`UPDATE rig.sequencer SET done = (x || ':' || x || ':')::pg_snapshot
      FROM (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint + 100000 AS x) ahead`)
    const committed = await events(3)
    await rig.commit(client, ...committed)
    await rig.tickAll()
    return faults(rig, committed)
  }

  test('of transaction ids that went back tells that, instead of numbering nothing for long', async () => {
    await expect(younger([])).rejects.toMatchObject({ code: 'PB001' })
    expect(await younger([['pg_snapshot_xmax(upto) < pg_snapshot_xmax(st.done)', 'false']])).toMatchObject({ lost: 3 })
  })

  const noKeys: readonly Change[] = [
    [/,\s*PRIMARY KEY \(position\)/, ''],
    ['n bigint PRIMARY KEY', 'n bigint NOT NULL'],
  ]

  /** One tick is not at its end when another begins. */
  const twoAtOnce = async (log: readonly Change[]) => {
    const rig = await Rig.create(await testDatabase(), { log })
    const [client, slow] = [await rig.connect(), await rig.connect()]
    const committed = await events(3)
    await rig.commit(client, ...committed)
    await slow.query('BEGIN')
    await rig.tickInside(slow)
    let done = false
    const other = rig.tick().finally(() => (done = true))
    other.catch(() => {})
    await eventually('the other is done, or waits', async () => {
      const { rows } = await client.query(waitingSessions)
      return done || rows.length > 0
    })
    await slow.query('COMMIT')
    await other
    await rig.tickAll()
    return faults(rig, committed)
  }
  const notElected: Change = [/NOT pg_try_advisory_xact_lock\("rig"\.tick_lock\(\)\)/, 'false']

  test('of one tick at a time keeps two from giving the same positions', async () => {
    expect(await twoAtOnce([])).toEqual(none)
    // Its keys would save the table, and fail the tick.
    await expect(twoAtOnce([notElected])).rejects.toMatchObject({ code: '23505' })
    expect((await twoAtOnce([notElected, ...noKeys])).twice).toBeGreaterThan(0)
  })

  /** The snapshot of a tick is older than what the one before it has committed. */
  const oldSnapshot = async (log: readonly Change[]) => {
    const rig = await Rig.create(await testDatabase(), { log })
    const [client, old] = [await rig.connect(), await rig.connect()]
    const committed = await events(3)
    await rig.commit(client, ...committed)
    await old.query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM rig.event')
    await rig.tickAll()
    await rig.tickInside(old)
    await old.query('COMMIT')
    await rig.tickAll()
    return faults(rig, committed)
  }
  const anyIsolation: Change = [/current_setting\('transaction_isolation'\) <> 'read committed'/, 'false']

  test('of read committed keeps a tick from going on where another has been', async () => {
    await expect(oldSnapshot([])).rejects.toMatchObject({ code: '25001' })
    await expect(oldSnapshot([anyIsolation])).rejects.toMatchObject({ code: '23505' })
    expect((await oldSnapshot([anyIsolation, ...noKeys])).twice).toBeGreaterThan(0)
  })

  /** Two flushes name the same keys in opposite order, while the one in the middle is held. */
  const crossing = async (append?: (sql: string) => string) => {
    const database = await testDatabase()
    await database.sql(`ALTER DATABASE ${database.name} SET deadlock_timeout = '20ms'`)
    const rig = await Rig.create(database, append === undefined ? {} : { append })
    const orders = await ordersOf(3)
    const keys = orders.customers.toSorted()
    const clients = [await rig.connect(), await rig.connect()]
    const holder = await rig.connect()
    await holder.query('BEGIN')
    const held = orders.event(keys[1])
    await rig.append(holder, [held])
    const flushes: Promise<EventRecord[]>[] = []
    for (const [n, client] of clients.entries()) {
      const mine = (n === 0 ? keys : keys.toReversed()).map((key) => orders.event(key))
      flushes.push(rig.commit(client, ...mine).then(() => mine))
      await eventually('it waits', async () => {
        const { rows } = await holder.query(waitingSessions)
        return rows.length > n
      })
    }
    const all = Promise.all(flushes)
    all.catch(() => {})
    await holder.query('COMMIT')
    const committed = [held, ...(await all).flat()]
    await rig.tickAll()
    return faults(rig, committed)
  }

  test('of keys locked in their order keeps flushes from waiting in a circle', async () => {
    expect(await crossing()).toEqual(none)
    await expect(crossing((sql) => sql.replace('ORDER BY key COLLATE "C"', ''))).rejects.toMatchObject({
      code: 'PABAL_STORE_CONFLICT',
    })
  })
})
