/** Databases from the command line: backup while the app runs, restore noticed by every consumer, migrations, rewound logs. */

import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import { counted, type OperatedFolder, operatedFolder } from '../support/cli.ts'
import { realOrders } from '../support/operated-shop.ts'

const orders = realOrders(12)
const appliedBy = (consumer: string) => `select count(*) from applied where consumer = '${consumer}'`
const charged = "select count(*) from pabal_ordering_event where type = 'ordering.order-charged'"

interface Finding {
  readonly level: string
  readonly title: string
  readonly context: string
  readonly consumer: string | null
  readonly command: string | null
}
const problems = async (shop: OperatedFolder) => {
  const ran = await shop.pabal(['doctor', '-o', 'json'])
  const found = ran.json<{ ok: boolean; findings: readonly Finding[] }>()
  expect(ran.code).toBe(found.ok ? 0 : 4)
  return found.findings.filter(({ level }) => level !== 'ok')
}

test('a backup is taken while the app runs, and its restore is noticed by every consumer', async () => {
  const shop = await operatedFolder()
  const app = await shop.start()
  app.place(orders.slice(0, 4))
  await counted(shop, 'ordering', charged, 4)
  const backup = await shop.pabal(['db', 'backup', 'backups', '-o', 'json'])
  expect(backup.json()).toMatchObject({ backups: [{ file: 'backups/ordering.db' }, { file: 'backups/shipping.db' }] })
  expect(await shop.pabal(['db', 'backup', 'backups'])).toMatchObject({
    code: 2,
    err: expect.stringContaining('PABAL_BACKUP_TARGET_EXISTS'),
  })
  app.place(orders.slice(4))
  await counted(shop, 'ordering', charged, 12)
  await counted(shop, 'shipping', appliedBy('open-shipment'), 12)

  const restore = ['db', 'restore', 'backups/ordering.db', '--context', 'ordering']
  const plan = await shop.pabal(restore)
  expect(plan).toMatchObject({
    code: 2,
    out: expect.stringContaining('ordering: from position 24 to 8, 16 events are lost'),
  })
  expect(await shop.pabal([...restore, '--yes'])).toMatchObject({
    code: 3,
    err: expect.stringContaining('PABAL_RESTORE_IN_USE'),
  })
  await app.stop()
  expect(await shop.pabal([...restore, '--yes', '--by', 'kim', '--reason', 'disk failed'])).toMatchObject({ code: 0 })
  const [recorded] = shop.rows<{ type: string; data: string }>(
    'ordering',
    'select * from pabal_ordering_event order by position desc limit 1',
  )
  expect(recorded).toMatchObject({ type: 'pabal.database-restored' })
  expect(JSON.parse(recorded!.data)).toMatchObject({ by: 'kim', reason: 'disk failed', head: 24, restoredHead: 8 })

  // The consumer in the other database has applied what this log does not hold any more.
  expect(await problems(shop)).toContainEqual(
    expect.objectContaining({ title: 'log rewound', consumer: 'open-shipment' }),
  )
  const again = await shop.start()
  again.place([{ ...orders[0]!, orderId: 'after' }])
  await counted(shop, 'shipping', appliedBy('open-shipment'), 13)
  await counted(shop, 'ordering', appliedBy('order-list'), 5)
})

test('a cursor whose event is not in the log is found, pauses, and goes on only when it is put somewhere', async () => {
  const shop = await operatedFolder()
  const app = await shop.start()
  app.place(orders.slice(0, 4))
  await counted(shop, 'ordering', charged, 4)
  await app.stop()
  const db = new DatabaseSync(shop.file('ordering.db'))
  db.exec("update pabal_ordering_cursor set event_id = 'another' where consumer = 'order-list'")
  db.close()

  const [found] = await problems(shop)
  expect(found).toMatchObject({ level: 'problem', title: 'log rewound', consumer: 'order-list' })
  const again = await shop.start()
  again.place([{ ...orders[0]!, orderId: 'after' }])
  await counted(shop, 'ordering', "select count(*) from pabal_ordering_consumer where state = 'paused'", 1)
  expect(await shop.pabal(['consumer', 'resume', 'order-list'])).toMatchObject({
    code: 1,
    err: expect.stringContaining('PABAL_LOG_REWOUND'),
  })
  const command = found!.command!.replace('pabal ', '').split(' ')
  const plan = await shop.pabal(command)
  expect(plan.code).toBe(2)
  expect((await shop.pabal(['consumer', 'reset', 'order-list', '--to', 'beginning', '--yes'])).code).toBe(0)
  await counted(shop, 'ordering', appliedBy('order-list'), 9)
  expect(await problems(shop)).toEqual([])
})

