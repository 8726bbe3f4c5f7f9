/** Retry, skip and edit where it is subtle: gaps, races, memory, and the inbox of another context's events. */

import { DatabaseSync } from 'node:sqlite'
import { sqlite } from 'pabal/sqlite'
import { describe, expect, test } from 'vitest'
import { eventually } from '../../test/support/eventually.ts'
import { testFolder } from '../../test/support/folder.ts'
import {
  enter,
  impatient,
  ledgerOf,
  logOf,
  OrderPlaced,
  OrderPlacedV1,
  ordering,
  parkedIn,
  prepareLedger,
  rowsOf,
  sequencesOf,
  shipping,
  testApp,
} from '../../test/support/shop.ts'
import { backup, databasesOf, planRestore, restore } from './databases.ts'
import { findDead, listDead } from './dead-letters.ts'
import { Deliveries } from './deliveries.ts'
import { edit, planEdit } from './edit.ts'
import { findEvent } from './log.ts'
import { operate } from './operated.ts'
import { retryAll, retryOne } from './retry.ts'
import { skipAll, skipOne } from './skip.ts'
import { traceOf } from './trace.ts'

const order = (orderId: string, n = 0) => ({ orderId, n })
const kim = { by: 'kim', reason: 'a test order' }

const openBoth = async (given?: string) => {
  const folder = given ?? (await testFolder())
  const failing = new Set<string>()
  const [producer, consumer] = [`${folder}/ordering.db`, `${folder}/shipping.db`]
  const open = shipping.consume(
    OrderPlacedV1,
    'open',
    (event, { tx }) => {
      if (failing.has(`${event.key}#${event.sequence}`) || failing.has(event.key))
        throw new Error(`cannot ship ${event.key}`)
      enter(tx, 'open', event)
    },
    { retry: 'none' },
  )
  const app = testApp(
    [
      ordering.with({ store: sqlite(producer), prepare: prepareLedger }),
      shipping.with({ store: sqlite(consumer), handlers: [open], prepare: prepareLedger }),
    ],
    { environment: impatient() },
  )
  const place = (...ids: string[]) =>
    app.context(ordering).transaction(({ raise }) => {
      for (const id of ids) raise(OrderPlaced, order(id))
    })
  const settle = () => app.settle({ withinMs: 10_000 })
  return { folder, producer, consumer, failing, app, place, settle, operated: () => operate(app) }
}

describe('skipping', () => {
  test('takes out one event; what is behind it is handled in order, and what fails there is dead anew', async () => {
    const { consumer, failing, place, settle, operated } = await openBoth()
    failing.add('a#1').add('a#3')
    await place('a', 'a', 'b', 'a', 'a')
    await settle()
    await skipOne(await operated(), await findDead(await operated(), undefined, { key: 'a' }), kim)
    await settle()
    expect(sequencesOf(ledgerOf(consumer))).toEqual({ a: [2], b: [1] })
    expect(parkedIn(consumer, 'shipping')).toMatchObject([{ key: 'a', status: 'dead', sequence: 3, waiting: 1 }])
    failing.clear()
    await retryAll(await operated(), {}, kim)
    await settle()
    expect(sequencesOf(ledgerOf(consumer))).toEqual({ a: [2, 3, 4], b: [1] })
    expect(parkedIn(consumer, 'shipping')).toEqual([])
  })

  test('of all that match does not reach what comes up behind them', async () => {
    const { consumer, failing, place, settle, operated, app } = await openBoth()
    failing.add('a').add('b')
    await place('a', 'b', 'a', 'b', 'c')
    await settle()
    await app.start()
    expect(await skipAll(await operated(), { consumer: 'open' }, kim, 2)).toEqual({ skipped: 2, changed: 0 })
    await settle()
    expect(parkedIn(consumer, 'shipping').map(({ key, status, sequence }) => [key, status, sequence])).toEqual([
      ['a', 'dead', 2],
      ['b', 'dead', 2],
    ])
    expect(rowsOf(consumer, 'select event_id from pabal_shipping_skipped')).toHaveLength(2)
    expect(
      logOf(consumer, 'shipping').map(({ type, data }) => [type, (JSON.parse(data) as { keys: number }).keys]),
    ).toEqual([['pabal.dead-letters-skipped', 2]])
  })

  test('a gap lets the key go on behind it', async () => {
    const { producer, consumer, place, settle, operated } = await openBoth()
    await place('a')
    await settle()
    await place('a', 'a')
    // What retention has dropped before it was read (a reader that was not registered) is missing for good.
    const db = new DatabaseSync(producer)
    db.exec("delete from pabal_ordering_event where key = 'a' and sequence < 3")
    db.exec(`insert into pabal_ordering_key_head values ('a', 2, '{"ordering.order-placed":2}')`)
    db.close()
    await settle()
    expect(parkedIn(consumer, 'shipping')).toMatchObject([{ key: 'a', status: 'dead', sequence: 2 }])
    const found = await findDead(await operated(), undefined, { key: 'a' })
    expect(found.row.error.code).toBe('PABAL_EVENT_MISSING')
    await skipOne(await operated(), found, kim)
    await settle()
    expect(sequencesOf(ledgerOf(consumer))).toEqual({ a: [1, 3] })
    await place('a')
    await settle()
    expect(sequencesOf(ledgerOf(consumer))).toEqual({ a: [1, 3, 4] })
  })

  test('is refused when the key has moved on since it was looked at', async () => {
    const { consumer, failing, place, settle, operated } = await openBoth()
    failing.add('a#1').add('a#2')
    await place('a', 'a')
    await settle()
    const found = await findDead(await operated(), undefined, { key: 'a' })
    await skipOne(await operated(), found, kim)
    await settle()
    for (const action of [skipOne(await operated(), found, kim), retryOne(await operated(), found, kim)])
      await expect(action).rejects.toMatchObject({ code: 'PABAL_PLAN_CHANGED' })
    expect(parkedIn(consumer, 'shipping')).toMatchObject([{ sequence: 2, status: 'dead' }])
    expect(rowsOf(consumer, 'select event_id from pabal_shipping_skipped')).toHaveLength(1)
  })
})

