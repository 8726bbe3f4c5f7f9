/** What status tells, down to the number, over apps in every state. */

import { sqlite } from 'pabal/sqlite'
import { describe, expect, test } from 'vitest'
import { eventually } from '../../test/support/eventually.ts'
import { testFolder } from '../../test/support/folder.ts'
import {
  enter,
  impatient,
  OrderPaid,
  OrderPlaced,
  OrderPlacedV1,
  ordering,
  parkedIn,
  prepareLedger,
  shipping,
  testApp,
} from '../../test/support/shop.ts'
import { pause } from './consumers.ts'
import { consumerNamed, operate } from './operated.ts'
import { countUserEvents } from './operator-events.ts'
import { statusOf } from './status.ts'

const order = (orderId: string, n = 0) => ({ orderId, n })
const kim = { by: 'kim' }
type Handlers = NonNullable<Parameters<typeof ordering.with>[0]['handlers']>
type AppOptions = NonNullable<Parameters<typeof testApp>[1]>

const openOne = async (handlers: Handlers, options: AppOptions = {}) => {
  const path = `${await testFolder()}/ordering.db`
  const bound = ordering.with({ store: sqlite(path), handlers, prepare: prepareLedger })
  const app = testApp([bound], { environment: impatient(), ...options })
  const placeAll = (ids: readonly string[]) =>
    app.context(ordering).transaction(({ raise }) => {
      for (const id of ids) raise(OrderPlaced, order(id))
    })
  const status = async () => {
    const found = await statusOf(await operate(app))
    return { ...found, consumer: found.contexts[0]!.consumers[0]! }
  }
  return { path, app, placeAll, status, bound }
}
const listing = (fails: (key: string) => boolean, options: { readonly within?: string } = {}) =>
  ordering.on(
    OrderPlaced,
    'list',
    (event, { tx }) => {
      if (fails(event.key)) throw new Error('broken')
      enter(tx, 'list', event)
    },
    { retry: 'none', ...options },
  )

describe('events', () => {
  test('of operators are not among those of the user', async () => {
    const { app, placeAll, status } = await openOne([listing(() => false)])
    await placeAll(['a', 'b', 'a'])
    await app.settle({ withinMs: 10_000 })
    const operated = await operate(app)
    await pause(operated, await consumerNamed(operated, 'list'), kim)
    const { contexts } = await status()
    expect(contexts[0]!.log).toMatchObject({ head: 4, oldest: 1, events: 3, operatorEvents: 1 })
    expect(await countUserEvents(operated)).toBe(3)
  })

  test('cannot be raised under a key or a type of operators', async () => {
    const { placeAll } = await openOne([])
    await expect(placeAll(['pabal:consumer:list'])).rejects.toMatchObject({ code: 'PABAL_PAYLOAD_INVALID' })
    await placeAll(['pabal'])
  })
})

