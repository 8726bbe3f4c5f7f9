/** Batches of a durable handler with database effects: many events, one transaction, and one bad event costs its key only. */

import type { Bound } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { describe, expect, test } from 'vitest'
import { eventually, quiet } from '../../test/support/eventually.ts'
import { testFolder } from '../../test/support/folder.ts'
import {
  enter,
  ledgerOf,
  logOf,
  order,
  OrderCancelled,
  ordering,
  OrderPaid,
  OrderPlaced,
  parkedIn,
  prepareLedger,
  rowsOf,
  sequencesOf,
  ShipmentOpened,
  shipping,
  testApp,
} from '../../test/support/shop.ts'

const retry = { attempts: 2, first: 1, max: 2 } as const

const openOrdering = async (handlers: Parameters<typeof ordering.with>[0]['handlers'], prepare = prepareLedger) => {
  const path = `${await testFolder()}/ordering.db`
  const app = testApp([ordering.with({ store: sqlite(path), handlers: handlers ?? [], prepare })])
  const raiseAll = (ids: readonly string[]) =>
    app.context(ordering).transaction(({ raise }) => {
      for (const id of ids) raise(OrderPlaced, order(id))
    })
  return { path, app, raiseAll, context: app.context(ordering) }
}

describe('a batch', () => {
  test('commits its effects, its events and its cursor once', async () => {
    const { path, app, raiseAll } = await openOrdering([
      ordering.on(OrderPlaced, 'list', (event, { tx, raise }) => {
        enter(tx, 'list', event)
        raise(OrderPaid, event.data)
      }),
    ])
    await raiseAll(Array.from({ length: 1_200 }, (_, i) => `k${i % 40}`))
    await app.settle({ withinMs: 20_000 })
    expect(ledgerOf(path)).toHaveLength(1_200)
    for (const sequences of Object.values(sequencesOf(ledgerOf(path))))
      expect(sequences).toEqual(Array.from({ length: 30 }, (_, i) => i + 1))
    const log = logOf(path)
    expect(log).toHaveLength(2_400)
    const causes = log.slice(1_200).map(({ causation_id }) => causation_id)
    expect(causes).toEqual(log.slice(0, 1_200).map(({ id }) => id))
  })

  test('hands over one type after the other as they stand in the log: a cancellation never overtakes its order', async () => {
    const seen: string[] = []
    const { app, context } = await openOrdering([
      ordering.on([OrderPlaced, OrderCancelled], 'list', ({ type, key }) => seen.push(`${type.slice(15)} ${key}`)),
    ])
    await context.transaction(({ raise }) => {
      raise(OrderPlaced, order('a'))
      raise(OrderPaid, order('a'))
      raise(OrderCancelled, order('a'))
      raise(OrderPlaced, order('b'))
    })
    await app.settle({ withinMs: 10_000 })
    expect(seen).toEqual(['placed a', 'cancelled a', 'placed b'])
  })

  test('a bad event costs its key and nothing else', async () => {
    const { path, app, raiseAll } = await openOrdering([
      ordering.on(
        OrderPlaced,
        'list',
        (event, { tx, raise }) => {
          enter(tx, 'list', event)
          raise(OrderPaid, event.data)
          if (event.key === 'bad') throw new Error('no such thing')
        },
        { retry: 'none' },
      ),
    ])
    await raiseAll(['a', 'bad', 'b', 'bad', 'a', 'c'])
    await app.settle({ withinMs: 10_000 })
    expect(sequencesOf(ledgerOf(path))).toEqual({ a: [1, 2], b: [1], c: [1] })
    expect(
      logOf(path)
        .filter(({ type }) => type === 'ordering.order-paid')
        .map(({ key }) => key),
    ).toEqual(['a', 'b', 'a', 'c'])
    expect(parkedIn(path)).toMatchObject([{ key: 'bad', status: 'dead', sequence: 1, waiting: 1 }])
  })

  test('a failure that an inner transaction caused is its event’s alone', async () => {
    const { path, app, raiseAll, context } = await openOrdering([
      ordering.on(
        OrderPlaced,
        'list',
        async (event) => {
          await context.transaction(({ tx }) => {
            enter(tx, 'list', event)
            if (event.key === 'bad') throw new Error('inner')
          })
        },
        { retry: 'none' },
      ),
    ])
    await raiseAll(['a', 'bad', 'b', 'c'])
    await app.settle({ withinMs: 5_000 })
    expect(sequencesOf(ledgerOf(path))).toEqual({ a: [1], b: [1], c: [1] })
    expect(parkedIn(path).map(({ key }) => key)).toEqual(['bad'])
  })

  test('a handler that swallows an inner failure has failed', async () => {
    const { path, app, raiseAll, context } = await openOrdering([
      ordering.on(
        OrderPlaced,
        'list',
        async (event) => {
          await context
            .transaction(({ tx }) => {
              enter(tx, 'list', event)
              if (event.key === 'bad') throw new Error('inner')
            })
            .catch(() => undefined)
        },
        { retry: 'none' },
      ),
    ])
    await raiseAll(['a', 'bad', 'b'])
    await app.settle({ withinMs: 5_000 })
    expect(sequencesOf(ledgerOf(path))).toEqual({ a: [1], b: [1] })
    expect(parkedIn(path)).toMatchObject([{ key: 'bad', status: 'dead' }])
  })

  test('an error that shows at COMMIT only costs its key, too', async () => {
    const { path, app, raiseAll } = await openOrdering(
      [
        ordering.on(
          OrderPlaced,
          'list',
          (event, { tx }) => {
            enter(tx, 'list', event)
            tx.run('INSERT INTO child VALUES (?)', event.key === 'bad' ? 'missing' : 'there')
          },
          { retry },
        ),
      ],
      (tx) => {
        prepareLedger(tx)
        tx.run('CREATE TABLE IF NOT EXISTS parent (id TEXT PRIMARY KEY)')
        tx.run('CREATE TABLE IF NOT EXISTS child (id TEXT REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)')
        tx.run("INSERT OR IGNORE INTO parent VALUES ('there')")
      },
    )
    await raiseAll(['a', 'bad', 'b', 'bad', 'a'])
    await app.settle({ withinMs: 5_000 })
    expect(sequencesOf(ledgerOf(path))).toEqual({ a: [1, 2], b: [1] })
    expect(parkedIn(path)).toMatchObject([{ key: 'bad', status: 'dead', attempts: 2, waiting: 1 }])
  })

  test.each(['insert or rollback', 'a trigger'])(
    'an error that makes SQLite roll everything back (%s) loses no other effect',
    async (how) => {
      const { path, app, raiseAll } = await openOrdering(
        [
          ordering.on(
            OrderPlaced,
            'list',
            (event, { tx }) => {
              enter(tx, 'list', event)
              if (event.key !== 'bad') return
              if (how === 'a trigger') tx.run("INSERT INTO watched VALUES ('x')")
              else tx.run("INSERT OR ROLLBACK INTO one VALUES ('x')")
            },
            { retry },
          ),
        ],
        (tx) => {
          prepareLedger(tx)
          tx.run('CREATE TABLE IF NOT EXISTS one (id TEXT PRIMARY KEY)')
          tx.run("INSERT OR IGNORE INTO one VALUES ('x')")
          tx.run('CREATE TABLE IF NOT EXISTS watched (id TEXT)')
          tx.run("CREATE TRIGGER IF NOT EXISTS stop BEFORE INSERT ON watched BEGIN SELECT RAISE(ROLLBACK, 'stop'); END")
        },
      )
      await raiseAll(['a', 'bad', 'b', 'a', 'c'])
      await app.settle({ withinMs: 5_000 })
      expect(sequencesOf(ledgerOf(path))).toEqual({ a: [1, 2], b: [1], c: [1] })
      expect(parkedIn(path).map(({ key }) => key)).toEqual(['bad'])
    },
  )

  test('a slow batch stops in the middle, before its lease could run out', async () => {
    const path = `${await testFolder()}/ordering.db`
    const app = testApp(
      [
        ordering.with({
          store: sqlite(path),
          handlers: [
            ordering.on(OrderPlaced, 'slow', async (event, { tx }) => {
              enter(tx, 'slow', event)
              const untilMs = Date.now() + 10
              while (Date.now() < untilMs) await quiet()
            }),
          ],
          prepare: prepareLedger,
        }),
      ],
      { leaseMs: 150 },
    )
    await app.context(ordering).transaction(({ raise }) => {
      for (let i = 0; i < 30; i++) raise(OrderPlaced, order('a'))
    })
    await app.start()
    const seen = new Set<number>()
    await eventually('all to be applied', () => {
      const { length } = ledgerOf(path)
      seen.add(length)
      return length === 30
    })
    expect(seen.size).toBeGreaterThan(3)
    expect(sequencesOf(ledgerOf(path))['a']).toEqual(Array.from({ length: 30 }, (_, i) => i + 1))
  })
})

