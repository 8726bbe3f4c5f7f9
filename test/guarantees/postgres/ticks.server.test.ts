/** A tick where it does not belong is refused or does no harm, and a process that freezes while it ticks holds nobody up. */

import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { systemEnvironment } from '../../../src/core/environment.ts'
import { startChild } from '../../support/child.ts'
import { eventually } from '../../support/eventually.ts'
import { missingPostgres, testDatabase } from '../../support/postgres.ts'
import { titled } from '../../support/require-server.ts'
import { deadline, testChance, timeout } from './chance.ts'
import { connected } from './connected.ts'
import { Rig } from './rig.ts'
import { faultsOf, Follower, idsOf, none, openProcess, ordersOf, type Process } from './workload.ts'

/** Its clock runs ahead, so that what it reports after seconds comes in a moment. */
const fast = () => {
  const startMs = Date.now()
  return { ...systemEnvironment, now: () => startMs + (Date.now() - startMs) * 25 }
}

const lockName = `pabal_ordering.tick_lock()`

const append = async ({ database, log }: Process, event: Parameters<Process['log']['append']>[1][number]) => {
  await database.transaction((session) => log.append(session, [event]))
}

/** Whoever is woken under it comes late. */
const drowsy = {
  ...systemEnvironment,
  sleep: async (ms: number, signal?: AbortSignal) => {
    await systemEnvironment.sleep(ms, signal)
    await sleep(50)
  },
}

/** Ticks as fast as it can, on keys of its own, until it is killed. */
const restless = `
  import { Pool } from 'pg'
  import { systemEnvironment } from 'pabal'
  import { postgres } from 'pabal/postgres'
  import { raised } from './src/testing/store-contract/fixture.ts'
  const pool = new Pool({ connectionString: process.argv[1], max: 1 })
  const database = await postgres(pool).database.open(systemEnvironment)
  const { log } = await database.context('ordering')
  console.log('ticks')
  for (;;) {
    await database.transaction((session) => log.append(session, [raised({ key: process.argv[2] })]))
    await database.sequence()
  }`

const missing = missingPostgres()
describe.skipIf(missing)(titled('a tick', missing), () => {
  test('of a transaction that has appended is refused', async () => {
    const rig = await Rig.create(await testDatabase())
    const client = await rig.connect()
    const orders = await ordersOf(2)
    await client.query('BEGIN')
    await rig.append(client, [orders.event()])
    await expect(rig.tickInside(client)).rejects.toMatchObject({ code: '25001' })
  })

  test('of a transaction that appends afterwards loses nothing', async () => {
    const rig = await Rig.create(await testDatabase())
    const [early, other, client] = [await rig.connect(), await rig.connect(), await rig.connect()]
    const orders = await ordersOf(5)
    const [first, ...events] = Array.from({ length: 5 }, () => orders.event())
    await early.query('BEGIN; SELECT pg_current_xact_id()')
    await rig.commit(other, first!)
    await client.query('BEGIN')
    expect(await rig.tickInside(client)).toBe(1)
    await rig.append(client, [events[0]!])
    // Meanwhile nobody else ticks, and nothing is lost by that.
    await rig.commit(other, events[1]!)
    expect(await rig.tick()).toBe(-1)
    await rig.append(early, [events[2]!])
    await rig.append(client, [events[3]!])
    await client.query('COMMIT')
    await rig.tickAll()
    await early.query('COMMIT')
    await rig.tickAll()
    await rig.read()
    expect(faultsOf(rig.seen, idsOf([first!, ...events]))).toEqual(none)
  })

  test.each(['REPEATABLE READ', 'SERIALIZABLE'])('under %s is refused', async (level) => {
    const rig = await Rig.create(await testDatabase())
    const client = await rig.connect()
    await client.query(`BEGIN ISOLATION LEVEL ${level}`)
    await expect(rig.tickInside(client)).rejects.toMatchObject({ code: '25001' })
  })

  test('of a process that is stopped at any moment holds up nobody', timeout, async () => {
    const chance = testChance()
    const database = await testDatabase()
    const process_ = await openProcess(database)
    const orders = await ordersOf(6)
    const [mine, ...others] = orders.customers
    const children = others.slice(0, 2).map((key) => startChild({ text: restless }, database.url, key))
    for (const child of children) await child.said('ticks')
    const events: string[] = []
    for (const end = deadline(1_500); !end.passed(); ) {
      const { pid } = chance.of(children)
      await sleep(chance.below(15))
      process.kill(pid, 'SIGSTOP')
      try {
        for (let n = 0; n < 3; n++) {
          const event = orders.event(mine)
          await append(process_, event)
          await process_.database.sequence()
          events.push(event.id)
          const found = await process_.database.read((session) => process_.log.byId(session, event.id))
          expect(found).toMatchObject({ id: event.id })
        }
      } finally {
        process.kill(pid, 'SIGCONT')
      }
    }
    for (const child of children) await child.kill()
    // Nobody was ended for it either.
    expect(process_.warnings).toEqual([])
    const seen = await new Follower(process_, 1_000).end()
    expect(faultsOf(seen, idsOf(seen))).toEqual(none)
    expect(idsOf(seen.filter(({ key }) => key === mine))).toEqual(events)
  })

  test('whose lock a session holds and does nothing is reported, and goes on when the session has ended', async () => {
    const database = await testDatabase()
    const process_ = await openProcess(database, { environment: fast() })
    const orders = await ordersOf(2)
    const holder = await connected(database.url, { application_name: 'somebody' })
    await holder.query(`BEGIN; SELECT pg_advisory_xact_lock(${lockName})`)
    await append(process_, orders.event())
    await eventually('it is reported', () => process_.warnings.some((line) => line.includes('(somebody)')))
    expect(process_.warnings.join()).not.toContain('ended')
    await holder.query('ROLLBACK')
    await process_.database.sequence()
    expect(await new Follower(process_).end()).toHaveLength(1)
  })

  test('whose lock a frozen process of pabal holds ends its session, and that of no other database', async () => {
    const [ours, others] = [await testDatabase(), await testDatabase()]
    const process_ = await openProcess(ours, { environment: fast() })
    await openProcess(others)
    const orders = await ordersOf(2)
    const hold = async ({ url }: typeof ours, name: string) => {
      const holder = await connected(url, { application_name: name })
      await holder.query(`BEGIN; SELECT pg_advisory_xact_lock(${lockName})`)
      return holder
    }
    const elsewhere = await hold(others, 'pabal:elsewhere')
    await hold(ours, 'pabal:frozen')
    await append(process_, orders.event())
    await process_.database.sequence()
    expect(await new Follower(process_).end()).toHaveLength(1)
    expect(process_.warnings.filter((line) => line.includes('it was ended'))).toEqual([
      expect.stringContaining('(pabal:frozen)'),
    ])
    await elsewhere.query('COMMIT')
  })

  test('comes with the end of a process for what it committed last: there may be nobody else', async () => {
    const database = await testDatabase()
    const process_ = await openProcess(database, { environment: drowsy })
    const orders = await ordersOf(2)
    await append(process_, orders.event())
    await process_.database.sequence()
    await append(process_, orders.event())
    await process_.database.close()
    const [last] = await database.sql('SELECT head::integer FROM pabal_ordering.sequencer ORDER BY n DESC LIMIT 1')
    expect(last).toEqual({ head: 2 })
  })
})
