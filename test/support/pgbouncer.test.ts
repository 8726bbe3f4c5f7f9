import { Client } from 'pg'
import { describe, expect, test } from 'vitest'
import { missingPgBouncer, startPgBouncer } from './pgbouncer.ts'
import { missingPostgres, testDatabase } from './postgres.ts'
import { titled } from './require-server.ts'

const missing = missingPostgres() ?? missingPgBouncer()
describe.skipIf(missing)(titled('PgBouncer', missing), () => {
  test('clients share one server connection, which each has for as long as its transaction', async () => {
    const database = await testDatabase()
    await using bouncer = await startPgBouncer(database.url, { default_pool_size: '1' })
    const connect = async (): Promise<Client> => {
      const client = new Client({ connectionString: bouncer.url(database.url) })
      await client.connect()
      return client
    }
    const backendOf = async (client: Client): Promise<number | undefined> =>
      (await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0]?.pid

    const [one, other] = [await connect(), await connect()]
    expect(await backendOf(one)).toBe(await backendOf(other))

    await one.query('BEGIN')
    let answered = false
    const waiting = backendOf(other).then(() => (answered = true))
    await backendOf(one)
    expect(answered).toBe(false)
    await one.query('COMMIT')
    await waiting
    await one.end()
    await other.end()
  })

  test('it is gone when it is disposed of, and says why it does not start', async () => {
    const database = await testDatabase()
    const bouncer = await startPgBouncer(database.url)
    const running = () => process.kill(bouncer.pid, 0)
    expect(running()).toBe(true)
    await bouncer[Symbol.asyncDispose]()
    expect(running).toThrow(/ESRCH/)
    await expect(startPgBouncer(database.url, { pool_mode: 'none' })).rejects.toThrow(/pool_mode/)
  })
})
