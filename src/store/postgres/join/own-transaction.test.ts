/** What is no transaction does not compile, and is refused where nobody compiles. */

import { MikroORM } from '@mikro-orm/postgresql'
import { drizzle as drizzleOverPg } from 'drizzle-orm/node-postgres'
import { drizzle as drizzleOverPostgresJs } from 'drizzle-orm/postgres-js'
import knexOf from 'knex'
import { Kysely, PostgresDialect } from 'kysely'
import { Pool } from 'pg'
import postgres from 'postgres'
import { DataSource } from 'typeorm'
import { expect, onTestFinished, test } from 'vitest'
import { fromDrizzle } from './from-drizzle.ts'
import { fromKnex } from './from-knex.ts'
import { fromKysely } from './from-kysely.ts'
import { fromMikroOrm } from './from-mikro-orm.ts'
import { fromPg } from './from-pg.ts'
import { fromPostgresJs } from './from-postgres-js.ts'
import { fromPrisma } from './from-prisma.ts'
import { fromTypeOrm } from './from-type-orm.ts'

// Nothing here connects.
const pool = new Pool()
const sql = postgres()
const knex = knexOf({ client: 'pg' })
const source = new DataSource({ type: 'postgres' })
const prisma = {
  $queryRawUnsafe: async (): Promise<unknown> => [],
  $executeRawUnsafe: async (): Promise<number> => 0,
  $connect: async () => {},
}

const refuses = (join: () => unknown, instead: string) =>
  expect(join).toThrow(
    expect.objectContaining({ code: 'PABAL_NOT_A_TRANSACTION', message: expect.stringContaining(instead) }),
  )

test('a pool of pg is refused', () => {
  // @ts-expect-error a pool takes any of its connections for each statement
  refuses(() => fromPg(pool), 'the client that BEGIN ran on')
})

test('the sql of a pool of Postgres.js is refused', () => {
  // @ts-expect-error it takes any of its connections for each statement
  refuses(() => fromPostgresJs(sql), 'sql.begin')
})

test('a database of Drizzle is refused', () => {
  // @ts-expect-error only the tx of db.transaction can roll back
  refuses(() => fromDrizzle(drizzleOverPg(pool)), 'db.transaction')
  // @ts-expect-error only the tx of db.transaction can roll back
  refuses(() => fromDrizzle(drizzleOverPostgresJs(sql)), 'db.transaction')
})

test('a database of Kysely is refused', () => {
  const db = new Kysely<object>({ dialect: new PostgresDialect({ pool }) })
  // @ts-expect-error db.isTransaction is not known to be true
  refuses(() => fromKysely(db), 'db.transaction()')
})

test('knex itself is refused', () => {
  // @ts-expect-error only the trx of knex.transaction can be completed
  refuses(() => fromKnex(knex), 'knex.transaction')
})

test('a data source of TypeORM is refused, and its manager, and a query runner that has begun nothing', () => {
  // @ts-expect-error a data source has neither a query runner nor a transaction
  refuses(() => fromTypeOrm(source), 'manager')
  refuses(() => fromTypeOrm(source.manager), 'manager')
  const runner = source.createQueryRunner()
  refuses(() => fromTypeOrm(runner), 'outside of a transaction')
  refuses(() => fromTypeOrm(runner.manager), 'outside of a transaction')
})

test('an entity manager of MikroORM that has begun nothing is refused', () => {
  const orm = new MikroORM({ dbName: 'none', entities: [], discovery: { warnWhenNoEntities: false } })
  onTestFinished(() => orm.close())
  // @ts-expect-error what holds the entity managers is none
  expect(() => fromMikroOrm(orm)).toThrow(TypeError)
  refuses(() => fromMikroOrm(orm.em), 'transactional')
  refuses(() => fromMikroOrm(orm.em.fork()), 'transactional')
})

test('a client of Prisma is refused', () => {
  // @ts-expect-error only a client, and no tx, can connect
  refuses(() => fromPrisma(prisma), 'prisma.$transaction')
})

test.each([
  ['by a driver adapter', { driverAdapterError: { cause: { originalCode: '23505', originalMessage: 'no' } } }, '23505'],
  ['by an engine', { code: '23505', message: 'no' }, '23505'],
  ['by neither', { code: 'N/A', message: 'N/A' }, 'P2010'],
])('the SQLSTATE that Prisma was told %s is the code of the error', async (_, meta, code) => {
  const fail = () => Promise.reject(Object.assign(new Error('Raw query failed'), { code: 'P2010', meta }))
  const own = fromPrisma({ $queryRawUnsafe: fail, $executeRawUnsafe: fail })
  await expect(own.query('SELECT 1', [])).rejects.toMatchObject({ code })
})
