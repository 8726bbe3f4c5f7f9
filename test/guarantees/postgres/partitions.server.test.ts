/** Partitions are attached ahead under those who append and read; where one is missing that is one clear error, and heals. */

import { describe, expect, test } from 'vitest'
import { systemEnvironment } from '../../../src/core/environment.ts'
import { defaultSizes } from '../../../src/store/postgres/migrations/partitions.ts'
import { eventually } from '../../support/eventually.ts'
import { missingPostgres, testDatabase } from '../../support/postgres.ts'
import { titled } from '../../support/require-server.ts'
import { Rig } from './rig.ts'
import {
  committedIn,
  createState,
  faultsOf,
  Follower,
  idsOf,
  insertState,
  none,
  openProcess,
  ordersOf,
} from './workload.ts'

const missing = missingPostgres()
describe.skipIf(missing)(titled('partitions', missing), () => {
  test('are attached without waiting for an open appender and an open reader, and without making them wait', async () => {
    const rig = await Rig.create(await testDatabase(), { sizes: { events: 50, positions: 50, ahead: 3 } })
    const [appender, reader, other] = [await rig.connect(), await rig.connect(), await rig.connect()]
    const orders = await ordersOf(8)
    const own = [orders.event(orders.customers[0])]
    const others = Array.from({ length: 45 }, (_, n) => orders.event(orders.customers[1 + (n % 7)]))
    await rig.commit(other, ...others)
    await rig.tickAll()
    await appender.query('BEGIN')
    await rig.append(appender, own)
    await reader.query('BEGIN; DECLARE events CURSOR FOR SELECT * FROM rig.event; FETCH 1 FROM events')
    await reader.query('DECLARE runs CURSOR FOR SELECT * FROM rig.run; FETCH 1 FROM runs')

    await rig.sql(`SELECT setval('rig.event_id', 120)`)
    await rig.sql(`SET lock_timeout = '300ms'`)
    expect(await rig.sql('SELECT rig.create_partitions() > 0 AS made')).toEqual([{ made: true }])
    // Whoever is in a partition goes on, and into the next.
    for (const client of [appender, other, reader]) await client.query(`SET lock_timeout = '300ms'`)
    own.push(orders.event(own[0]!.key))
    await rig.append(appender, own.slice(1))
    const beyond = Array.from({ length: 60 }, (_, n) => orders.event(orders.customers[1 + (n % 7)]))
    await rig.commit(other, ...beyond)
    expect((await reader.query('FETCH ALL FROM events')).rows).toHaveLength(44)
    await appender.query('COMMIT')
    await rig.tickAll()
    await rig.read()
    expect(faultsOf(rig.seen, idsOf([...others, ...own, ...beyond]))).toEqual(none)
  })

  test('are attached once when several processes see to it at once', async () => {
    const rig = await Rig.create(await testDatabase(), { sizes: { events: 50, positions: 50, ahead: 3 } })
    const clients = await Promise.all(Array.from({ length: 6 }, () => rig.connect()))
    for (const last of [170, 340, 510]) {
      await rig.sql(`SELECT setval('rig.event_id', ${last})`)
      const made = await Promise.all(
        clients.map(async (client) => {
          const { rows } = await client.query<{ made: number }>('SELECT rig.create_partitions() AS made')
          return rows[0]!.made
        }),
      )
      expect(made.filter((count) => count > 0)).toHaveLength(1)
    }
  })

  test('of events: a missing one refuses the unit whole, and is made up for', async () => {
    let aheadMs = 0
    const environment = { ...systemEnvironment, now: () => Date.now() + aheadMs }
    const database = await testDatabase()
    await createState(database)
    const process = await openProcess(database, { environment })
    const orders = await ordersOf(2)
    const unit = async (...events: ReturnType<typeof orders.event>[]) => {
      await process.database.transaction(async (session) => {
        await process.tx(session).query(insertState, [idsOf(events)])
        await process.log.append(session, events)
      })
      return idsOf(events)
    }
    const committed = await unit(orders.event(), orders.event())
    await process.database.sequence()
    // So many ids at once that nobody could see to it.
    const { events, ahead } = defaultSizes
    await database.sql(`SELECT setval('pabal_ordering.event_id', ${events * (ahead + 1) - 1})`)
    const refused = { code: 'PABAL_STORE_PARTITION_MISSING' }
    await expect(unit(orders.event())).rejects.toMatchObject(refused)
    await expect(unit(orders.event(), orders.event())).rejects.toMatchObject(refused)
    expect((await committedIn(database)).toSorted()).toEqual(committed.toSorted())

    aheadMs = 60_000
    await process.database.sequence()
    await eventually('there is one', () =>
      unit(orders.event(), orders.event()).then(
        (ids) => committed.push(...ids),
        () => false,
      ),
    )
    expect(faultsOf(await new Follower(process).end(), committed)).toEqual(none)
  })

  test('of positions: a missing one is made up for at once', async () => {
    const database = await testDatabase()
    const process = await openProcess(database)
    const orders = await ordersOf(2)
    await process.database.sequence()
    await database.sql('DROP TABLE pabal_ordering.run_0, pabal_ordering.run_1')
    const events = [orders.event(), orders.event()]
    await process.database.transaction((session) => process.log.append(session, events))
    expect(faultsOf(await new Follower(process).end(), idsOf(events))).toEqual(none)
    expect(process.warnings).toEqual([])
  })
})
