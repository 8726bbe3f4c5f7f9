/** An app's life: used before it is started, started and stopped in any order, settled exactly, and quiet when idle. */

import { createApp } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { describe, expect, test } from 'vitest'
import { eventually, gate, quiet } from '../../test/support/eventually.ts'
import { testFolder } from '../../test/support/folder.ts'
import {
  enter,
  impatient,
  ledgerOf,
  logOf,
  openOrdering,
  OrderCancelled,
  OrderPaid,
  OrderPlaced,
  OrderPlacedV1,
  order,
  ordering,
  parkedIn,
  prepareLedger,
  rowsOf,
  shipping,
  ShipmentOpened,
  testApp,
  withCode,
} from '../../test/support/shop.ts'
import { VirtualClock } from '../../test/support/virtual-clock.ts'

const list = () => ordering.on(OrderPlaced, 'list', (event, { tx }) => enter(tx, 'list', event))

describe('settling', () => {
  test('without starting runs the handlers for as long, and leaves them stopped', async () => {
    const { path, app, place } = await openOrdering([list()])
    await place('a')
    await app.settle({ withinMs: 10_000 })
    expect(ledgerOf(path)).toHaveLength(1)
    expect(rowsOf(path, 'SELECT owner FROM pabal_ordering_cursor')).toEqual([{ owner: null }])
    await place('b')
    for (let turn = 0; turn < 20; turn++) await quiet()
    expect(ledgerOf(path)).toHaveLength(1)
  })

  test('again and again, as a serverless function does, and then for good', async () => {
    const { path, app, place } = await openOrdering([list()])
    for (let call = 1; call <= 4; call++) {
      await place('a')
      await app.settle({ withinMs: 5_000 })
      expect(ledgerOf(path)).toHaveLength(call)
    }
    await app.start()
    await place('a')
    await eventually('the started app to handle it', () => ledgerOf(path).length === 5)
    await app.settle({ withinMs: 5_000 })
    await place('a')
    await eventually('it to go on after settling', () => ledgerOf(path).length === 6)
  })

  test('twice at once', async () => {
    const { path, app, place } = await openOrdering([list()])
    await place('a', 'b', 'c')
    await Promise.all([
      app.settle({ withinMs: 5_000 }),
      app.settle({ withinMs: 5_000 }),
      place('a').then(() => app.settle({ withinMs: 5_000 })),
    ])
    expect(ledgerOf(path)).toHaveLength(4)
    await place('d')
    await app.settle({ withinMs: 5_000 })
    expect(ledgerOf(path)).toHaveLength(5)
  })

  test('while the app is being started for good leaves it running', async () => {
    const { path, app, place } = await openOrdering([list()])
    await place('a')
    await Promise.all([app.settle({ withinMs: 5_000 }), app.start()])
    await place('b')
    await eventually('the app to go on', () => ledgerOf(path).length === 2)
  })

  test('waits for what effects cause, over contexts, handlers and commands, to the last link', async () => {
    const folder = await testFolder()
    const app = testApp([
      ordering.with({
        store: sqlite(`${folder}/ordering.db`),
        prepare: prepareLedger,
        handlers: [
          ordering.on(OrderPlaced, 'pay', ({ data }) => data, {
            effects: 'external',
            record: (data, _event, { raise }) => raise(OrderPaid, data),
          }),
          ordering.on(OrderPaid, 'next', ({ data }, { raise }) => {
            if (data.n > 0) raise(OrderPlaced, { ...data, n: data.n - 1 })
          }),
        ],
      }),
      shipping.with({
        store: sqlite(`${folder}/shipping.db`),
        prepare: prepareLedger,
        handlers: [
          shipping.consume(OrderPlacedV1, 'ship', async ({ data }, { raise }) => {
            await quiet()
            raise(ShipmentOpened, data)
          }),
          shipping.on(ShipmentOpened, 'note', (event, { tx }) => enter(tx, 'note', event)),
        ],
      }),
    ])
    await app.start()
    for (let round = 1; round <= 5; round++) {
      await app.context(ordering).transaction(({ raise }) => raise(OrderPlaced, order('a', 6)))
      await app.settle({ withinMs: 10_000 })
      expect(ledgerOf(`${folder}/shipping.db`, 'note')).toHaveLength(round * 7)
    }
  })

  test('waits for after-commit handlers, and for what they raise', async () => {
    const { path, app, place, context } = await openOrdering([
      ordering.on(
        OrderPlaced,
        'tell',
        async ({ data }) => {
          await quiet()
          await context.transaction(({ raise }) => raise(OrderPaid, data))
        },
        { phase: 'after-commit' },
      ),
      ordering.on(OrderPaid, 'list', (event, { tx }) => enter(tx, 'list', event)),
    ])
    await place('a')
    await app.settle({ withinMs: 10_000 })
    expect(ledgerOf(path)).toHaveLength(1)
  })

  test('waits for a key that is tried again, however long; a dead one is settled', async () => {
    const clock = new VirtualClock()
    const { path, app, place } = await openOrdering(
      [
        ordering.on(
          OrderPlaced,
          'list',
          () => {
            throw new Error('no')
          },
          { retry: { attempts: 4, first: '1h', max: '1h' } },
        ),
      ],
      { environment: clock },
    )
    await place('a')
    let settled = false
    const settling = app.settle().then(() => {
      settled = true
    })
    await clock.advance(2 * 3_600_000)
    expect(settled).toBe(false)
    expect(parkedIn(path)).toMatchObject([{ status: 'retrying' }])
    await clock.drive(settling)
    expect(parkedIn(path)).toMatchObject([{ status: 'dead', attempts: 4 }])
  })

  test('gives up in time, says what is left, and may be repeated', async () => {
    const holding = gate()
    const { path, app, place } = await openOrdering([
      ordering.on(OrderPlaced, 'slow', () => holding.opened, {
        effects: 'external',
        record: (_, event, { tx }) => enter(tx, 'slow', event),
      }),
    ])
    await app.start()
    await place('a')
    await expect(app.settle({ withinMs: 50 })).rejects.toEqual(
      withCode('PABAL_SETTLE_TIMEOUT', /after 50 ms 'slow' of 'ordering'/),
    )
    holding.open()
    await app.settle({ withinMs: 5_000 })
    expect(ledgerOf(path)).toHaveLength(1)
  })

  test('is never too early: nothing happens any more after it', async () => {
    const { path, app, context } = await openOrdering([
      ordering.on(OrderPlaced, 'a', async ({ data }, { raise }) => {
        await quiet()
        if (data.n > 0) raise(OrderPaid, { ...data, n: data.n - 1 })
      }),
      ordering.on(OrderPaid, 'b', ({ data }) => quiet().then(() => data), {
        effects: 'external',
        record: (data, _event, { raise }) => {
          if (data.n > 0) raise(OrderPlaced, data)
        },
      }),
      ordering.on([OrderPlaced, OrderPaid], 'list', (event, { tx }) => enter(tx, 'list', event)),
    ])
    await app.start()
    for (let round = 0; round < 40; round++) {
      await context.transaction(({ raise }) => raise(OrderPlaced, order(`k${round % 3}`, round % 6)))
      await app.settle({ withinMs: 10_000 })
      const { length } = logOf(path)
      expect(ledgerOf(path)).toHaveLength(length)
      if (round % 10 === 0) {
        await quiet()
        expect(logOf(path)).toHaveLength(length)
      }
    }
  })
})

