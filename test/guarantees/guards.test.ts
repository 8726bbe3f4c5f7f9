/** Each guard taken out breaks its guarantee; the same scenario with the guard in place holds. */

import type { App } from 'pabal'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { testFolder } from '../support/folder.ts'
import { ledgerOf, logOf } from '../support/shop.ts'
import { Mortal, Pausing, withoutCursorInTransaction, withoutFence } from './mutants.ts'
import { none, openWorld, paths, place, realOrders, violations, type WorldOptions } from './world.ts'

type Wrap = NonNullable<WorldOptions['store']>
const chain =
  (...wraps: readonly Wrap[]): Wrap =>
  (store) =>
    wraps.reduce((inner: Parameters<Wrap>[0], wrap) => wrap(inner), store)

const unguarded = vi.hoisted(() => ({ inbox: false }))
vi.mock('../../src/subscription/inbox.ts', async (original) => {
  const real = await original<typeof import('../../src/subscription/inbox.ts')>()
  return { judge: (...args: Parameters<typeof real.judge>) => (unguarded.inbox ? 'apply' : real.judge(...args)) }
})

const ending = (app: App): App => {
  onTestFinished(() => app.stop().catch(() => {}))
  return app
}

describe('the epoch fence', () => {
  /** One worker pauses between reading a batch and its transaction, for longer than its lease; another one takes over. */
  const takeover = async (guard: Wrap) => {
    const folder = await testFolder()
    const pausing = new Pausing()
    const stale = ending(openWorld(folder, { leaseMs: 60, store: chain(guard, pausing.store) }))
    const orders = await realOrders(20)
    await stale.settle()
    await stale.start()
    for (const [i, data] of orders.slice(0, 10).entries()) await place(stale, `a-${i}`, data)
    await stale.settle()
    const other = ending(openWorld(folder, { leaseMs: 60_000, store: guard }))
    const reached = pausing.pause()
    for (const [i, data] of orders.slice(10).entries()) await place(other, `b-${i}`, data)
    await reached
    await eventually('the other worker has handled everything', async () => {
      await other.start()
      return other.settle({ withinMs: 5_000 }).then(
        () => true,
        () => false,
      )
    })
    pausing.resume()
    await stale.settle({ withinMs: 5_000 })
    const { ordering, shipping } = paths(folder)
    const log = logOf(ordering)
    return [violations(ledgerOf(ordering, 'ledger'), log), violations(ledgerOf(shipping, 'ship'), log)]
  }

  test('keeps a paused worker from applying what its successor has applied', async () => {
    expect(await takeover((store) => store)).toEqual([none, none])
  })

  test('taken out, events are applied twice', async () => {
    const found = await takeover(withoutFence as Wrap)
    expect(Math.max(...found.map(({ twice }) => twice))).toBeGreaterThan(0)
  })
})

describe('the cursor in the transaction of the effects', () => {
  /** The process dies right after every so many commits; another one goes on. */
  const crashes = async (guard: Wrap, dieAfter: number) => {
    const folder = await testFolder()
    const orders = await realOrders(30)
    const writer = ending(openWorld(folder))
    for (const [i, data] of orders.entries()) await place(writer, `r-${i}`, data)
    await writer.stop()
    const mortal = new Mortal(dieAfter)
    const first = openWorld(folder, { leaseMs: 50, store: chain(guard, mortal.store) })
    await first.start().catch(() => {})
    await eventually('the process has died, or has nothing left to die of', async () => {
      if (mortal.dead) return true
      await first.settle({ withinMs: 50 }).catch(() => {})
      return mortal.dead || first.settle({ withinMs: 1 }).then(() => true, () => false)
    })
    await first.stop({ graceMs: 0 }).catch(() => {})
    const second = ending(openWorld(folder, { leaseMs: 50 }))
    await second.settle({ withinMs: 10_000 })
    const { ordering, shipping } = paths(folder)
    const log = logOf(ordering)
    return [violations(ledgerOf(ordering, 'ledger'), log), violations(ledgerOf(shipping, 'ship'), log)]
  }

  // Registrations and declarations are transactions too: these seeds die between them, among the claims, and among the batches.
  const seeds = [8, 10, 12, 13, 14, 15, 16, 18]

  test.each(seeds)('makes a death after commit %i harmless', async (dieAfter) => {
    expect(await crashes((store) => store, dieAfter)).toEqual([none, none])
  })

  test('taken out, one of the same deaths leaves effects to be applied again', async () => {
    const found = []
    for (const dieAfter of seeds) found.push(...(await crashes(withoutCursorInTransaction as Wrap, dieAfter)))
    expect(Math.max(...found.map(({ twice }) => twice))).toBeGreaterThan(0)
  })
})

describe('the sequence check of the inbox', () => {
  /** The cursor over the producer's log comes back from far behind, as a transport that delivers everything again. */
  const redelivery = async () => {
    const folder = await testFolder()
    const orders = await realOrders(40)
    const app = ending(openWorld(folder))
    for (const [i, data] of orders.slice(0, 30).entries()) await place(app, `r-${i}`, data)
    await app.settle({ withinMs: 10_000 })
    const opened = await app['~pabal'].open()
    const { database, contextStore } = opened.runtimes.get('shipping')!
    await database.transaction(async (session) => {
      const [cursor] = await contextStore.cursors.cursors(session, 'ship')
      const back = { position: 0, eventId: null, incarnation: cursor!.incarnation }
      expect(await contextStore.cursors.move(session, cursor!, cursor!.epoch, back, { leaseMs: 0, stalls: 0 })).toBe(true)
    })
    for (const [i, data] of orders.slice(30).entries()) await place(app, `s-${i}`, data)
    await app.settle({ withinMs: 10_000 })
    const { ordering, shipping } = paths(folder)
    return violations(ledgerOf(shipping, 'ship'), logOf(ordering))
  }

  /** The cursor has jumped ahead, as a transport that lost some messages. */
  const loss = async () => {
    const folder = await testFolder()
    const [first] = await realOrders(1)
    const app = ending(openWorld(folder))
    await place(app, 'r-0', first!)
    await app.settle({ withinMs: 10_000 })
    const opened = await app['~pabal'].open()
    const { database, contextStore } = opened.runtimes.get('shipping')!
    for (let i = 1; i < 4; i++) await place(app, `r-${i}`, first!)
    const { ordering, shipping } = paths(folder)
    const last = logOf(ordering).at(-1)!
    await database.transaction(async (session) => {
      const [cursor] = await contextStore.cursors.cursors(session, 'ship')
      const ahead = { position: last.position, eventId: last.id, incarnation: cursor!.incarnation }
      await contextStore.cursors.move(session, cursor!, cursor!.epoch, ahead, { leaseMs: 0, stalls: 0 })
    })
    await place(app, 'r-4', first!)
    await app.settle({ withinMs: 10_000 })
    return violations(ledgerOf(shipping, 'ship'), logOf(ordering))
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
