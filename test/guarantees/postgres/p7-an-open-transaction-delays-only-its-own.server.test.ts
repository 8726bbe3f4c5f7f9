/** P7 An open transaction delays only its own events, and later ones of the keys that it has locked. */

import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { systemEnvironment } from '../../../src/core/environment.ts'
import { fromPg, postgres } from '../../../src/store/postgres/index.ts'
import type { EventRecord } from '../../../src/event/envelope.ts'
import { eventually } from '../../support/eventually.ts'
import { missingPostgres, testDatabase } from '../../support/postgres.ts'
import { type PostgresServer, startPostgres } from '../../support/postgres-server.ts'
import { titled } from '../../support/require-server.ts'
import { connected } from './connected.ts'
import { faultsOf, Follower, idsOf, none, openProcess, ordersOf, type Process, waitingSessions } from './workload.ts'

const append = async ({ database, log }: Process, ...events: EventRecord[]): Promise<void> => {
  await database.transaction((session) => log.append(session, events))
}

/** What a reader finds once everything that is committed has its position. */
const logged = async (process: Process): Promise<string[]> => idsOf(await new Follower(process, 100).end())

const missing = missingPostgres()

let server: PostgresServer
beforeAll(async () => {
  if (missing === undefined) server = await startPostgres()
})
afterAll(() => server?.[Symbol.asyncDispose]())

describe.skipIf(missing)(titled('an open transaction', missing), () => {
  test('of another database, of other tables, or one that was prepared and forgotten, delays nothing', async () => {
    const [ours, others] = [await testDatabase(server), await testDatabase(server)]
    const process = await openProcess(ours)
    for (const database of [ours, others]) {
      await database.sql('CREATE TABLE elsewhere (n integer)')
      const [open, orphan] = [await connected(database.url), await connected(database.url)]
      await open.query('BEGIN; INSERT INTO elsewhere VALUES (1)')
      await orphan.query(`BEGIN; INSERT INTO elsewhere VALUES (2); PREPARE TRANSACTION '${database.name}'`)
    }
    const orders = await ordersOf(20)
    const events = Array.from({ length: 100 }, () => orders.event())
    for (const event of events) await append(process, event)
    expect(await logged(process)).toEqual(idsOf(events))
  })

  test.each(['open', 'prepared'])('that is %s delays only its own events and later ones of its keys', async (state) => {
    const database = await testDatabase(server)
    const [process, other] = [await openProcess(database), await openProcess(database)]
    const orders = await ordersOf(3)
    const [locked, ...free] = orders.customers
    const event = (key = locked) => orders.event(key)
    const own = event()
    const client = await connected(database.url)
    await client.query('BEGIN')
    await process.database.join(fromPg(client), (session) => process.log.append(session, [own]))
    if (state === 'prepared') await client.query(`PREPARE TRANSACTION 'own'`)

    // Appended after it, and not behind it.
    const unrelated = Array.from({ length: 30 }, (_, n) => event(free[n % 2]))
    for (const [n, each] of unrelated.entries()) await append(n % 2 === 0 ? process : other, each)
    // Behind it: one on its key, and what that one's transaction appends with it.
    const behind = [event(free[0]), event()]
    const waiting = append(other, ...behind)
    await eventually('it waits for the key', async () => {
      const rows = await database.sql(waitingSessions)
      return rows.length > 0
    })
    expect((await logged(process)).toSorted()).toEqual(idsOf(unrelated).toSorted())

    await client.query(state === 'prepared' ? `COMMIT PREPARED 'own'` : 'COMMIT')
    await waiting
    const seen = await new Follower(other, 100).end()
    expect(faultsOf(seen, idsOf([own, ...unrelated, ...behind]))).toEqual(none)
    expect(idsOf(seen.filter(({ key }) => key === locked))).toEqual(idsOf([own, behind[1]!]))
  })

  test.each(['TABLE pabal_billing.meta', 'FUNCTION pabal_billing.tick'])(
    'is not what a log waits for whose neighbour in the database cannot be numbered (DROP %s)',
    async (part) => {
      const database = await testDatabase(server)
      const before = await openProcess(database)
      await before.database.context('billing')
      await before.database.close()
      await database.sql(`DROP ${part}`)
      const pool = database.pool()
      const warnings: unknown[] = []
      const opened = await postgres(pool).database.open(systemEnvironment, { warn: (_, error) => warnings.push(error) })
      onTestFinished(() => opened.close())
      await opened.context('billing')
      const { log } = await opened.context('ordering')
      await eventually('it is said', () => warnings.length > 0)
      const orders = await ordersOf(2)
      const own = orders.event()
      await opened.transaction((session) => log.append(session, [own]))
      await eventually('it has its position', () => opened.read((session) => log.byId(session, own.id)))
    },
  )
})
