/** What is particular to Postgres.js, below Drizzle too: it remembers errors, and a reserved connection tells nothing. */

import { drizzle } from 'drizzle-orm/postgres-js'
import postgres from 'postgres'
import { describe, expect, onTestFinished, test } from 'vitest'
import { missingPostgres, testDatabase } from '../../../../test/support/postgres.ts'
import { titled } from '../../../../test/support/require-server.ts'
import { fromDrizzle } from './from-drizzle.ts'
import { fromPostgresJs } from './from-postgres-js.ts'
import type { OwnTransaction } from './own-transaction.ts'

const open = async () => {
  const database = await testDatabase()
  await database.sql('CREATE TABLE notes (body text)')
  const sql = postgres(database.url, { max: 2, onnotice: () => {} })
  onTestFinished(() => sql.end())
  return {
    sql,
    bodies: async () => (await database.sql('SELECT body FROM notes')).map((row) => row['body'] as unknown),
  }
}

const write = (own: OwnTransaction, body: string) => own.query('INSERT INTO notes (body) VALUES ($1)', [body])
const writeAndFail = async (own: OwnTransaction) => {
  await write(own, 'undone')
  await own.query('SELECT 1 / 0', [])
}
const divisionByZero = expect.objectContaining({ code: '22012' })

const missing = missingPostgres()
describe.skipIf(missing)(titled('Postgres.js', missing), () => {
  test('commits after an error that is caught around its savepoint', async () => {
    const { sql, bodies } = await open()
    await sql.begin(async (tx) => {
      await write(fromPostgresJs(tx), 'kept')
      await expect(tx.savepoint((inner) => writeAndFail(fromPostgresJs(inner)))).rejects.toEqual(divisionByZero)
    })
    expect(await bodies()).toEqual(['kept'])
  })

  test('commits after an error that is caught around Drizzle’s nested transaction', async () => {
    const { sql, bodies } = await open()
    await drizzle(sql).transaction(async (tx) => {
      await write(fromDrizzle(tx), 'kept')
      await expect(tx.transaction((inner) => writeAndFail(fromDrizzle(inner)))).rejects.toEqual(divisionByZero)
    })
    expect(await bodies()).toEqual(['kept'])
  })

  test('has no savepoint on a reserved connection that has begun nothing', async () => {
    const { sql } = await open()
    const reserved = await sql.reserve()
    onTestFinished(() => reserved.release())
    const running = fromPostgresJs(reserved).query('SAVEPOINT pabal_1', [])
    await expect(running).rejects.toEqual(expect.objectContaining({ code: '25P01' }))
  })
})
