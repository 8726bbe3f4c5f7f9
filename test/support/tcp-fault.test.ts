import { Client } from 'pg'
import { describe, expect, onTestFinished, test } from 'vitest'
import { eventually } from './eventually.ts'
import { missingPostgres, testDatabase, type TestDatabase } from './postgres.ts'
import { titled } from './require-server.ts'
import { type FaultProxy, faultProxy } from './tcp-fault.ts'

interface Connected {
  readonly database: TestDatabase
  readonly proxy: FaultProxy
  readonly client: Client
}

const connected = async (): Promise<Connected> => {
  const database = await testDatabase()
  const proxy = await faultProxy(Number(new URL(database.url).port))
  onTestFinished(() => proxy.close())
  await database.sql('CREATE TABLE said (word text)')
  const client = new Client({ connectionString: proxy.url(database.url) })
  client.on('error', () => {})
  await client.connect()
  return { database, proxy, client }
}

/** Whether it is still open when everything that is under way has arrived. */
const isOpen = async (asked: Promise<unknown>, database: TestDatabase): Promise<boolean> => {
  const settled = asked.then(
    () => false,
    () => false,
  )
  await database.sql('SELECT pg_sleep(0.05)')
  return Promise.race([settled, Promise.resolve(true)])
}

const words = async ({ database }: Connected): Promise<unknown[]> =>
  (await database.sql<{ word: string }>('SELECT word FROM said')).map(({ word }) => word)

const missing = missingPostgres()
describe.skipIf(missing)(titled('the proxy with faults', missing), () => {
  test('frozen, it holds a statement and its answer, and lets both go on when it thaws', async () => {
    const { database, proxy, client } = await connected()
    proxy.freeze()
    const answer = client.query<{ n: number }>('SELECT 1 AS n')
    expect(await isOpen(answer, database)).toBe(true)
    expect(proxy.connections).toBe(1)
    proxy.thaw()
    expect((await answer).rows).toEqual([{ n: 1 }])
  })

  test('it delays each direction', async () => {
    const { proxy, client } = await connected()
    proxy.delay(40)
    const startedAt = performance.now()
    await client.query('SELECT 1')
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(79)
  })

  test('a reset breaks what is connected and lets others in; refused, nobody comes in until it heals', async () => {
    const { database, proxy, client } = await connected()
    const answer = client.query('SELECT pg_sleep(30)')
    proxy.reset()
    await expect(answer).rejects.toThrow(/ECONNRESET|terminated/)
    const connecting = async (): Promise<void> => {
      const next = new Client({ connectionString: proxy.url(database.url) })
      await next.connect()
      await next.end()
    }
    await connecting()
    proxy.refuse()
    await expect(connecting()).rejects.toThrow(/ECONNRESET|terminated/)
    proxy.heal()
    await connecting()
  })

  test('the server works on while its replies are cut', async () => {
    const shop = await connected()
    shop.proxy.cutReplies()
    const answer = shop.client.query("INSERT INTO said VALUES ('heard')")
    await eventually('the row is there', async () => (await words(shop)).length === 1)
    expect(await isOpen(answer, shop.database)).toBe(true)
    shop.proxy.reset()
    await expect(answer).rejects.toThrow(/ECONNRESET|terminated/)
  })

  test.each([
    ['simple', 'COMMIT'],
    ['prepared, known to the server already', { name: 'the-end', text: 'commit' }],
  ])('the reply to a %s COMMIT is lost once, and the transaction is committed', async (_, statement) => {
    const shop = await connected()
    const { client, proxy } = shop
    await client.query('BEGIN')
    await client.query(statement)
    const lost = proxy.dropOnce()
    await client.query('BEGIN')
    await client.query("INSERT INTO said VALUES ($1 || ' COMMIT')", ['please'])
    const answer = client.query(statement)
    await lost
    expect(await words(shop)).toEqual(['please COMMIT'])
    expect(await isOpen(answer, shop.database)).toBe(true)
  })

  test('a COMMIT that is lost with the connection commits nothing, one whose reply is lost commits', async () => {
    for (const lose of ['request', 'reply'] as const) {
      const shop = await connected()
      const lost = shop.proxy.dropOnce(/^COMMIT/, { lose, after: 'reset' })
      await shop.client.query("BEGIN; INSERT INTO said VALUES ('once')")
      await expect(shop.client.query('COMMIT')).rejects.toThrow(/ECONNRESET|terminated/)
      await lost
      expect(await words(shop)).toEqual(lose === 'reply' ? ['once'] : [])
    }
  })
})
