/** `join`: a unit inside a transaction that the caller began and will commit. */

import { symlinkSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { raise } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { expect, onTestFinished, test } from 'vitest'
import { eventually } from '../../test/support/eventually.ts'
import { testFolder } from '../../test/support/folder.ts'
import {
  enter,
  ledgerOf,
  logOf,
  order,
  ordering,
  OrderPaid,
  OrderPlaced,
  prepareLedger,
  rowsOf,
  testApp,
  withCode,
} from '../../test/support/shop.ts'

const openOrdering = async (path?: string, handlers: Parameters<typeof ordering.with>[0]['handlers'] = []) => {
  const file = path ?? `${await testFolder()}/ordering.db`
  const app = testApp([ordering.with({ store: sqlite(file), handlers, prepare: prepareLedger })])
  await app.context(ordering).read(() => 0)
  const own = new DatabaseSync(file)
  onTestFinished(() => {
    if (own.isOpen) own.close()
  })
  own.exec('CREATE TABLE IF NOT EXISTS mine (id TEXT)')
  return { path: file, app, own, context: app.context(ordering) }
}

test('events commit with the caller’s transaction', async () => {
  const { path, own, context } = await openOrdering()
  own.exec("BEGIN IMMEDIATE; INSERT INTO mine VALUES ('a')")
  await context.join(own, ({ raise: raiseIt, tx }) => {
    tx.run("INSERT INTO mine VALUES ('b')")
    raiseIt(OrderPlaced, order('a'))
    raise(OrderPaid, order('a'))
  })
  expect(logOf(path)).toEqual([])
  own.exec('COMMIT')
  expect(logOf(path).map(({ sequence }) => sequence)).toEqual([1, 2])
  expect(rowsOf(path, 'SELECT * FROM mine')).toHaveLength(2)
})

test('events roll back with the caller’s transaction, and the sequence is used again', async () => {
  const { path, own, context } = await openOrdering()
  own.exec('BEGIN')
  await context.join(own, (unit) => unit.raise(OrderPlaced, order('a')))
  own.exec('ROLLBACK')
  await context.transaction((unit) => unit.raise(OrderPlaced, order('a')))
  expect(logOf(path).map(({ position, sequence }) => [position, sequence])).toEqual([[1, 1]])
})

test('a throw undoes the joined part, so that a caller who commits nevertheless has neither its writes nor its events', async () => {
  const { path, own, context } = await openOrdering()
  own.exec("BEGIN IMMEDIATE; INSERT INTO mine VALUES ('caller')")
  await expect(
    context.join(own, (unit) => {
      unit.tx.run("INSERT INTO mine VALUES ('joined')")
      unit.raise(OrderPlaced, order('a'))
      throw new Error('no')
    }),
  ).rejects.toThrow('no')
  own.exec('COMMIT')
  expect(rowsOf(path, 'SELECT id FROM mine')).toEqual([{ id: 'caller' }])
  expect(logOf(path)).toEqual([])
})

test('before-commit handlers run, nested transactions join, after-commit handlers do not run', async () => {
  const after: string[] = []
  const { path, own, context } = await openOrdering(undefined, [
    ordering.on(OrderPlaced, 'pay', ({ data }, unit) => unit.raise(OrderPaid, data), { phase: 'before-commit' }),
    ordering.on(OrderPlaced, 'tell', ({ key }) => after.push(key), { phase: 'after-commit' }),
  ])
  own.exec('BEGIN IMMEDIATE')
  await context.join(own, async (unit) => {
    unit.raise(OrderPlaced, order('a'))
    await context.transaction((inner) => inner.raise(OrderPlaced, order('b')))
  })
  own.exec('COMMIT')
  expect(logOf(path).map(({ key, type }) => `${key} ${type}`)).toEqual([
    'a ordering.order-placed',
    'b ordering.order-placed',
    'a ordering.order-paid',
    'b ordering.order-paid',
  ])
  expect(after).toEqual([])
})

test('durable handlers hear of it without being told', async () => {
  const { path, app, own, context } = await openOrdering(undefined, [
    ordering.on(OrderPlaced, 'list', (event, { tx }) => enter(tx, 'list', event)),
  ])
  await app.start()
  own.exec('BEGIN IMMEDIATE')
  await context.join(own, (unit) => unit.raise(OrderPlaced, order('a')))
  own.exec('COMMIT')
  await eventually('the handler to have run', () => ledgerOf(path).length === 1)
})

test('the unit is dead after join, even while the caller’s transaction is open', async () => {
  const { path, own, context } = await openOrdering()
  own.exec('BEGIN IMMEDIATE')
  const kept = await context.join(own, (unit) => unit)
  expect(() => kept.raise(OrderPlaced, order('a'))).toThrow(withCode('PABAL_NO_UNIT_OF_WORK'))
  expect(() => kept.tx.get('SELECT 1')).toThrow(withCode('PABAL_UNIT_CLOSED'))
  own.exec('COMMIT')
  expect(logOf(path)).toEqual([])
})

test('what is no open transaction of this database is refused', async () => {
  const { own, context } = await openOrdering()
  const join = (given: unknown) => context.join(given as DatabaseSync, (unit) => unit.raise(OrderPlaced, order('a')))
  const refused = withCode('PABAL_NOT_A_TRANSACTION')
  await expect(join(own)).rejects.toEqual(refused)
  await expect(join({ query: () => 0, connect: () => 0 })).rejects.toEqual(refused)
  await expect(join(undefined)).rejects.toEqual(refused)
  await expect(join('BEGIN')).rejects.toEqual(refused)
  const other = new DatabaseSync(`${await testFolder()}/other.db`)
  other.exec('BEGIN')
  await expect(join(other)).rejects.toEqual(refused)
  other.close()
  const memory = new DatabaseSync(':memory:')
  memory.exec('BEGIN')
  await expect(join(memory)).rejects.toEqual(refused)
  memory.close()
  own.close()
  await expect(join(own)).rejects.toEqual(refused)
})

test('a path over a link is the same database', async () => {
  const folder = await testFolder()
  const real = await openOrdering(`${folder}/real.db`)
  await real.app.stop()
  symlinkSync(`${folder}/real.db`, `${folder}/link.db`)
  const { own, context } = await openOrdering(`${folder}/link.db`)
  own.exec('BEGIN IMMEDIATE')
  await context.join(own, (unit) => unit.raise(OrderPlaced, order('a')))
  own.exec('COMMIT')
  expect(logOf(`${folder}/real.db`)).toHaveLength(1)
})
