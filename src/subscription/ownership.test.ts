/** Who works on a lane: one owner at a time, taken over when it is gone, stopped by its epoch when it comes back. */

import { DatabaseSync } from 'node:sqlite'
import { type App, systemEnvironment } from 'pabal'
import { describe, expect, test } from 'vitest'
import { startChild } from '../../test/support/child.ts'
import { eventually, type Gate, gate, quiet } from '../../test/support/eventually.ts'
import { testFolder } from '../../test/support/folder.ts'
import {
  enter,
  impatient,
  ledgerOf,
  logOf,
  openOrdering,
  OrderPaid,
  OrderPlaced,
  ordering,
  parkedIn,
  rowsOf,
  sequencesOf,
} from '../../test/support/shop.ts'
import { VirtualClock } from '../../test/support/virtual-clock.ts'

const oneTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1)
const cursorsOf = (path: string) =>
  rowsOf<{ consumer: string; lane: number; position: number; owner: string | null; epoch: number; stalls: number }>(
    path,
    'SELECT * FROM pabal_ordering_cursor ORDER BY consumer, lane',
  )
const execute = (path: string, sql: string): void => {
  const db = new DatabaseSync(path, { timeout: 5_000 })
  db.exec(sql)
  db.close()
}
const setPaused = async (app: App, paused: boolean): Promise<void> => {
  const opened = await app['~pabal'].open()
  const { database, contextStore } = opened.runtimes.get('ordering')!
  await database.transaction(async (session) => {
    await contextStore.cursors.update(session, 'list', { state: paused ? 'paused' : 'active' })
    if (paused) await contextStore.cursors.revoke(session, 'list')
  })
}

const list = (options: { lanes?: number } = {}) =>
  ordering.on(OrderPlaced, 'list', (event, { tx }) => enter(tx, 'list', event), options)

describe('two processes with the same consumer', () => {
  test.each([1, 4])('share its work so that each event is applied once, in order per key (%d lanes)', async (lanes) => {
    const first = await openOrdering([list({ lanes })], { environment: impatient(), leaseMs: 500 })
    const second = await openOrdering([list({ lanes })], { path: first.path, environment: impatient(), leaseMs: 500 })
    await Promise.all([first.app.start(), second.app.start()])
    for (let i = 0; i < 30; i++) await (i % 2 === 0 ? first : second).place(...oneTo(10).map((k) => `k${(k * i) % 13}`))
    await Promise.all([first.app.settle({ withinMs: 10_000 }), second.app.settle({ withinMs: 10_000 })])
    const applied = sequencesOf(ledgerOf(first.path))
    expect(ledgerOf(first.path)).toHaveLength(300)
    for (const sequences of Object.values(applied)) expect(sequences).toEqual(oneTo(sequences.length))
  })

  test('a graceful stop gives the lanes back, and the other goes on at once', async () => {
    const first = await openOrdering([list({ lanes: 3 })], { leaseMs: 3_600_000 })
    await first.app.start()
    await first.place('a', 'b', 'c', 'd')
    await first.app.settle({ withinMs: 5_000 })
    const second = await openOrdering([list({ lanes: 3 })], { path: first.path, environment: impatient() })
    await second.app.start()
    await first.app.stop()
    expect(cursorsOf(first.path).map(({ owner, stalls }) => [owner, stalls])).toEqual([
      [null, 0],
      [null, 0],
      [null, 0],
    ])
    await second.place('a', 'b', 'c', 'd')
    await second.app.settle({ withinMs: 5_000 })
    expect(ledgerOf(first.path)).toHaveLength(8)
  })

  test('a killed owner is replaced without waiting for its lease', { timeout: 180_000 }, async () => {
    const folder = await testFolder()
    const path = `${folder}/ordering.db`
    const child = startChild({ file: 'test/support/mortal-owner.ts' }, path, 'hold')
    await child.said('running')
    await child.kill()
    expect(cursorsOf(path)[0]?.owner).not.toBeNull()
    const { app } = await openOrdering([list()], { path, environment: impatient() })
    await app.settle({ withinMs: 10_000 })
    expect(sequencesOf(ledgerOf(path))).toEqual({ a: [1] })
  })
})

describe('a lane of an owner that is gone, beside lanes of nobody', () => {
  /** Each look at it takes a millisecond, and sleepers wake early, as real timers do. */
  const restless = (startMs: number, earlyMs: number) => {
    let nowMs = startMs
    return {
      ...systemEnvironment,
      now: () => nowMs++,
      random: () => 0.5,
      sleep: async (ms: number, signal?: AbortSignal): Promise<void> => {
        const isWait = ms > 500 && ms < 3_600_000
        if (isWait) nowMs += ms - earlyMs
        return systemEnvironment.sleep(isWait ? 1 : ms, signal)
      },
    }
  }

  test.each(oneTo(12))('is asked for again, though the sleeper woke %d ms early', async (earlyMs) => {
    const clock = new VirtualClock()
    const gone = await openOrdering([list({ lanes: 4 })], { environment: clock })
    await gone.app.start()
    await gone.place('a')
    await clock.advance(10)
    expect(ledgerOf(gone.path)).toHaveLength(1)
    const { app, place } = await openOrdering([list({ lanes: 4 })], {
      path: gone.path,
      environment: restless(clock.now(), earlyMs),
    })
    await place('a')
    await app.start()
    await eventually('the second event is handled', () => ledgerOf(gone.path).length === 2)
  })
})

