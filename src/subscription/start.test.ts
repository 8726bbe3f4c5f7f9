/** Where a new consumer starts, and that it reaches what concerns it, however much stands between. */

import type { StartAt } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { describe, expect, test } from 'vitest'
import { testFolder } from '../../test/support/folder.ts'
import {
  enter,
  impatient,
  ledgerOf,
  order,
  OrderCancelled,
  ordering,
  OrderPaid,
  OrderPlaced,
  prepareLedger,
  rowsOf,
  testApp,
  withCode,
} from '../../test/support/shop.ts'

type Handlers = NonNullable<Parameters<typeof ordering.with>[0]['handlers']>

const open = (path: string, handlers: Handlers) =>
  testApp([ordering.with({ store: sqlite(path), handlers, prepare: prepareLedger })], { environment: impatient() })

const withHistory = async (count = 5) => {
  const path = `${await testFolder()}/ordering.db`
  const app = open(path, [])
  await app.context(ordering).transaction(({ raise }) => {
    for (let i = 0; i < count; i++) raise(OrderPlaced, order('a', i))
  })
  await app.stop()
  return path
}

const list = (startAt?: StartAt) =>
  ordering.on(
    OrderPlaced,
    'list',
    (event, { tx }) => enter(tx, 'list', event),
    startAt === undefined ? {} : { startAt },
  )
const call = (startAt?: StartAt) =>
  ordering.on(OrderPlaced, 'call', ({ sequence }) => sequence, {
    effects: 'external',
    record: (_sequence, event, { tx }) => enter(tx, 'call', event),
    ...(startAt === undefined ? {} : { startAt }),
  })
const applied = (path: string) => ledgerOf(path).map(({ sequence }) => sequence)

describe('a new consumer', () => {
  test('with database effects starts at the beginning', async () => {
    const path = await withHistory()
    await open(path, [list()]).settle({ withinMs: 10_000 })
    expect(applied(path)).toEqual([1, 2, 3, 4, 5])
  })

  test.each([
    ['now', [6]],
    ['beginning', [1, 2, 3, 4, 5, 6]],
    [{ position: 3 }, [4, 5, 6]],
    [{ position: 99 }, [6]],
  ] as const)('starts at %j', async (startAt, expected) => {
    const path = await withHistory()
    for (const handler of [list(startAt), call(startAt)]) {
      const app = open(path, [handler])
      await app.start()
      await app.context(ordering).transaction(({ raise, tx }) => {
        if (tx.get<{ n: number }>('SELECT count(*) AS n FROM pabal_ordering_event')!.n < 6)
          raise(OrderPlaced, order('a'))
      })
      await app.settle({ withinMs: 10_000 })
      await app.stop()
    }
    expect(ledgerOf(path, 'list').map(({ sequence }) => sequence)).toEqual(expected)
    // The sixth event was there already when `call` came.
    const called = ledgerOf(path, 'call').map(({ sequence }) => sequence)
    expect(called).toEqual(
      startAt === 'now' || (typeof startAt === 'object' && startAt.position === 99) ? [] : expected,
    )
  })

  test('with external effects on a log that is not empty must say where it starts', async () => {
    const path = await withHistory()
    const app = open(path, [call()])
    await expect(app.start()).rejects.toEqual(withCode('PABAL_START_AT_REQUIRED', /'call' of 'ordering'/))
    await expect(app.settle()).rejects.toEqual(withCode('PABAL_START_AT_REQUIRED'))
    await app.stop()
    expect(rowsOf(path, 'SELECT * FROM pabal_ordering_cursor')).toEqual([])
    await open(path, [call('now')]).settle({ withinMs: 10_000 })
    expect(applied(path)).toEqual([])
  })

  test('with external effects on a log without events for it needs to say nothing', async () => {
    const path = await withHistory()
    const app = open(path, [
      ordering.on(OrderPaid, 'call', () => 0, {
        effects: 'external',
        record: (_, event, { tx }) => enter(tx, 'call', event),
      }),
    ])
    await app.start()
    await app.context(ordering).transaction(({ raise }) => raise(OrderPaid, order('a')))
    await app.settle({ withinMs: 10_000 })
    expect(applied(path)).toEqual([6])
  })

  test('is asked once: what is stored wins over what is said later', async () => {
    const path = await withHistory()
    const first = open(path, [list('now')])
    await first.start()
    await first.stop()
    await open(path, [list('beginning')]).settle({ withinMs: 10_000 })
    expect(applied(path)).toEqual([])
  })
})

describe('events of other types', () => {
  test('alone leave nothing to settle', async () => {
    const path = await withHistory()
    const app = open(path, [ordering.on(OrderCancelled, 'rare', (event, { tx }) => enter(tx, 'rare', event))])
    await app.settle({ withinMs: 3_000 })
    expect(applied(path)).toEqual([])
  })

  test.each([25_000, 65_000])('hide nothing: one event behind %d others is reached', async (others) => {
    const path = await withHistory(others)
    const app = open(path, [ordering.on(OrderCancelled, 'rare', (event, { tx }) => enter(tx, 'rare', event))])
    await app.context(ordering).transaction(({ raise }) => raise(OrderCancelled, order('b')))
    await app.settle({ withinMs: 5_000 })
    expect(ledgerOf(path)).toHaveLength(1)
  })

  test('hide nothing from a consumer at work either', async () => {
    const path = await withHistory(1)
    const app = open(path, [ordering.on(OrderCancelled, 'rare', (event, { tx }) => enter(tx, 'rare', event))])
    await app.start()
    await app.context(ordering).transaction(({ raise }) => raise(OrderCancelled, order('b')))
    await app.settle({ withinMs: 5_000 })
    await app.context(ordering).transaction(({ raise }) => {
      for (let i = 0; i < 65_000; i++) raise(OrderPlaced, order('a', i))
      raise(OrderCancelled, order('b'))
    })
    await app.settle({ withinMs: 5_000 })
    expect(ledgerOf(path)).toHaveLength(2)
  })

  test('do not unsettle a process that does not own the consumer', async () => {
    const path = await withHistory(1)
    const rare = () => ordering.on(OrderCancelled, 'rare', (event, { tx }) => enter(tx, 'rare', event))
    const [owner, other] = [open(path, [rare()]), open(path, [rare()])]
    await owner.start()
    await owner.context(ordering).transaction(({ raise }) => raise(OrderCancelled, order('b')))
    await owner.settle({ withinMs: 5_000 })
    await owner.context(ordering).transaction(({ raise }) => raise(OrderPlaced, order('a')))
    await owner.settle({ withinMs: 5_000 })
    await other.settle({ withinMs: 5_000 })
    expect(ledgerOf(path)).toHaveLength(1)
  })
})