describe('a consumer', () => {
  test('that was never started is new, and nobody is alarmed', async () => {
    const { placeAll, status } = await openOne([listing(() => false)])
    await placeAll(['a'])
    const { consumer, concerns } = await status()
    expect(consumer).toMatchObject({ state: 'new', handler: true, lanes: [], lagEvents: null, lagMs: null })
    expect(concerns).toMatchObject([{ level: 'warning', title: 'never started' }])
  })

  test('tells how far it is behind in events of its types, and in time', async () => {
    let nowMs = Date.UTC(2026, 0, 5)
    const environment = { ...impatient(), now: () => nowMs }
    const { app, placeAll, status } = await openOne([listing(() => false)], { environment })
    await placeAll(['a'])
    await app.settle({ withinMs: 10_000 })
    const operated = await operate(app)
    await pause(operated, await consumerNamed(operated, 'list'), kim)
    await placeAll(['b', 'c'])
    await app.context(ordering).transaction(({ raise }) => raise(OrderPaid, order('b')))
    nowMs += 90_000
    await placeAll(['d'])
    const { consumer, concerns } = await status()
    expect(consumer).toMatchObject({ state: 'paused', reason: 'paused by kim', lagEvents: 3, lagMs: 90_000 })
    expect(consumer.oldest).toMatchObject({ key: 'b', at: nowMs - 90_000 })
    expect(concerns).toMatchObject([
      { level: 'problem', title: 'paused', detail: 'paused by kim; 3 events not handled' },
    ])
  })

  test('that nobody runs does not move', async () => {
    let nowMs = Date.UTC(2026, 0, 5)
    const environment = { ...impatient(), now: () => nowMs }
    const { app, placeAll, status } = await openOne([listing(() => false)], { environment })
    await placeAll(['a'])
    await app.settle({ withinMs: 10_000 })
    await placeAll(['b'])
    expect((await status()).concerns).toEqual([])
    nowMs += 61_000
    expect((await status()).concerns).toMatchObject([{ level: 'problem', title: 'not moving' }])
  })

  test('is late with what it has not handled within its time, parked or after its cursor', async () => {
    let nowMs = Date.UTC(2026, 0, 5)
    const environment = { ...impatient(), now: () => nowMs }
    const { app, placeAll, status, path } = await openOne([listing((key) => key === 'a', { within: '1 minute' })], {
      environment,
    })
    await placeAll(['a', 'b'])
    await app.start()
    await eventually('the key is dead', () => parkedIn(path)[0]?.status === 'dead')
    await placeAll(['a'])
    await app.settle({ withinMs: 10_000 })
    expect((await status()).consumer).toMatchObject({ late: 0, withinMs: 60_000 })
    nowMs += 60_001
    expect((await status()).consumer).toMatchObject({ late: 2, deadKeys: 1, waiting: 1 })
    const operated = await operate(app)
    await pause(operated, await consumerNamed(operated, 'list'), kim)
    await placeAll(['c'])
    nowMs += 60_001
    const { consumer, concerns } = await status()
    expect(consumer).toMatchObject({ late: 3 })
    expect(concerns.map(({ title }) => title)).toEqual(['dead letters', 'paused', 'late'])
  })

  test('with more waiting than the limits allow shows it', async () => {
    const { app, placeAll, status } = await openOne([listing((key) => key === 'a')], { limits: { parkedPerKey: 2 } })
    await placeAll(['a', 'a', 'a'])
    await app.settle({ withinMs: 10_000 })
    expect((await status()).concerns.map(({ title }) => title)).toEqual(['dead letters'])
    await placeAll(['a'])
    await app.settle({ withinMs: 10_000 })
    const { consumer, concerns } = await status()
    expect(consumer).toMatchObject({ deadKeys: 1, waiting: 3, mostWaiting: 3 })
    expect(concerns.map(({ title }) => title)).toEqual(['dead letters', 'too many wait'])
  })

  test('whose every event fails is held, with the error that it saw', async () => {
    const { app, placeAll, status } = await openOne([listing(() => true)], {
      breaker: { keys: 3, firstMs: 60_000, maxMs: 60_000 },
    })
    await placeAll(Array.from({ length: 20 }, (_, n) => `k${n}`))
    await app.start()
    await eventually('it is held', async () => (await status()).consumer.state === 'held')
    const { consumer, concerns } = await status()
    expect(consumer).toMatchObject({ state: 'held', reason: 'Error: broken' })
    expect(consumer.heldUntilAt).toBeGreaterThan(Date.now())
    expect(concerns).toContainEqual(expect.objectContaining({ level: 'problem', title: 'held' }))
  })

  test('without a handler is named, with what it still holds', async () => {
    const { app, path, placeAll } = await openOne([listing((key) => key === 'a')])
    await placeAll(['a', 'b', 'a'])
    await app.settle({ withinMs: 10_000 })
    await app.stop()
    const later = testApp([ordering.with({ store: sqlite(path), prepare: prepareLedger })])
    const { contexts, concerns } = await statusOf(await operate(later))
    expect(contexts[0]!.consumers).toMatchObject([
      {
        consumer: 'list',
        handler: false,
        lagEvents: null,
        deadKeys: 1,
        waiting: 1,
        types: [{ type: 'ordering.order-placed', title: null }],
      },
    ])
    expect(concerns.map(({ level, title }) => [level, title])).toEqual([
      ['problem', 'dead letters'],
      ['warning', 'no handler'],
    ])
  })

  test('of which processes run two versions is named as long as they do', async () => {
    const { app, path, status } = await openOne([listing(() => false)])
    await app.start()
    expect(await status()).toMatchObject({ consumer: { processes: { newest: 1, older: 0 } }, concerns: [] })
    const both = ordering.on([OrderPlaced, OrderPaid], 'list', (event, { tx }) => enter(tx, 'list', event))
    const newer = testApp([ordering.with({ store: sqlite(path), prepare: prepareLedger, handlers: [both] })])
    await newer.start()
    const { consumer, concerns } = await status()
    expect(consumer.processes).toEqual({ newest: 1, older: 1 })
    expect(concerns).toMatchObject([
      {
        level: 'warning',
        title: 'two versions',
        detail: '1 process runs an older version of it, and the work is left to 1 of the newest',
      },
    ])
    await newer.stop()
    expect((await status()).concerns).toEqual([])
  })

  test('over several logs has a row for each', async () => {
    const folder = await testFolder()
    const open = shipping.consume(OrderPlacedV1, 'open', (event, { tx }) => enter(tx, 'open', event))
    const app = testApp([
      ordering.with({ store: sqlite(`${folder}/ordering.db`), prepare: prepareLedger }),
      shipping.with({ store: sqlite(`${folder}/shipping.db`), handlers: [open], prepare: prepareLedger }),
    ])
    await app.context(ordering).transaction(({ raise }) => raise(OrderPlaced, order('a')))
    await app.settle({ withinMs: 10_000 })
    const { contexts } = await statusOf(await operate(app))
    expect(
      contexts.map(({ context, consumers }) => [context, consumers.map(({ consumer, source }) => [consumer, source])]),
    ).toEqual([
      ['ordering', []],
      ['shipping', [['open', 'ordering']]],
    ])
  })
})

test('an app that was only looked at is started as if nobody had looked', async () => {
  const path = `${await testFolder()}/ordering.db`
  const bound = () => ordering.with({ store: sqlite(path), handlers: [listing(() => false)], prepare: prepareLedger })
  await expect(operate(testApp([bound()]))).rejects.toMatchObject({ code: 'PABAL_STORE_UNREACHABLE' })
  await testApp([ordering.with({ store: sqlite(path) })])['~pabal'].open()
  const app = testApp([bound()])
  const operated = await operate(app)
  await app.context(ordering).transaction(({ raise }) => raise(OrderPlaced, order('a')))
  await app.settle({ withinMs: 10_000 })
  expect(await countUserEvents(operated)).toBe(1)
  expect((await statusOf(operated)).contexts[0]!.consumers).toMatchObject([{ consumer: 'list', lagEvents: 0 }])
})

test('an app in memory is operated as it is, in the process that has it', async () => {
  const app = testApp([
    ordering.with({ store: sqlite(':memory:'), handlers: [listing((key) => key === 'a')], prepare: prepareLedger }),
  ])
  await app.context(ordering).transaction(({ raise }) => raise(OrderPlaced, order('a')))
  await app.settle({ withinMs: 10_000 })
  const { contexts } = await statusOf(await operate(app))
  expect(contexts[0]!.consumers).toMatchObject([{ deadKeys: 1 }])
})