test('a backup of something else is refused, and the database is left as it is', async () => {
  const shop = await operatedFolder()
  const app = await shop.start()
  app.place(orders)
  await counted(shop, 'ordering', charged, 12)
  expect((await shop.pabal(['db', 'backup', 'shipping-copy.db', '--context', 'shipping'])).code).toBe(0)
  await app.stop()
  const before = shop.dump()
  const foreign = new DatabaseSync(shop.file('foreign.db'))
  foreign.exec('create table t (x)')
  foreign.close()
  writeFileSync(shop.file('text.db'), 'no database at all, but long enough')
  for (const [file, why] of [
    ['shipping-copy.db', "holds no log of 'ordering', but of 'shipping'"],
    ['foreign.db', 'holds no log of pabal'],
    ['text.db', 'is not a SQLite database'],
    ['missing.db', 'there is no backup'],
  ] as const)
    expect(await shop.pabal(['db', 'restore', file, '--context', 'ordering', '--yes'])).toMatchObject({
      code: 3,
      err: expect.stringContaining(why),
    })
  expect(shop.dump()).toEqual(before)
  expect(readdirSync(shop.folder).filter((name) => name.includes('restoring'))).toEqual([])
})

test('databases that are not there are not made by looking; migrating makes them, after its plan', async () => {
  const shop = await operatedFolder()
  for (const command of [['status'], ['log', 'list'], ['dead', 'list'], ['consumer', 'list']])
    expect(await shop.pabal(command)).toMatchObject({
      code: 3,
      out: '',
      err: expect.stringContaining('ordering.db does not exist'),
    })
  expect((await shop.pabal(['db', 'status'])).code).toBe(3)
  expect((await shop.pabal(['doctor'])).code).toBe(4)
  expect((await shop.pabal(['db', 'migrate'])).code).toBe(2)
  expect(existsSync(shop.file('ordering.db'))).toBe(false)

  expect((await shop.pabal(['db', 'migrate', '--yes', '-o', 'json'])).json()).toMatchObject({
    contexts: ['ordering', 'shipping'],
  })
  expect((await shop.pabal(['db', 'migrate'])).out).toContain('nothing to migrate')
  const status = (await shop.pabal(['db', 'status', '-o', 'json'])).json<{
    databases: { migrations: { atMs: number | null }[] }[]
  }>()
  expect(status.databases.every(({ migrations }) => migrations.every(({ atMs }) => atMs !== null))).toBe(true)
  expect((await shop.pabal(['status'])).out).toContain('never started')
})

test('the statements of the tables are printed without a database', async () => {
  const shop = await operatedFolder()
  const { code, out } = await shop.pabal(['db', 'sql', 'ordering'])
  expect(code).toBe(0)
  const db = new DatabaseSync(':memory:')
  db.exec(out)
  expect(db.prepare("select count(*) as n from sqlite_master where name = 'pabal_ordering_event'").get()).toEqual({
    n: 1,
  })
  expect(existsSync(shop.file('ordering.db'))).toBe(false)
})

test('a locked, a foreign and a newer database each give one code and exit code 3', async () => {
  const shop = await operatedFolder()
  await (await shop.start()).stop()
  const holder = new DatabaseSync(shop.file('ordering.db'))
  holder.exec('begin immediate')
  const locked = await shop.pabal(['consumer', 'pause', 'charge'])
  expect(locked).toMatchObject({ code: 3, out: '', err: expect.stringContaining('PABAL_STORE_BUSY') })
  expect((await shop.pabal(['status'])).code).toBe(0)
  holder.exec('rollback')

  holder.exec("insert into pabal_migration values ('ordering', 99, 'future', 0)")
  holder.close()
  expect(await shop.pabal(['status'])).toMatchObject({ code: 3, err: expect.stringContaining('PABAL_STORE_NEWER') })
  writeFileSync(shop.file('shipping.db'), 'no database at all, but long enough')
  const status = await shop.pabal(['db', 'status'])
  expect(status).toMatchObject({ code: 3, out: expect.stringContaining('PABAL_STORE_FOREIGN') })
  expect(status.out).toContain('migration 99 future')
  const doctor = await shop.pabal(['doctor'])
  expect(doctor.code).toBe(4)
  expect(doctor.out).toContain('have version 99, this code knows up to')
  expect(doctor.out).toContain('is not a SQLite database')
})