describe('an app', () => {
  test('works without being started: transactions, commands, reads', async () => {
    const { path, context, place } = await openOrdering([list()])
    await place('a')
    expect(await context.read(({ tx }) => tx.get('SELECT count(*) AS n FROM pabal_ordering_event'))).toEqual({ n: 1 })
    expect(ledgerOf(path)).toEqual([])
  })

  test('that is started twice runs once', async () => {
    const { path, app, place } = await openOrdering([list()])
    await Promise.all([app.start(), app.start()])
    await app.start()
    await place('a', 'b')
    await app.settle({ withinMs: 5_000 })
    expect(ledgerOf(path)).toHaveLength(2)
  })

  test('that could not be opened may be started later', async () => {
    const folder = await testFolder()
    const { mkdirSync, rmdirSync } = await import('node:fs')
    mkdirSync(`${folder}/ordering.db`)
    const app = testApp([
      ordering.with({ store: sqlite(`${folder}/ordering.db`), handlers: [list()], prepare: prepareLedger }),
    ])
    await expect(app.start()).rejects.toEqual(withCode('PABAL_STORE_FOREIGN'))
    rmdirSync(`${folder}/ordering.db`)
    await app.start()
    await app.context(ordering).transaction(({ raise }) => raise(OrderPlaced, order('a')))
    await app.settle({ withinMs: 5_000 })
    expect(ledgerOf(`${folder}/ordering.db`)).toHaveLength(1)
  })

  test('that is stopped refuses everything, and stopping again is nothing', async () => {
    const { app, place } = await openOrdering([list()])
    await app.start()
    await place('a')
    await Promise.all([app.stop(), app.stop()])
    await app.stop()
    await expect(place('b')).rejects.toEqual(withCode('PABAL_STORE_CLOSED'))
    await expect(app.start()).rejects.toEqual(withCode('PABAL_STORE_CLOSED'))
    await expect(app.settle()).rejects.toEqual(withCode('PABAL_STORE_CLOSED'))
  })

  test('that was never opened stops at once', async () => {
    const app = createApp({ contexts: [ordering.with({ store: sqlite('/nonexistent/x.db') })] })
    await app.stop()
  })

  test('that is stopped while it is being started ends stopped', async () => {
    for (let turns = 0; turns < 20; turns++) {
      const { app, path } = await openOrdering([list()])
      const starting = app.start().catch(() => undefined)
      for (let turn = 0; turn < turns; turn++) await Promise.resolve()
      await app.stop()
      await starting
      await expect(app.start()).rejects.toEqual(withCode('PABAL_STORE_CLOSED'))
      const { app: next, place } = await openOrdering([list()], { path })
      await place('a')
      await next.settle({ withinMs: 5_000 })
      await next.stop()
    }
  })

  test('that stops lets a transaction that runs come to its end', async () => {
    const { path, app, context } = await openOrdering()
    const holding = gate()
    const running = context.transaction(async ({ raise }) => {
      raise(OrderPlaced, order('a'))
      await holding.opened
    })
    await quiet()
    const stopping = app.stop()
    await quiet()
    holding.open()
    await running
    await stopping
    expect(logOf(path)).toHaveLength(1)
  })

  test('names a cursor in the store whose handler is not there', async () => {
    const { path, app } = await openOrdering([list()])
    await app.start()
    await app.stop()
    const { app: next } = await openOrdering([], { path })
    await next.start()
    expect(next.warnings.join()).toMatch(/'ordering'.*'list' has a cursor but no handler here/)
  })

  test('beside another one of the same contexts on other files has nothing to do with it', async () => {
    const [first, second] = [await openOrdering([list()]), await openOrdering([list()])]
    await Promise.all([first.app.start(), second.app.start()])
    await first.place('a')
    await second.place('b')
    await second.context.transaction(async ({ raise }) => {
      raise(OrderPlaced, order('outer'))
      await first.context.transaction((inner) => inner.raise(OrderPlaced, order('inner')))
    })
    await Promise.all([first.app.settle({ withinMs: 5_000 }), second.app.settle({ withinMs: 5_000 })])
    expect(ledgerOf(first.path).map(({ key }) => key)).toEqual(['a', 'inner'])
    expect(ledgerOf(second.path).map(({ key }) => key)).toEqual(['b', 'outer'])
  })

  test('in memory does the same', async () => {
    const applied: string[] = []
    const app = testApp([
      ordering.with({
        store: sqlite(':memory:'),
        handlers: [
          ordering.on(OrderPlaced, 'list', ({ key }, { raise, tx }) => {
            applied.push(key)
            tx.get('SELECT 1')
            if (key === 'a') raise(OrderCancelled, order('a'))
          }),
        ],
      }),
      shipping.with({
        store: sqlite(':memory:'),
        handlers: [shipping.consume(OrderPlacedV1, 'ship', ({ key }) => applied.push(`shipped ${key}`))],
      }),
    ])
    await app.context(ordering).transaction(({ raise }) => raise(OrderPlaced, order('a')))
    await app.settle({ withinMs: 5_000 })
    expect(applied.toSorted()).toEqual(['a', 'shipped a'])
  })
})

