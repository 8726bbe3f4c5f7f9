/** A snapshot that somebody holds open keeps all dead rows: ticks and reads go on, and look at no more of them than without it. */

import type { Client } from 'pg'
import { describe, expect, test } from 'vitest'
import { missingPostgres, testDatabase, testServer } from '../../support/postgres.ts'
import { titled } from '../../support/require-server.ts'
import { deadline, timeout } from './chance.ts'
import { Rig } from './rig.ts'
import { faultsOf, Follower, idsOf, none, openProcess, ordersOf } from './workload.ts'

/** Pages that a statement has looked at. */
const pagesOf = async (client: Client, sql: string): Promise<number> => {
  const { rows } = await client.query<{ 'QUERY PLAN': { Plan: Record<string, number> }[] }>(
    `EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ${sql}`,
  )
  const { Plan: plan } = rows[0]!['QUERY PLAN'][0]!
  return plan['Shared Hit Blocks']! + plan['Shared Read Blocks']!
}

const missing = missingPostgres()
describe.skipIf(missing)(titled('a snapshot that is held open', missing), () => {
  test('stops neither ticks nor reads, nor makes them look at more', timeout, async () => {
    const database = await testDatabase(await testServer())
    const process = await openProcess(database)
    const rig = await Rig.beside(database)
    const [client, holder] = [await rig.connect(), await rig.connect()]
    const orders = await ordersOf(4)
    const committed: string[] = []
    const round = async (): Promise<void> => {
      const event = orders.event()
      await process.database.transaction((session) => process.log.append(session, [event]))
      committed.push(event.id)
      await process.database.sequence()
      const found = await process.database.read((session) => process.log.at(session, committed.length))
      expect(found?.id).toBe(event.id)
    }
    const pages = async () => {
      await rig.commit(client, ...[orders.event()].map((event) => (committed.push(event.id), event)))
      return {
        tick: await pagesOf(client, 'SELECT pabal_ordering.tick()'),
        head: await pagesOf(client, 'SELECT head FROM pabal_ordering.sequencer ORDER BY n DESC LIMIT 1'),
      }
    }
    for (let n = 0; n < 20; n++) await round()
    const before = await pages()
    await holder.query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pabal_ordering.event')
    let rounds = 0
    for (const end = deadline(0); rounds < 120 || !end.passed(); rounds++) await round()
    const after = await pages()
    expect(after.head).toBeLessThanOrEqual(before.head + 4)
    expect(after.tick).toBeLessThanOrEqual(before.tick * 2)
    await holder.query('COMMIT')
    expect(faultsOf(await new Follower(process, 100).end(), committed)).toEqual(none)
    expect(committed).toEqual(idsOf(await new Follower(process, 1_000).end()))
  })
})
