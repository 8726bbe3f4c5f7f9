/** Each guard taken out breaks its guarantee; the same scenario with the guard in place holds. Clocks stand where the test puts them. */

import { createApp, type Store } from 'pabal'
import { type SqliteTx, sqlite } from 'pabal/sqlite'
import type { DatabaseSync } from 'node:sqlite'
import type { ContextStore, CursorRow, Session } from '../../src/store/store.ts'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { gate } from '../support/eventually.ts'
import { testFolder } from '../support/folder.ts'
import { enter, ledgerOf, logOf, OrderPlaced, ordering, prepareLedger, testApp } from '../support/shop.ts'
import { VirtualClock } from '../support/virtual-clock.ts'
import { Mortal, Pausing, withCursorAfterwards, withoutFence } from './mutants.ts'
import { none, openWorld, paths, place, realOrders, violations } from './world.ts'

/** Its cursor, owned so that it can be moved. */
const claimed = async ({ cursors }: ContextStore, session: Session): Promise<CursorRow> => {
  const [cursor] = await cursors.cursors(session, 'ship')
  return (await cursors.claim(session, cursor!, 0))!
}

type SqliteStore = Store<SqliteTx, DatabaseSync>
type Guard = (store: SqliteStore) => SqliteStore
const inPlace: Guard = (store) => store

const unguarded = vi.hoisted(() => ({ inbox: false }))
vi.mock('../../src/subscription/inbox.ts', async (original) => {
  const real = await original<typeof import('../../src/subscription/inbox.ts')>()
  return { judge: (...args: Parameters<typeof real.judge>) => (unguarded.inbox ? 'apply' : real.judge(...args)) }
})

describe('the epoch fence', () => {
  const orderIds = async (): Promise<string[]> => (await realOrders(6)).map(({ orderId }) => orderId)

  /** A process stands still between reading its batch and BEGIN, until another one has taken its lane over and done the work. */
  const beforeBegin = async (guard: Guard) => {
    const path = `${await testFolder()}/ordering.db`
    const pausing = new Pausing()
    const clocks = [new VirtualClock(), new VirtualClock()] as const
    const open = (store: SqliteStore, environment: VirtualClock) =>
      testApp(
        [
          ordering.with({
            store,
            prepare: prepareLedger,
            handlers: [ordering.on(OrderPlaced, 'list', (event, { tx }) => enter(tx, 'list', event))],
          }),
        ],
        { environment },
      )
    const stale = open(pausing.store(guard(sqlite(path))), clocks[0])
    const successor = open(sqlite(path), clocks[1])
    const ids = await orderIds()
    const placeAll = (app: typeof stale, some: readonly string[]) =>
      app.context(ordering).transaction(({ raise }) => {
        for (const orderId of some) raise(OrderPlaced, { orderId, n: 1 })
      })
    await stale.start()
    await placeAll(stale, ids.slice(0, 3))
    await clocks[0].advance(100)
    // Its lane is its own and its clock stands: its next transaction is the one of the effects.
    const reached = pausing.pause()
    await placeAll(successor, ids.slice(3))
    for (const subscription of (await stale['~pabal'].open()).subscriptions) subscription.ring()
    await reached
    await clocks[1].advance(60_000)
    await clocks[1].drive(successor.settle())
    pausing.resume()
    await clocks[0].advance(100)
    return violations(ledgerOf(path), logOf(path))
  }

  /** A process stands still while its handler waits for somebody outside, and records the answer when it goes on. */
  const beforeRecord = async (guard: Guard) => {
    const path = `${await testFolder()}/ordering.db`
    const clocks = [new VirtualClock(), new VirtualClock()] as const
    const [first, second] = [gate<void>(), gate<void>()]
    const open = (store: SqliteStore, environment: VirtualClock, answer: Promise<void>) =>
      testApp(
        [
          ordering.with({
            store,
            prepare: prepareLedger,
            handlers: [
              ordering.on(OrderPlaced, 'call', () => answer, {
                effects: 'external',
                timeout: '1h',
                startAt: 'beginning',
                record: (_answer, event, { tx }) => enter(tx, 'call', event),
              }),
            ],
          }),
        ],
        { environment },
      )
    const stale = open(guard(sqlite(path)), clocks[0], first.opened)
    const successor = open(sqlite(path), clocks[1], second.opened)
    await stale.start()
    await stale.context(ordering).transaction(async ({ raise }) => {
      for (const orderId of await orderIds()) raise(OrderPlaced, { orderId, n: 1 })
    })
    await clocks[0].advance(0)
    await clocks[1].advance(60_000)
    await successor.start()
    second.open()
    await clocks[1].drive(successor.settle())
    first.open()
    await clocks[0].advance(100)
    return violations(ledgerOf(path), logOf(path))
  }

  test('keeps a process that stood still from applying what its successor has applied', async () => {
    expect(await beforeBegin(inPlace)).toEqual(none)
    expect(await beforeRecord(inPlace)).toEqual(none)
  })

  test('taken out, effects are applied twice', async () => {
    expect((await beforeBegin(withoutFence)).twice).toBeGreaterThan(0)
    expect((await beforeRecord(withoutFence)).twice).toBeGreaterThan(0)
  })
})

