/** Who runs a version of a handler on Postgres is told by connections, which may come again. */

import { describe, expect, onTestFinished, test } from 'vitest'
import { postgres } from 'pabal/postgres'
import { Pool } from 'pg'
import { systemEnvironment } from '../../core/environment.ts'
import { eventually } from '../../../test/support/eventually.ts'
import { missingPostgres, testDatabase } from '../../../test/support/postgres.ts'
import { titled } from '../../../test/support/require-server.ts'
import type { Database } from '../store.ts'

const of = { consumer: 'list', source: 'ordering' }

const openTwo = async () => {
  const { url, sql } = await testDatabase()
  const open = async (): Promise<Database> => {
    const pool = new Pool({ connectionString: url })
    onTestFinished(() => void pool.end().catch(() => {}))
    const database = await postgres(pool).database.open(systemEnvironment)
    onTestFinished(() => database.close())
    return database
  }
  const [older, newer] = [await open(), await open()]
  const editionsIn = async (database: Database) => (await database.context('ordering')).editions
  const join = async (database: Database, wants: string) => {
    const editions = await editionsIn(database)
    return database.transaction((session) => editions.join(session, of, wants))
  }
  const isSuperseded = async () => {
    const editions = await editionsIn(older)
    return older.transaction((session) => editions.isSuperseded(session, of, 1))
  }
  expect([await join(older, 'few'), await join(newer, 'more')]).toEqual([1, 2])
  // What names a process connects beside its work.
  await eventually('both are to be seen', async () => {
    const names = await sql<{ name: string }>(
      `SELECT application_name AS name FROM pg_stat_activity WHERE datname = current_database()`,
    )
    return [older, newer].every(({ owner }) => names.some(({ name }) => name === owner))
  })
  const goneSince = async () =>
    (await sql<{ gone_ms: string | null }>('SELECT gone_ms FROM pabal_ordering.member WHERE edition = 2')).map(
      ({ gone_ms }) => gone_ms,
    )
  return { sql, older, newer, join, isSuperseded, goneSince }
}

const missing = missingPostgres()
describe.skipIf(missing)(titled('a process that runs a newer version of a handler', missing), () => {
  test('is thought to be there for a minute after its connection has gone, and not for longer', async () => {
    const { sql, older, newer, join, isSuperseded, goneSince } = await openTwo()
    await newer.close()
    await eventually('its connection is seen to be gone', async () => {
      expect(await isSuperseded()).toBe(true)
      return (await goneSince())[0] !== null
    })
    await sql('UPDATE pabal_ordering.member SET gone_ms = gone_ms - 59000 WHERE edition = 2')
    expect(await isSuperseded()).toBe(true)
    await sql('UPDATE pabal_ordering.member SET gone_ms = gone_ms - 2000 WHERE edition = 2')
    expect(await isSuperseded()).toBe(false)
    // Whoever joins forgets it, and whoever else has gone for so long.
    await join(older, 'few')
    expect(await goneSince()).toEqual([])
  })

  test('is there when its connection has come again, however long it was away', async () => {
    const { sql, isSuperseded, goneSince } = await openTwo()
    await sql('UPDATE pabal_ordering.member SET gone_ms = 1 WHERE edition = 2')
    expect(await isSuperseded()).toBe(true)
    expect(await goneSince()).toEqual([null])
  })

  test('behind a pooler it is there until it says that it ends, and for a day at most', async () => {
    const { sql, isSuperseded } = await openTwo()
    await sql(`UPDATE pabal_ordering.member SET owner = 'pooled:1' WHERE edition = 2`)
    expect(await isSuperseded()).toBe(true)
    await sql('UPDATE pabal_ordering.member SET at_ms = at_ms - 86400001 WHERE edition = 2')
    expect(await isSuperseded()).toBe(false)
  })
})
