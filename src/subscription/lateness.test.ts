/** `within`: what is not handled in time raises its event, once, and what is handled in time never does. */

import { describe, expect, test } from 'vitest'
import {
  type DurableOrderOptions,
  enter,
  ledgerOf,
  logOf,
  openOrdering,
  OrderCancelled,
  OrderPaid,
  OrderPlaced,
  ordering,
  rowsOf,
} from '../../test/support/shop.ts'
import { VirtualClock } from '../../test/support/virtual-clock.ts'

/** Orders that are not handled within ten minutes are cancelled. */
const open = async (fails: (key: string) => boolean, options: Partial<DurableOrderOptions> = {}, path?: string) => {
  const clock = new VirtualClock()
  const handler = ordering.on(
    OrderPlaced,
    'list',
    (event, { tx }) => {
      enter(tx, 'list', event)
      if (fails(event.key)) throw new Error('no')
    },
    {
      retry: { attempts: 50, first: '1m', max: '1m' },
      within: { time: '10 minutes', onLate: ({ data }, { raise }) => raise(OrderCancelled, data) },
      ...options,
    },
  )
  const opened = await openOrdering([handler], { environment: clock, ...(path === undefined ? {} : { path }) })
  await opened.app.start()
  const late = () => logOf(opened.path).filter(({ type }) => type === OrderCancelled.type)
  return { ...opened, clock, late }
}

const minutes = 60_000

describe('an event that is not handled in time', () => {
  test('raises its event at the time, once, caused by it', async () => {
    const { path, clock, place, late } = await open((key) => key === 'bad')
    await place('bad', 'a')
    await clock.advance(10 * minutes - 1)
    expect(late()).toEqual([])
    await clock.advance(2 * minutes)
    const [bad] = logOf(path)
    expect(late()).toMatchObject([{ key: 'bad', causation_id: bad?.id, correlation_id: bad?.id }])
    await clock.advance(60 * minutes)
    expect(late()).toHaveLength(1)
  })

  test('behind a failing one of its key is late, too', async () => {
    const { clock, place, late } = await open((key) => key === 'bad')
    await place('bad')
    await clock.advance(5 * minutes)
    await place('bad', 'a')
    await clock.advance(30 * minutes)
    expect(late().map(({ key }) => key)).toEqual(['bad', 'bad'])
  })

  test('that succeeds late is handled nevertheless', async () => {
    let broken = true
    const { path, clock, place, late } = await open(() => broken)
    await place('a')
    await clock.advance(12 * minutes)
    broken = false
    await clock.advance(2 * minutes)
    expect(late()).toHaveLength(1)
    expect(ledgerOf(path)).toHaveLength(1)
  })

  test('while the consumer is paused is late', async () => {
    const { path, app, clock, place, late } = await open(() => false)
    const { database, contextStore } = (await app['~pabal'].open()).runtimes.get('ordering')!
    await place('a')
    await clock.advance(1)
    await database.transaction(async (session) => {
      await contextStore.cursors.update(session, 'list', { state: 'paused' })
      await contextStore.cursors.revoke(session, 'list')
    })
    await place('b')
    await clock.advance(30 * minutes)
    expect(ledgerOf(path).map(({ key }) => key)).toEqual(['a'])
    expect(late()).toEqual([])
    await database.transaction((session) => contextStore.cursors.update(session, 'list', { state: 'active' }))
    for (const subscription of (await app['~pabal'].open()).subscriptions) subscription.ring()
    await clock.advance(20 * minutes)
    expect(ledgerOf(path).map(({ key }) => key)).toEqual(['a', 'b'])
  })
})

describe('an event that is handled in time', () => {
  test('is never late, however many there are', async () => {
    const { path, clock, place, late } = await open(() => false)
    for (let i = 0; i < 10; i++) {
      await place(...Array.from({ length: 60 }, (_, k) => `k${k}`))
      await clock.advance(3 * minutes)
    }
    await clock.advance(30 * minutes)
    expect(late()).toEqual([])
    expect(rowsOf(path, 'SELECT late FROM pabal_ordering_cursor')).toEqual([{ late: 600 }])
  })

  test('with several lanes is not late because another lane hangs', async () => {
    const { path, clock, place, late } = await open((key) => key.startsWith('bad'), {
      lanes: 4,
      retry: { attempts: 50, first: '1h', max: '1h' },
    })
    const { DatabaseSync } = await import('node:sqlite')
    const db = new DatabaseSync(path)
    // The lanes of a process that is gone stay where they are for an hour.
    db.exec(
      `UPDATE pabal_ordering_cursor SET owner = 'elsewhere:1::x', until_ms = ${clock.now() + 60 * minutes} WHERE lane = 2`,
    )
    db.close()
    await place(...Array.from({ length: 40 }, (_, k) => `k${k}`))
    await clock.advance(20 * minutes)
    const applied = new Set(ledgerOf(path).map(({ key }) => key))
    expect(applied.size).toBeGreaterThan(20)
    expect(applied.size).toBeLessThan(40)
    expect(
      late()
        .map(({ key }) => key)
        .toSorted(),
    ).toEqual(
      Array.from({ length: 40 }, (_, k) => `k${k}`)
        .filter((key) => !applied.has(key))
        .toSorted(),
    )
  })
})

test('events of other types between do not hide what is late', async () => {
  const { clock, place, context, late } = await open((key) => key === 'bad')
  await place('a')
  await clock.advance(20 * minutes)
  await context.transaction(({ raise }) => {
    for (let i = 0; i < 25_000; i++) raise(OrderPaid, { orderId: 'x', n: 0 })
  })
  await clock.advance(1 * minutes)
  await place('bad')
  await clock.advance(30 * minutes)
  expect(late().map(({ key }) => key)).toEqual(['bad'])
})

test('an idle consumer with a short time asks no more than any other', async () => {
  const { app, clock, place } = await open(() => false, { within: { time: '1s', onLate: () => undefined } })
  await place('a')
  await clock.advance(10_000)
  const [database] = (await app['~pabal'].open()).databases as unknown as { queries: number }[]
  const before = database!.queries
  await clock.advance(60_000)
  // Whether another process has written is looked up every 5 s.
  expect(database!.queries - before).toBeLessThanOrEqual(13)
})

test('without onLate nothing is raised and nothing is asked', async () => {
  const { clock, place, late } = await open((key) => key === 'bad', { within: '1s' })
  await place('bad')
  await clock.advance(30 * minutes)
  expect(late()).toEqual([])
})