describe('a backlog', () => {
  test.each(['database', 'external'] as const)(
    'lets requests and timers through while it is handled (%s effects)',
    async (effects) => {
      const { path, app, context } = await openOrdering([
        effects === 'database'
          ? ordering.on(OrderPlaced, 'list', (event, { tx }) => enter(tx, 'list', event))
          : ordering.on(OrderPlaced, 'list', () => 0, { effects: 'external', startAt: 'beginning' }),
      ])
      await context.transaction(({ raise }) => {
        for (let i = 0; i < 12_000; i++) raise(OrderPlaced, order(`k${i % 500}`))
      })
      let turns = 0
      const ticking = setInterval(() => turns++, 1)
      await app.settle({ withinMs: 25_000 })
      clearInterval(ticking)
      expect(turns).toBeGreaterThan(2)
      if (effects === 'database') expect(ledgerOf(path)).toHaveLength(12_000)
    },
  )
})

describe('a durable handler', () => {
  test('that raises what it handles goes on until the chain ends, each link once', async () => {
    const { path, app, context } = await openOrdering([
      ordering.on(OrderPlaced, 'count-down', ({ data }, { raise }) => {
        if (data.n > 0) raise(OrderPlaced, { ...data, n: data.n - 1 })
      }),
    ])
    await context.transaction(({ raise }) => raise(OrderPlaced, order('a', 20)))
    await app.settle({ withinMs: 10_000 })
    expect(logOf(path).map(({ sequence, hops }) => [sequence, hops])).toEqual(
      Array.from({ length: 21 }, (_, i) => [i + 1, i]),
    )
  })

  test('writes into both contexts of a shared file atomically', async () => {
    const path = `${await testFolder()}/shop.db`
    let fails = true
    const both: Bound[] = [
      ordering.with({
        store: sqlite(path),
        prepare: prepareLedger,
        handlers: [
          ordering.on(
            OrderPlaced,
            'ship',
            async (event, { tx }) => {
              enter(tx, 'ship', event)
              await app.context(shipping).transaction(({ raise }) => raise(ShipmentOpened, event.data))
              if (fails) {
                fails = false
                throw new Error('after all')
              }
            },
            { retry },
          ),
        ],
      }),
      shipping.with({ store: sqlite(path) }),
    ]
    const app = testApp(both)
    await app.context(ordering).transaction(({ raise }) => raise(OrderPlaced, order('a')))
    await app.settle({ withinMs: 10_000 })
    expect(ledgerOf(path)).toHaveLength(1)
    expect(logOf(path, 'shipping')).toHaveLength(1)
    const [placed] = logOf(path)
    expect(logOf(path, 'shipping')[0]).toMatchObject({ causation_id: placed?.id, correlation_id: placed?.id })
  })

  test('keeps its order, effects and cursor over a restart', async () => {
    const path = `${await testFolder()}/ordering.db`
    for (let run = 0; run < 3; run++) {
      const app = testApp([
        ordering.with({
          store: sqlite(path),
          prepare: prepareLedger,
          handlers: [ordering.on(OrderPlaced, 'list', (event, { tx }) => enter(tx, 'list', event))],
        }),
      ])
      await app.context(ordering).transaction(({ raise }) => {
        for (const id of ['a', 'b', 'a']) raise(OrderPlaced, order(id))
      })
      await app.settle({ withinMs: 10_000 })
      await app.stop()
    }
    expect(sequencesOf(ledgerOf(path))).toEqual({ a: [1, 2, 3, 4, 5, 6], b: [1, 2, 3] })
    expect(rowsOf(path, 'SELECT owner, stalls FROM pabal_ordering_cursor')).toEqual([{ owner: null, stalls: 0 }])
  })
})