describe('waking up', () => {
  test('for what another process appends, at once', async () => {
    const { path, app } = await openOrdering([list()])
    await app.start()
    const other = await openOrdering([], { path })
    const startMs = Date.now()
    await other.place('a')
    await eventually('the handler to have run', () => ledgerOf(path).length === 1, 3_000)
    expect(Date.now() - startMs).toBeLessThan(3_000)
  })

  test('also when the hint came at a bad moment: during a transaction that was rolled back', async () => {
    const { path, app, context } = await openOrdering([list()], { environment: impatient(5) })
    await app.start()
    const other = await openOrdering([], { path, environment: impatient(5) })
    for (let round = 1; round <= 5; round++) {
      const [mine, its] = [gate(), gate()]
      const foreign = other.context.transaction(async ({ raise }) => {
        raise(OrderPlaced, order('a'))
        await its.opened
      })
      await quiet()
      const own = context
        .transaction(async () => {
          await mine.opened
          throw new Error('rolled back')
        })
        .catch(() => undefined)
      its.open()
      await foreign
      await eventually('the file to be touched', () => logOf(path).length === round)
      await new Promise((resolve) => setTimeout(resolve, 15))
      mine.open()
      await own
      await eventually('the handler to have run', () => ledgerOf(path).length === round, 8_000)
    }
  })
})

