import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { Client } from 'pg'
import { describe, expect, onTestFinished, test } from 'vitest'
import { startChild } from './child.ts'
import { eventually } from './eventually.ts'
import { freshDatabase, missingPostgres, sharedServer, testDatabase, testServer } from './postgres.ts'
import { type PostgresServer, type PostgresVersion, startPostgres } from './postgres-server.ts'
import { titled } from './require-server.ts'
import { serverFolder } from '../../tools/servers/server-process.ts'

const ask = async <Row extends object>(url: string, text: string): Promise<Row[]> => {
  const client = new Client({ connectionString: url })
  client.on('error', () => {})
  await client.connect()
  try {
    return (await client.query<Row>(text)).rows
  } finally {
    await client.end()
  }
}
const setting = async (server: PostgresServer, name: string): Promise<string | undefined> =>
  Object.values((await ask<Record<string, string>>(server.url(), `SHOW ${name}`))[0] ?? {})[0]

describe.each<PostgresVersion>([14, 18])('a Postgres server', (version) => {
  const missing = missingPostgres(version)
  const title = `of version ${version}`

  describe.skipIf(missing)(titled(title, missing), () => {
    test('is of that version, durable, and keeps what was committed over a restart and a crash', async () => {
      const server = await testServer({ version, settings: { work_mem: '8MB' } })
      expect(await setting(server, 'server_version')).toMatch(new RegExp(`^${version}\\.`))
      expect(await setting(server, 'fsync')).toBe('on')
      expect(await setting(server, 'synchronous_commit')).toBe('on')
      expect(await setting(server, 'work_mem')).toBe('8MB')

      await ask(server.url(), "CREATE TABLE kept (word text); INSERT INTO kept VALUES ('committed')")
      await server.restart()
      const open = new Client({ connectionString: server.url() })
      open.on('error', () => {})
      await open.connect()
      await open.query("BEGIN; INSERT INTO kept VALUES ('open')")
      await server.crash()
      expect(server.pid).toBeUndefined()
      await expect(ask(server.url(), 'SELECT 1')).rejects.toThrow(/ECONNREFUSED/)
      await server.start()
      expect(await server.log()).toContain('automatic recovery in progress')
      expect(await ask(server.url(), 'SELECT word FROM kept')).toEqual([{ word: 'committed' }])
    })
  })
})

const missing = missingPostgres()
describe.skipIf(missing)(titled('Postgres for tests', missing), () => {
  test('a data folder of the caller is used again, and stays', async () => {
    const folder = await serverFolder('kept')
    onTestFinished(() => rm(folder, { recursive: true }))
    const dataFolder = `${folder}/data`
    const keeping = await startPostgres({ dataFolder })
    await ask(keeping.url(), "CREATE TABLE kept (word text); INSERT INTO kept VALUES ('committed')")
    await keeping[Symbol.asyncDispose]()

    const server = await testServer({ dataFolder })
    expect(await ask(server.url(), 'SELECT word FROM kept')).toEqual([{ word: 'committed' }])
  })

  test('a server and its folder are gone with the process that started it, even if that is killed', async () => {
    const child = startChild({
      text: `
        import { startPostgres } from './test/support/postgres-server.ts'
        const { dataFolder, port } = await startPostgres()
        console.log(JSON.stringify({ dataFolder, port }))
        setInterval(() => {}, 1000)`,
    })
    const line = await eventually('it runs', () => child.lines[0])
    const { dataFolder, port } = JSON.parse(line) as { dataFolder: string; port: number }
    const url = `postgres://postgres@127.0.0.1:${port}/postgres`
    expect(await ask(url, 'SELECT 1 AS n')).toEqual([{ n: 1 }])
    await child.kill()
    await eventually('its folder is gone', () => !existsSync(dataFolder))
    await expect(ask(url, 'SELECT 1')).rejects.toThrow(/ECONNREFUSED/)
  })

  test('databases of the shared server are empty, and dropped whatever is left open in them', async () => {
    const { name, url, sql, pool, drop } = await testDatabase()
    expect(url).toBe((await sharedServer()).url(name))
    await sql('CREATE TABLE t (n int)')
    await sql("BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'left'")
    const client = await pool().connect()
    await client.query('BEGIN; INSERT INTO t VALUES (2)')
    await drop()
    await expect(client.query('SELECT 1')).rejects.toThrow(/terminated|not queryable/)

    await using other = await freshDatabase()
    expect(await other.sql('SELECT $1::int AS n', [3])).toEqual([{ n: 3 }])
    expect(await other.sql('SELECT 1 FROM pg_database WHERE datname = $1', [name])).toEqual([])
  })

  test('a database is dropped with its replication slots', async () => {
    const server = await testServer()
    const database = await freshDatabase(server)
    await database.sql("SELECT pg_create_logical_replication_slot('left', 'pgoutput')")
    await database.drop()
    expect(await ask(server.url(), 'SELECT slot_name FROM pg_replication_slots')).toEqual([])
  })
})
