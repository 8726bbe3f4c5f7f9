/**
 * A long backlog is numbered in parts and in order, whatever is committed meanwhile; and when `sequence()` resolves, everything
 * that was committed before it was called has its position, whoever else ticks.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { systemEnvironment } from '../../../src/core/environment.ts'
import type { EventRecord } from '../../../src/event/envelope.ts'
import { postgres } from '../../../src/store/postgres/index.ts'
import { missingPostgres, testDatabase } from '../../support/postgres.ts'
import { titled } from '../../support/require-server.ts'
import { deadline, testChance, timeout } from './chance.ts'
import { Rig } from './rig.ts'
import { faultsOf, Follower, idsOf, none, openProcess, type Orders, ordersOf } from './workload.ts'

const manyOf = (orders: Orders, count: number): EventRecord[] => Array.from({ length: count }, () => orders.event())

const missing = missingPostgres()
describe.skipIf(missing)(titled('a backlog of more than one tick numbers', missing), () => {
  test('is numbered in parts and in order, with commits in between and a transaction open from before', async () => {
    const rig = await Rig.create(await testDatabase())
    const [long, short] = [await rig.connect(), await rig.connect()]
    const orders = await ordersOf(40)
    const [theirs, ...ours] = orders.customers
    const event = (n: number) => orders.event(ours[n % ours.length])

    await long.query('BEGIN')
    const open = [orders.event(theirs)]
    await rig.append(long, open)
    const backlog = Array.from({ length: 20_500 }, (_, n) => event(n))
    for (let from = 0; from < backlog.length; from += 4_100)
      await rig.commit(short, ...backlog.slice(from, from + 4_100))

    const between: EventRecord[] = []
    const parts: number[] = []
    for (let n = 0; parts.length < 4; n++) {
      parts.push(await rig.tick(5_000))
      between.push(event(n))
      await rig.commit(short, between.at(-1)!)
      if (n === 1) {
        open.push(event(0))
        await rig.append(long, open.slice(1))
        await long.query('COMMIT')
      }
    }
    expect(parts).toEqual([5_000, 5_000, 5_000, 5_000])
    await rig.read()
    expect(idsOf(rig.seen)).toEqual(idsOf(backlog.slice(0, 20_000)))
    await rig.tickAll()
    await rig.read()
    expect(idsOf(rig.seen.slice(0, 20_500))).toEqual(idsOf(backlog))
    expect(faultsOf(rig.seen, idsOf([...backlog, ...between, ...open]))).toEqual(none)
  })

  test('is numbered to its end by a process, and what came meanwhile with it', async () => {
    const database = await testDatabase()
    const process = await openProcess(database)
    const rig = await Rig.beside(database)
    const orders = await ordersOf(40)
    const client = await rig.connect()
    const backlog = manyOf(orders, 20_001)
    await rig.commit(client, ...backlog)
    const sequenced = process.database.sequence()
    const meanwhile = orders.event()
    await rig.commit(client, meanwhile)
    await sequenced
    await process.database.sequence()
    expect(faultsOf(await new Follower(process, 1_000).end(), idsOf([...backlog, meanwhile]))).toEqual(none)
  })
})

describe.skipIf(missing)(titled('sequence()', missing), () => {
  test('waits for what was committed after somebody had begun to number in parts', async () => {
    const database = await testDatabase()
    const process = await openProcess(database)
    const rig = await Rig.beside(database)
    const orders = await ordersOf(5)
    const client = await rig.connect()
    await process.database.sequence()
    await rig.commit(client, ...manyOf(orders, 15))
    expect(await rig.tick(10)).toBe(10)
    const later = orders.event()
    await rig.commit(client, later)
    await process.database.sequence()
    expect(await process.database.read((session) => process.log.byId(session, later.id))).toMatchObject({
      position: 16,
    })
  })

  test('keeps its promise while others tick, in parts and inside of transactions', timeout, async () => {
    const chance = testChance()
    const database = await testDatabase()
    const processes = [await openProcess(database), await openProcess(database), await openProcess(database)]
    const rig = await Rig.beside(database)
    const orders = await ordersOf(12)
    const end = deadline(1_500)
    const committed: string[] = []
    let unkept = 0
    const writer = async (n: number): Promise<void> => {
      const own = chance.fork()
      const client = await rig.connect()
      const { database: asking, log } = processes[n % 3]!
      while (!end.passed()) {
        const events = own.some(orders.customers, 3).map((key) => orders.event(key))
        if (own.percent(50)) await rig.commit(client, ...events)
        else await asking.transaction((session) => log.append(session, events))
        committed.push(...idsOf(events))
        await asking.sequence()
        for (const { id } of events) if ((await asking.read((session) => log.byId(session, id))) === undefined) unkept++
      }
    }
    const ticker = async (): Promise<void> => {
      const own = chance.fork()
      const client = await rig.connect()
      while (!end.passed()) {
        if (own.percent(70)) await rig.tick(1 + own.below(3), client)
        else {
          await client.query('BEGIN')
          await rig.tickInside(client, 1 + own.below(3))
          await sleep(own.below(5))
          await client.query(own.percent(50) ? 'COMMIT' : 'ROLLBACK')
        }
        await sleep(own.below(4))
      }
    }
    await Promise.all([...Array.from({ length: 6 }, (_, n) => writer(n)), ticker(), ticker()])
    expect(unkept).toBe(0)
    expect(faultsOf(await new Follower(processes[0]!, 500).end(), committed)).toEqual(none)
  })

  test('of a database without contexts has nothing to wait for', async () => {
    const database = await testDatabase()
    const opened = await postgres(database.pool()).database.open(systemEnvironment)
    await opened.sequence()
    await opened.close()
  }, 2_000)
})