describe('the cursor in the transaction of the effects', () => {
  /** The process dies right after that many of its commits; another one goes on. Its own log has no inbox to save it. */
  const deathAfter = async (guard: Guard, commits: number) => {
    const path = `${await testFolder()}/ordering.db`
    const clocks = [new VirtualClock(), new VirtualClock()] as const
    const open = (store: SqliteStore, environment: VirtualClock) => {
      const app = createApp({
        onWarning: () => {},
        environment,
        contexts: [
          ordering.with({
            store,
            prepare: prepareLedger,
            handlers: [
              ordering.on(OrderPlaced, 'list', (event, { tx }) => enter(tx, 'list', event), { batch: 4, lanes: 2 }),
            ],
          }),
        ],
      })
      onTestFinished(() => app.stop().catch(() => {}))
      return app
    }
    const writer = open(sqlite(path), clocks[0])
    const orders = await realOrders(30)
    await writer.context(ordering).transaction(({ raise }) => {
      for (const { orderId, n } of orders) raise(OrderPlaced, { orderId, n })
    })
    await writer.stop()
    const mortal = new Mortal(commits)
    const first = open(guard(mortal.store(sqlite(path))), clocks[0])
    const running = first.start().catch(() => {})
    await clocks[0].advance(1_000)
    mortal.die()
    await clocks[0].drive(running)
    // Its lease runs out on the clock of its successor.
    await clocks[1].advance(3_600_000)
    await clocks[1].drive(open(sqlite(path), clocks[1]).settle())
    return violations(ledgerOf(path), logOf(path))
  }
  const deaths = Array.from({ length: 20 }, (_, i) => i + 1)

  test('makes a death after any commit harmless', async () => {
    for (const commits of deaths)
      expect({ commits, ...(await deathAfter(inPlace, commits)) }).toEqual({ commits, ...none })
  })

  test('taken out, some of the same deaths leave effects to be applied again', async () => {
    const twice: number[] = []
    for (const commits of deaths) if ((await deathAfter(withCursorAfterwards, commits)).twice > 0) twice.push(commits)
    expect(twice.length).toBeGreaterThan(2)
    expect(twice.length).toBeLessThan(deaths.length)
  })
})

describe('the sequence check of the inbox', () => {
  /** The cursor over the producer's log comes back from far behind, as a transport that delivers everything again. */
  const redelivery = async () => {
    const folder = await testFolder()
    const orders = await realOrders(40)
    const app = openWorld(folder)
    onTestFinished(() => app.stop())
    for (const [i, data] of orders.slice(0, 30).entries()) await place(app, `r-${i}`, data)
    await app.settle({ withinMs: 10_000 })
    const opened = await app['~pabal'].open()
    const { database, contextStore } = opened.runtimes.get('shipping')!
    await database.transaction(async (session) => {
      const cursor = await claimed(contextStore, session)
      const back = { position: 0, eventId: null, incarnation: cursor.incarnation }
      const lease = { leaseMs: 0, stalls: 0 }
      expect(
        await contextStore.cursors.move(session, cursor, [{ ...cursor, from: cursor.position, to: back }], lease),
      ).toEqual([])
    })
    for (const [i, data] of orders.slice(30).entries()) await place(app, `s-${i}`, data)
    await app.settle({ withinMs: 10_000 })
    return violations(ledgerOf(paths(folder).shipping, 'ship'), logOf(paths(folder).ordering))
  }

  /** The cursor has jumped ahead, as a transport that lost some messages. */
  const loss = async () => {
    const folder = await testFolder()
    const [first] = await realOrders(1)
    const app = openWorld(folder)
    onTestFinished(() => app.stop())
    await place(app, 'r-0', first!)
    await app.settle({ withinMs: 10_000 })
    const opened = await app['~pabal'].open()
    const { database, contextStore } = opened.runtimes.get('shipping')!
    for (let i = 1; i < 4; i++) await place(app, `r-${i}`, first!)
    const last = logOf(paths(folder).ordering).at(-1)!
    await database.transaction(async (session) => {
      const cursor = await claimed(contextStore, session)
      const ahead = { position: last.position, eventId: last.id, incarnation: cursor.incarnation }
      const lease = { leaseMs: 0, stalls: 0 }
      expect(
        await contextStore.cursors.move(session, cursor, [{ ...cursor, from: cursor.position, to: ahead }], lease),
      ).toEqual([])
    })
    await place(app, 'r-4', first!)
    await app.settle({ withinMs: 10_000 })
    return violations(ledgerOf(paths(folder).shipping, 'ship'), logOf(paths(folder).ordering))
  }

  test('drops what was applied before', async () => {
    expect(await redelivery()).toEqual(none)
  })

  test('tells a gap, and the gap is filled from the log in order', async () => {
    expect(await loss()).toEqual(none)
  })

  test('taken out, events are applied twice, and lost ones stay lost', async () => {
    unguarded.inbox = true
    try {
      expect((await redelivery()).twice).toBeGreaterThan(0)
      expect((await loss()).missing).toBeGreaterThan(0)
    } finally {
      unguarded.inbox = false
    }
  })
})