describe('a key whose history at the producer is another one', () => {
  /** The second event of the key was applied, and is not the one that the restored log has in its place. */
  const diverged = async () => {
    const first = await openBoth()
    await first.place('a')
    await first.settle()
    const [database] = databasesOf(first.app, 'ordering')
    await backup(first.app, [database!], () => `${first.folder}/backup.db`)
    await first.place('a')
    await first.settle()
    await first.app.stop()
    const plan = await planRestore(first.app, database!, `${first.folder}/backup.db`)
    expect(plan.logs).toEqual([{ context: 'ordering', head: 2, restoredHead: 1 }])
    await restore(first.app, database!, plan, kim)
    const again = await openBoth(first.folder)
    await again.place('a')
    await again.settle()
    expect(parkedIn(again.consumer, 'shipping')).toMatchObject([{ key: 'a', status: 'dead', sequence: 2 }])
    const found = await findDead(await again.operated(), undefined, { key: 'a' })
    expect(found.row.error.code).toBe('PABAL_KEY_DIVERGED')
    return { ...again, found }
  }

  test('takes it from here on when it is retried', async () => {
    const { consumer, found, place, settle, operated } = await diverged()
    await place('a')
    await settle()
    await retryOne(await operated(), found, kim)
    await settle()
    expect(ledgerOf(consumer).map(({ sequence }) => sequence)).toEqual([1, 2, 2, 3])
    expect(parkedIn(consumer, 'shipping')).toEqual([])
  })

  test('leaves the event out when it is skipped, and goes on behind it', async () => {
    const { consumer, found, place, settle, operated } = await diverged()
    await skipOne(await operated(), found, kim)
    await place('a')
    await settle()
    expect(ledgerOf(consumer).map(({ sequence }) => sequence)).toEqual([1, 2, 3])
    expect(parkedIn(consumer, 'shipping')).toEqual([])
  })
})

test('what is missing is read from its place when it is there again', async () => {
  const { producer, consumer, place, settle, operated } = await openBoth()
  await place('a')
  await settle()
  await place('a', 'a')
  const db = new DatabaseSync(producer)
  const kept = db.prepare("select * from pabal_ordering_event where key = 'a' and sequence = 2").get()!
  db.exec("delete from pabal_ordering_event where key = 'a' and sequence = 2")
  db.exec(`insert into pabal_ordering_key_head values ('a', 2, '{"ordering.order-placed":2}')`)
  db.exec("delete from pabal_ordering_event where key = 'a' and sequence = 1")
  await settle()
  expect(parkedIn(consumer, 'shipping')).toMatchObject([{ status: 'dead', sequence: 2 }])
  const columns = Object.keys(kept)
  db.prepare(`insert into pabal_ordering_event (${columns.join()}) values (${columns.map(() => '?').join()})`).run(
    ...Object.values(kept),
  )
  db.exec('delete from pabal_ordering_key_head')
  db.close()
  await retryAll(await operated(), {}, kim)
  await settle()
  expect(sequencesOf(ledgerOf(consumer))).toEqual({ a: [1, 2, 3] })
})

test('a retry of everything is one transaction for each context, with its count in the log', async () => {
  const { consumer, failing, place, settle, operated } = await openBoth()
  failing.add('a').add('b').add('c')
  await place('a', 'b', 'c', 'd')
  await settle()
  await expect(retryAll(await operated(), {}, kim, 2)).rejects.toMatchObject({ code: 'PABAL_PLAN_CHANGED' })
  expect(logOf(consumer, 'shipping')).toEqual([])
  failing.clear()
  expect(await retryAll(await operated(), { consumer: 'shipping/open' }, kim, 3)).toEqual({ keys: 3, waiting: 0 })
  expect(JSON.parse(logOf(consumer, 'shipping')[0]!.data)).toEqual({
    by: 'kim',
    reason: 'a test order',
    consumer: 'open',
    keys: 3,
    filter: { consumer: 'shipping/open' },
  })
  await settle()
  expect(await listDead(await operated(), {}, 9)).toEqual([])
})

