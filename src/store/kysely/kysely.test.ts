import type { DatabaseSync } from 'node:sqlite'
import { type Generated, type Kysely, sql } from 'kysely'
import { expect, onTestFinished, test } from 'vitest'
import { systemEnvironment } from '../../core/environment.ts'
import { raised, Undo, undone } from '../../testing/store-contract/fixture.ts'
import { sqlite } from '../sqlite/index.ts'
import type { Session, Store } from '../store.ts'
import { kysely } from './index.ts'

interface Tables {
  item: { id: Generated<number>; name: string; paid: boolean | number; note: string | null }
}

const opened = async () => {
  const store: Store<Kysely<Tables>, DatabaseSync> = kysely<Tables>(sqlite(':memory:'))
  const database = await store.database.open(systemEnvironment)
  onTestFinished(() => database.close())
  const { log } = await database.context('ordering')
  const write = <R>(fn: (tx: Kysely<Tables>, session: Session) => Promise<R>): Promise<R> =>
    database.transaction((session) => fn(store.tx(session), session))
  await write((tx) =>
    tx.schema
      .createTable('item')
      .addColumn('id', 'integer', (column) => column.primaryKey())
      .addColumn('name', 'text', (column) => column.unique())
      .addColumn('paid', 'integer')
      .addColumn('note', 'text')
      .execute(),
  )
  const names = () =>
    database.read(async (session) => {
      const rows = await store.reader(session).selectFrom('item').select('name').orderBy('id').execute()
      return rows.map(({ name }) => name)
    })
  return { store, database, log, write, names }
}

test('queries run in the unit’s transaction: rows and events commit together, or not at all', async () => {
  const { write, log, names, database } = await opened()
  await write(async (tx, session) => {
    const inserted = await tx.insertInto('item').values({ name: '주문-🐎', paid: true, note: null }).executeTakeFirst()
    expect(inserted).toMatchObject({ insertId: 1n, numInsertedOrUpdatedRows: 1n })
    await log.append(session, [raised()])
  })
  await undone(
    write(async (tx, session) => {
      await tx.insertInto('item').values({ name: 'undone', paid: false, note: 'x' }).execute()
      await log.append(session, [raised()])
      throw new Undo()
    }),
  )
  expect(await names()).toEqual(['주문-🐎'])
  expect((await database.read((session) => log.head(session))).position).toBe(1)
})

test('queries give rows, counts and ids as Kysely does', async () => {
  const { write } = await opened()
  await write(async (tx) => {
    const rows = ['a', 'b', 'c'].map((name) => ({ name, paid: false, note: null }))
    const inserted = await tx.insertInto('item').values(rows).returning(['id', 'paid']).execute()
    expect(inserted.map(({ id, paid }) => [id, paid])).toEqual([
      [1, 0],
      [2, 0],
      [3, 0],
    ])
    expect(await tx.updateTable('item').set({ paid: true }).where('id', '>', 1).executeTakeFirst()).toMatchObject({
      numUpdatedRows: 2n,
    })
    expect(await tx.deleteFrom('item').where('name', '=', 'a').executeTakeFirst()).toMatchObject({ numDeletedRows: 1n })
    const streamed: string[] = []
    for await (const { name } of tx.selectFrom('item').select('name').orderBy('name').stream()) streamed.push(name)
    expect(streamed).toEqual(['b', 'c'])
  })
})

test('a transaction stays in the hands of pabal', async () => {
  const { write, names } = await opened()
  await write(async (tx) => {
    await tx.insertInto('item').values({ name: 'a', paid: true, note: null }).execute()
    const control = { code: 'PABAL_TRANSACTION_CONTROL' }
    await expect(tx.transaction().execute(async () => {})).rejects.toMatchObject(control)
    await expect(tx.startTransaction().execute()).rejects.toMatchObject(control)
    for (const word of ['COMMIT', 'ROLLBACK', '-- x\r\nSAVEPOINT y'])
      await expect(sql.raw(word).execute(tx)).rejects.toMatchObject(control)
    await expect(sql.raw('SELECT 1; SELECT 2').execute(tx)).rejects.toMatchObject({ code: 'PABAL_SEVERAL_STATEMENTS' })
  })
  expect(await names()).toEqual(['a'])
})

test('it is of no use after its unit', async () => {
  const { write, names } = await opened()
  const kept: Kysely<Tables>[] = []
  await write(async (tx) => void kept.push(tx))
  const late = () => kept[0]!.insertInto('item').values({ name: 'late', paid: true, note: null }).execute()
  await expect(late()).rejects.toMatchObject({ code: 'PABAL_UNIT_CLOSED' })
  await write(() => expect(late()).rejects.toMatchObject({ code: 'PABAL_UNIT_CLOSED' }))
  expect(await names()).toEqual([])
})

test('it writes nothing outside of a unit', async () => {
  const { store, database, names } = await opened()
  const writing = database.read((session) =>
    store.reader(session).insertInto('item').values({ name: 'a', paid: true, note: null }).execute(),
  )
  await expect(writing).rejects.toMatchObject({ code: 'PABAL_STORE_READONLY' })
  expect(await names()).toEqual([])
})

test('a column or a table that is not there does not compile', async () => {
  const { write } = await opened()
  await write(async (tx) => {
    // @ts-expect-error no such column
    expect(() => tx.selectFrom('item').select('price')).not.toThrow()
    // @ts-expect-error no such table
    expect(() => tx.selectFrom('order')).not.toThrow()
  })
})