describe('a handler that outlives its lease', () => {
  /** Two processes with clocks of their own: one may stand still while the other goes on. */
  const twoClocks = async () => {
    const clocks = [new VirtualClock(), new VirtualClock()] as const
    const runs: { app: number; signal: AbortSignal; answer: Gate }[] = []
    const handler = (app: number) =>
      ordering.on(
        OrderPlaced,
        'list',
        async (_event, { signal }) => {
          const run = { app, signal, answer: gate<void>() }
          runs.push(run)
          signal.addEventListener('abort', () => run.answer.fail(signal.reason))
          await run.answer.opened
        },
        {
          effects: 'external',
          timeout: '10m',
          record: (_, event, { tx, raise }) => {
            enter(tx, 'list', event)
            raise(OrderPaid, event.data)
          },
        },
      )
    const first = await openOrdering([handler(0)], { environment: clocks[0] })
    const second = await openOrdering([handler(1)], { path: first.path, environment: clocks[1] })
    await first.app.start()
    return { first, second, clocks, runs, path: first.path }
  }

  test('keeps the lane as long as its process gives signs of life', async () => {
    const { first, second, clocks, runs, path } = await twoClocks()
    await first.place('a')
    await clocks[0].advance(0)
    await second.app.start()
    for (let i = 0; i < 30; i++) {
      await clocks[0].advance(4_000)
      await clocks[1].advance(4_000)
    }
    expect(runs.map(({ app }) => app)).toEqual([0])
    runs[0]?.answer.open()
    await clocks[0].advance(10)
    expect(ledgerOf(path)).toHaveLength(1)
  })

  test('is taken over when its process stands still; what it says later is not recorded, and it is told', async () => {
    const { first, second, clocks, runs, path } = await twoClocks()
    await first.place('a')
    await clocks[0].advance(0)
    await second.app.start()
    await clocks[1].advance(14_000)
    expect(runs.map(({ app }) => app)).toEqual([0])
    await clocks[1].advance(4_000)
    expect(runs.map(({ app }) => app)).toEqual([0, 1])
    runs[1]?.answer.open()
    await clocks[1].advance(10)
    expect(ledgerOf(path)).toHaveLength(1)
    // The first one wakes up, and answers before it has found out.
    runs[0]?.answer.open()
    await clocks[0].advance(1)
    expect(ledgerOf(path)).toHaveLength(1)
    expect(logOf(path).filter(({ type }) => type === OrderPaid.type)).toHaveLength(1)
  })

  test('hears of it by its signal at its next beat', async () => {
    const { first, second, clocks, runs, path } = await twoClocks()
    await first.place('a')
    await clocks[0].advance(0)
    await second.app.start()
    await clocks[1].advance(18_000)
    expect(runs[0]?.signal.aborted).toBe(false)
    await clocks[0].advance(5_001)
    expect(runs[0]?.signal.aborted).toBe(true)
    runs[1]?.answer.open()
    await clocks[1].advance(10)
    await clocks[0].advance(20_000)
    expect(ledgerOf(path)).toHaveLength(1)
    expect(parkedIn(path)).toEqual([])
  })

  test('on a parked key keeps the lane, too: nobody else begins the same run', async () => {
    const { first, second, clocks, runs, path } = await twoClocks()
    await first.place('a')
    await clocks[0].advance(0)
    runs[0]?.answer.fail(new Error('try again'))
    await clocks[0].advance(2_000)
    expect(runs).toHaveLength(2)
    await clocks[1].advance(2_000)
    await second.app.start()
    for (let i = 0; i < 30; i++) {
      await clocks[0].advance(4_000)
      await clocks[1].advance(4_000)
    }
    expect(runs.map(({ app }) => app)).toEqual([0, 0])
    runs[1]?.answer.open()
    await clocks[0].advance(10)
    expect(ledgerOf(path)).toHaveLength(1)
    expect(parkedIn(path)).toEqual([])
  })
})

