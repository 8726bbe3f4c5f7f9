import { type Generated, Kysely, sql, WithSchemaPlugin } from 'kysely'
import { Pool, TypeOverrides, types } from 'pg'
import { describe, expect, onTestFinished, test } from 'vitest'
import { missingPostgres, testDatabase } from '../../../test/support/postgres.ts'
import { titled } from '../../../test/support/require-server.ts'
import { defineContext } from '../../context/definition.ts'
import { systemEnvironment } from '../../core/environment.ts'
import { raised, Undo, undone } from '../../testing/store-contract/fixture.ts'
import { type OwnTransaction, postgres } from '../postgres/index.ts'
import { sqlite } from '../sqlite/index.ts'
import type { Session, Store } from '../store.ts'
import { kysely } from './index.ts'

interface Tables {
  item: { id: Generated<number>; name: string; paid: boolean; pence: number; note: string | null }
}

const numbers = new TypeOverrides()
numbers.setTypeParser(types.builtins.INT8, Number)

const opened = async () => {
  const pool = (await testDatabase()).pool({ pipeline: true, types: numbers })
  const store: Store<Kysely<Tables>, OwnTransaction> = kysely<Tables>(postgres(pool), {
    plugins: [new WithSchemaPlugin('shelf')],
  })
  const database = await store.database.open(systemEnvironment)
  onTestFinished(() => database.close())
  const { log } = await database.context('ordering')
  const write = <R>(fn: (tx: Kysely<Tables>, session: Session) => Promise<R>): Promise<R> =>
    database.transaction((session) => fn(store.tx(session), session))
  await write(async (tx) => {
    await tx.schema.createSchema('shelf').execute()
    await tx.schema
      .createTable('item')
      .addColumn('id', 'serial', (column) => column.primaryKey())
      .addColumn('name', 'text', (column) => column.unique())
      .addColumn('paid', 'boolean')
      .addColumn('pence', 'bigint')
      .addColumn('note', 'text')
      .execute()
  })
  const names = () =>
    database.read(async (session) => {
      const rows = await store.reader(session).selectFrom('item').select('name').orderBy('id').execute()
      return rows.map(({ name }) => name)
    })
  return { store, database, log, write, names }
}

const item = (name: string) => ({ name, paid: true, pence: 2 ** 40, note: null })
const missing = missingPostgres()

describe.skipIf(missing)(titled('Kysely over Postgres', missing), () => {
  test('queries run in the unit’s transaction: rows and events commit together, or not at all', async () => {
    const { write, log, names, database } = await opened()
    await write(async (tx, session) => {
      await tx.insertInto('item').values(item('주문-🐎')).execute()
      await log.append(session, [raised()])
    })
    await undone(
      write(async (tx, session) => {
        await tx.insertInto('item').values(item('undone')).execute()
        await log.append(session, [raised()])
        throw new Undo()
      }),
    )
    await database.sequence()
    expect(await names()).toEqual(['주문-🐎'])
    expect((await database.read((session) => log.head(session))).position).toBe(1)
  })

  test('queries give rows and counts as Kysely does, and values as the pool parses them', async () => {
    const { write } = await opened()
    await write(async (tx) => {
      const inserted = await tx.insertInto('item').values(['a', 'b', 'c'].map(item)).returning(['id', 'paid']).execute()
      expect(inserted).toEqual([1, 2, 3].map((id) => ({ id, paid: true })))
      expect(await tx.insertInto('item').values(item('d')).executeTakeFirst()).toMatchObject({
        numInsertedOrUpdatedRows: 1n,
      })
      expect(await tx.updateTable('item').set({ paid: false }).where('id', '>', 1).executeTakeFirst()).toMatchObject({
        numUpdatedRows: 3n,
      })
      expect(await tx.deleteFrom('item').where('name', '=', 'a').executeTakeFirst()).toMatchObject({
        numDeletedRows: 1n,
      })
      expect((await sql`update shelf.item set note = 'x'`.execute(tx)).numAffectedRows).toBe(3n)
      const counted = tx
        .selectFrom('item')
        .select(({ fn }) => [fn.countAll<number>().as('all'), fn.max('pence').as('most')])
      expect(await counted.execute()).toEqual([{ all: 3, most: 2 ** 40 }])
      const streamed: string[] = []
      for await (const { name } of tx.selectFrom('item').select('name').orderBy('name').stream()) streamed.push(name)
      expect(streamed).toEqual(['b', 'c', 'd'])
    })
  })

  test('a transaction stays in the hands of pabal', async () => {
    const { write, names } = await opened()
    await write(async (tx) => {
      await tx.insertInto('item').values(item('a')).execute()
      const control = { code: 'PABAL_TRANSACTION_CONTROL' }
      await expect(tx.transaction().execute(async () => {})).rejects.toMatchObject(control)
      await expect(tx.startTransaction().execute()).rejects.toMatchObject(control)
      for (const word of ['COMMIT', 'ROLLBACK', '-- x\r\nSAVEPOINT y'])
        await expect(sql.raw(word).execute(tx)).rejects.toMatchObject(control)
    })
    expect(await names()).toEqual(['a'])
  })

  test('it is of no use after its unit, and writes nothing outside of one', async () => {
    const { store, database, write, names } = await opened()
    const kept: Kysely<Tables>[] = []
    await write(async (tx) => void kept.push(tx))
    const late = () => kept[0]!.insertInto('item').values(item('late')).execute()
    await expect(late()).rejects.toMatchObject({ code: 'PABAL_UNIT_CLOSED' })
    await write(() => expect(late()).rejects.toMatchObject({ code: 'PABAL_UNIT_CLOSED' }))
    const writing = database.read((session) => store.reader(session).insertInto('item').values(item('a')).execute())
    await expect(writing).rejects.toMatchObject({ code: 'PABAL_STORE_READONLY' })
    expect(await names()).toEqual([])
  })

  test('its tables are found by introspection', async () => {
    const { write } = await opened()
    const tables = await write((tx) => tx.introspection.getTables())
    expect(tables.filter(({ schema }) => schema === 'shelf').map(({ name }) => name)).toEqual(['item'])
  })
})

test('a context that is defined with Kysely takes a store on either database', () => {
  const shelf = defineContext('shelf', { store: kysely<Tables>, events: [] })
  const onSqlite = shelf.with({ store: kysely<Tables>(sqlite(':memory:')) })
  const onPostgres = shelf.with({ store: kysely<Tables>(postgres(new Pool())) })
  expect([onSqlite, onPostgres].map(({ '~pabal': { store } }) => store.database.dialect)).toEqual([
    'sqlite',
    'postgres',
  ])
  // @ts-expect-error the tables of another context
  shelf.with({ store: kysely<{ other: { id: number } }>(sqlite(':memory:')) })
})