test('an edited copy keeps its place in the inbox: what the producer sends later is no divergence', async () => {
  const { consumer, failing, app, place, settle, operated } = await openBoth()
  failing.add('a#1')
  await place('a')
  await settle()
  const found = await findDead(await operated(), undefined, { key: 'a' })
  const plan = await planEdit(await operated(), found, JSON.stringify(order('a', 42)))
  expect(plan).toMatchObject({ before: order('a', 0), after: order('a', 42) })
  failing.clear()
  const copy = await edit(await operated(), found, plan, kim)
  await settle()
  expect(ledgerOf(consumer)).toMatchObject([{ event_id: copy, sequence: 1 }])
  const [head] = rowsOf<{ event_id: string }>(consumer, 'select event_id from pabal_shipping_inbox')
  expect(head!.event_id).toBe(found.row.event_id)
  await place('a')
  await settle()
  expect(sequencesOf(ledgerOf(consumer))).toEqual({ a: [1, 2] })

  const trace = await traceOf(await operated(), found.row.event_id)
  expect(trace.roots[0]!.events[0]!.effects).toMatchObject([
    { id: copy, type: 'pabal.dead-letter-edited', title: 'dead letter edited and retried' },
  ])
  expect(app.warnings.filter((warning) => warning.includes('DIVERGED'))).toEqual([])
})

test('an event tells for each consumer whether it was taken', async () => {
  const path = `${await testFolder()}/ordering.db`
  const early = ordering.on(OrderPlaced, 'early', () => undefined)
  const fails = ordering.on(
    OrderPlaced,
    'fails',
    ({ key }) => {
      if (key === 'a') throw new Error('broken')
    },
    { retry: 'none' },
  )
  const leaves = ordering.on(OrderPlaced, 'leaves', () => Promise.reject(new Error('broken')), {
    retry: 'none',
    onExhausted: 'skip',
  })
  const late = ordering.on(OrderPlaced, 'late', () => undefined, { startAt: 'now' })
  const bound = (...handlers: (typeof early)[]) => [
    ordering.with({ store: sqlite(path), handlers, prepare: prepareLedger }),
  ]
  const before = testApp(bound(early, fails, leaves), {
    environment: impatient(),
    breaker: { keys: 99, firstMs: 1, maxMs: 1 },
  })
  await before.context(ordering).transaction(({ raise }) => {
    raise(OrderPlaced, order('a'))
    raise(OrderPlaced, order('a'))
  })
  await before.settle({ withinMs: 10_000 })
  await before.stop()
  const app = testApp(bound(early, fails, leaves, late), { environment: impatient() })
  await app.settle({ withinMs: 10_000 })
  const fresh = ordering.on(OrderPlaced, 'new', () => undefined)
  const operated = await operate(testApp(bound(early, fails, leaves, late, fresh)))
  const states = async (reference: string) => {
    const found = await (await Deliveries.open(operated)).of(await findEvent(operated, reference))
    return Object.fromEntries(found.map(({ consumer, state }) => [consumer, state]))
  }
  expect(await states('1')).toEqual({
    early: 'handled',
    fails: 'dead',
    leaves: 'skipped',
    late: 'unwanted',
    new: 'new',
  })
  expect(await states('2')).toMatchObject({ fails: 'waiting' })
  await app.context(ordering).transaction(({ raise }) => raise(OrderPlaced, order('b')))
  expect(await states('3')).toMatchObject({ early: 'pending', late: 'pending' })
})

test('a dead letter is retried, skipped and edited in memory too', async () => {
  const failing = new Set(['a', 'b', 'c'])
  const list = ordering.on(
    OrderPlaced,
    'list',
    ({ key, data }) => {
      if (failing.has(key) && data.n === 0) throw new Error('broken')
    },
    { retry: 'none' },
  )
  const app = testApp([ordering.with({ store: sqlite(':memory:'), handlers: [list] })])
  await app.context(ordering).transaction(({ raise }) => {
    for (const id of failing) raise(OrderPlaced, order(id))
  })
  await app.start()
  const operated = await operate(app)
  await eventually('all are dead', async () => (await listDead(operated, {}, 9)).length === 3)
  const found = (key: string) => findDead(operated, undefined, { key })
  await skipOne(operated, await found('a'), kim)
  await edit(operated, await found('b'), await planEdit(operated, await found('b'), JSON.stringify(order('b', 1))), kim)
  failing.clear()
  await retryOne(operated, await found('c'), kim)
  await eventually('none is left', async () => (await listDead(operated, { status: 'all' }, 9)).length === 0)
})