describe('a paused consumer', () => {
  test('handles nothing and is not waited for; resumed it goes on where it was', async () => {
    const { path, app, place } = await openOrdering([list()], { environment: impatient() })
    await app.start()
    await place('a')
    await app.settle({ withinMs: 5_000 })
    await setPaused(app, true)
    await place('a', 'b')
    await app.settle({ withinMs: 5_000 })
    for (let turn = 0; turn < 20; turn++) await quiet()
    expect(ledgerOf(path)).toHaveLength(1)
    await setPaused(app, false)
    for (const subscription of (await app['~pabal'].open()).subscriptions) subscription.ring()
    await app.settle({ withinMs: 5_000 })
    expect(sequencesOf(ledgerOf(path))).toEqual({ a: [1, 2], b: [1] })
  })

  test('stops in the middle of its work, and hears of its resumption from another process', async () => {
    const { path, app, place } = await openOrdering([list()])
    await app.start()
    await place(...oneTo(2_000).map((n) => `k${n % 7}`))
    execute(
      path,
      "UPDATE pabal_ordering_consumer SET state = 'paused'; UPDATE pabal_ordering_cursor SET epoch = epoch + 1, owner = NULL",
    )
    await app.settle({ withinMs: 5_000 })
    const before = ledgerOf(path).length
    await place('k0')
    for (let turn = 0; turn < 20; turn++) await quiet()
    expect(ledgerOf(path)).toHaveLength(before)
    execute(path, "UPDATE pabal_ordering_consumer SET state = 'active'")
    await eventually('the consumer to go on', () => ledgerOf(path).length === 2_001)
    for (const sequences of Object.values(sequencesOf(ledgerOf(path))))
      expect(sequences).toEqual(oneTo(sequences.length))
  })

  test('with parked keys tries none of them', async () => {
    let broken = true
    const clock = new VirtualClock()
    const { path, app, place } = await openOrdering(
      [
        ordering.on(OrderPlaced, 'list', (event, { tx }) => {
          enter(tx, 'list', event)
          if (broken) throw new Error('no')
        }),
      ],
      { environment: clock },
    )
    await app.start()
    await place('a')
    await clock.advance(10)
    await setPaused(app, true)
    broken = false
    await clock.advance(600_000)
    expect(ledgerOf(path)).toEqual([])
    expect(parkedIn(path)).toMatchObject([{ status: 'retrying', attempts: 1 }])
    await setPaused(app, false)
    for (const subscription of (await app['~pabal'].open()).subscriptions) subscription.ring()
    await clock.advance(2_000)
    expect(sequencesOf(ledgerOf(path))).toEqual({ a: [1] })
  })
})

describe('a handler that ends its process', () => {
  const crashUntil = async (path: string, mode: string, done: () => boolean): Promise<number> => {
    for (let deaths = 0; deaths < 16; deaths++) {
      if (deaths > 0 && done()) return deaths
      const child = startChild({ file: 'test/support/mortal-owner.ts' }, path, mode)
      const code = await Promise.race([child.ended, child.said('settled').then(() => 'settled' as const)])
      if (code === 'settled') {
        await child.kill()
        return deaths
      }
    }
    return 16
  }

  test('each time it meets one event: that event is parked, and every other key goes on', {
    timeout: 120_000,
  }, async () => {
    const path = `${await testFolder()}/ordering.db`
    const deaths = await crashUntil(path, 'crash', () => parkedIn(path).length > 0 && ledgerOf(path).length === 3)
    expect(deaths).toBeGreaterThan(3)
    expect(deaths).toBeLessThan(12)
    expect(parkedIn(path)).toMatchObject([
      { key: 'bad', status: 'dead', sequence: 1, error: expect.stringContaining('PABAL_HANDLER_CRASHED') },
    ])
    expect(sequencesOf(ledgerOf(path))).toEqual({ a: [1, 2], b: [1] })
  })

  test('at its second attempt: that key ends parked, and every other key goes on', { timeout: 120_000 }, async () => {
    const path = `${await testFolder()}/ordering.db`
    const deaths = await crashUntil(
      path,
      'crash-on-retry',
      () => parkedIn(path).some(({ status }) => status === 'dead') && ledgerOf(path).length === 3,
    )
    expect(deaths).toBeLessThan(16)
    expect(parkedIn(path).map(({ key, status }) => [key, status])).toEqual([['bad', 'dead']])
    expect(sequencesOf(ledgerOf(path))).toEqual({ a: [1, 2], b: [1] })
  })
})

test('processes that died while they tried a parked key again make no later event a suspect', async () => {
  let broken = true
  const handler = ordering.on(
    OrderPlaced,
    'list',
    (event, { tx }) => {
      enter(tx, 'list', event)
      if (broken && event.key === 'bad') throw new Error('no')
    },
    { retry: { attempts: 100, first: '1m', max: '1m' } },
  )
  // A clock that stands still is a process that is gone; its lease runs out on the clock of the next one.
  const startMs = Date.UTC(2026, 0, 5)
  const path = `${await testFolder()}/ordering.db`
  for (let death = 0; death < 10; death++) {
    const clock = new VirtualClock({ startMs: startMs + death * 120_000 })
    const { app, place } = await openOrdering([handler], { path, environment: clock })
    await app.start()
    if (death === 0) await place('bad')
    await clock.advance(61_000)
    expect(parkedIn(path)).toMatchObject([{ key: 'bad', status: 'retrying' }])
  }
  broken = false
  const clock = new VirtualClock({ startMs: startMs + 3_600_000 })
  const { app, place } = await openOrdering([handler], { path, environment: clock })
  await place('innocent')
  await clock.drive(app.settle())
  expect(sequencesOf(ledgerOf(path))).toEqual({ bad: [1], innocent: [1] })
  expect(parkedIn(path)).toEqual([])
})