describe('an idle app', () => {
  /** Statements per context file in a minute of its clock, in which nothing happens. */
  const idleMinute = async (clock: VirtualClock, app: ReturnType<typeof testApp>): Promise<number[]> => {
    const { databases } = await app['~pabal'].open()
    const counted = databases as unknown as { readonly queries: number }[]
    await clock.advance(30_000)
    const before = counted.map(({ queries }) => queries)
    await clock.advance(60_000)
    return counted.map(({ queries }, index) => queries - before[index]!)
  }

  const idle = async (paused = false, dead = false) => {
    const folder = await testFolder()
    const clock = new VirtualClock()
    const app = testApp(
      [
        ordering.with({
          store: sqlite(`${folder}/ordering.db`),
          prepare: prepareLedger,
          handlers: [
            list(),
            ordering.on([OrderPaid, OrderCancelled], 'cancel', () => 0, { within: { time: '2s', onLate: () => 0 } }),
            ordering.on(OrderPlaced, 'call', () => 0, { effects: 'external' }),
          ],
        }),
        shipping.with({
          store: sqlite(`${folder}/shipping.db`),
          prepare: prepareLedger,
          handlers: [
            shipping.consume(
              OrderPlacedV1,
              'ship',
              (event, { tx }) => {
                enter(tx, 'ship', event)
                if (dead && event.key === 'k1') throw new Error('no')
              },
              { lanes: 4, retry: 'none' },
            ),
          ],
        }),
      ],
      { environment: clock },
    )
    await app.start()
    const { database, contextStore } = (await app['~pabal'].open()).runtimes.get('shipping')!
    if (paused)
      await database.transaction((session) => contextStore.cursors.update(session, 'ship', { state: 'paused' }))
    await app.context(ordering).transaction(({ raise }) => {
      for (let i = 0; i < 20; i++) raise(OrderPlaced, order(`k${i % 4}`))
    })
    await clock.advance(1_000)
    return { clock, app }
  }

  test.each([
    ['with nothing to do', false, false],
    ['with a paused consumer that has a backlog', true, false],
    ['with dead letters', false, true],
  ])('asks fewer than 60 queries per minute and file %s', async (_, paused, dead) => {
    const { clock, app } = await idle(paused, dead)
    for (const queries of await idleMinute(clock, app)) expect(queries).toBeLessThan(60)
  })

  test('and so does a process beside the one that owns the consumers', async () => {
    const clock = new VirtualClock()
    const { path, app, place } = await openOrdering([list()], { environment: clock })
    await app.start()
    await place('a')
    await clock.advance(1_000)
    const { app: beside } = await openOrdering([list()], { path, environment: clock })
    await beside.start()
    for (const queries of await idleMinute(clock, beside)) expect(queries).toBeLessThan(60)
  })

  test('in real time, extrapolated from two seconds', async () => {
    const { app, place } = await openOrdering([list()])
    await app.start()
    await place('a')
    await app.settle({ withinMs: 5_000 })
    const [database] = (await app['~pabal'].open()).databases as unknown as { readonly queries: number }[]
    // Time itself is the subject here: nothing else could be waited for.
    await new Promise((resolve) => setTimeout(resolve, 300))
    const before = database!.queries
    await new Promise((resolve) => setTimeout(resolve, 2_000))
    expect((database!.queries - before) * 30).toBeLessThan(60)
  })
})
