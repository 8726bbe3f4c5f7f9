/** The circuit breaker: when everything fails nothing is parked, and one success lets all go on. */

import { describe, expect, test } from 'vitest'
import {
  enter,
  ledgerOf,
  openOrdering,
  OrderPlaced,
  ordering,
  parkedIn,
  rowsOf,
  sequencesOf,
} from '../../test/support/shop.ts'
import { VirtualClock } from '../../test/support/virtual-clock.ts'

const keys = (count: number, prefix = 'k') => Array.from({ length: count }, (_, i) => `${prefix}${i}`)

const open = async (effects: 'database' | 'external', fails: (key: string) => boolean) => {
  const clock = new VirtualClock()
  const runs: number[] = []
  const startMs = clock.now()
  const run = (key: string) => {
    runs.push(clock.now() - startMs)
    if (fails(key)) throw new Error('503 Service Unavailable')
  }
  const handler =
    effects === 'database'
      ? ordering.on(OrderPlaced, 'list', (event, { tx }) => {
          enter(tx, 'list', event)
          run(event.key)
        })
      : ordering.on(OrderPlaced, 'list', ({ key }) => run(key), {
          effects: 'external',
          record: (_, event, { tx }) => enter(tx, 'list', event),
        })
  const opened = await openOrdering([handler], { environment: clock })
  await opened.app.start()
  const held = () =>
    rowsOf<{ breaker_until_ms: number | null; breaker_error: string | null }>(
      opened.path,
      'SELECT breaker_until_ms, breaker_error FROM pabal_ordering_consumer',
    )[0]!
  return { ...opened, clock, runs, held }
}

describe.each(['database', 'external'] as const)('with %s effects', (effects) => {
  test('everything fails: fewer than ten keys are parked, the rest is held in place, visibly', async () => {
    const { path, clock, place, held, app } = await open(effects, () => true)
    await place(...keys(40))
    await clock.advance(200)
    expect(parkedIn(path).length).toBeLessThan(10)
    expect(held().breaker_error).toBe('Error: 503 Service Unavailable')
    expect(held().breaker_until_ms).toBeGreaterThan(clock.now())
    expect(app.warnings.join()).toMatch(/'list' of 'ordering': everything fails, held/)
    await clock.advance(600_000)
    expect(parkedIn(path).length).toBeLessThan(10)
    expect(parkedIn(path).every(({ status }) => status === 'retrying')).toBe(true)
  })

  test('it is tried again ever less often, at least every 30 s', async () => {
    const { clock, place, runs } = await open(effects, () => true)
    await place(...keys(40))
    await clock.advance(300_000)
    const rounds = [...new Set(runs)]
    const pauses = rounds.slice(1).map((ms, i) => ms - rounds[i]!)
    expect(Math.max(...pauses)).toBeLessThanOrEqual(30_000)
    expect(pauses.at(-1)).toBeGreaterThan(10_000)
    expect(rounds.length).toBeLessThan(40)
  })

  test('it goes on by itself once something succeeds: everything in order, nothing left', async () => {
    let down = true
    const { path, clock, place, held, app } = await open(effects, () => down)
    await place(...keys(40), ...keys(40))
    await clock.advance(100_000)
    down = false
    await clock.drive(app.settle())
    expect(Object.values(sequencesOf(ledgerOf(path)))).toEqual(keys(40).map(() => [1, 2]))
    expect(parkedIn(path)).toEqual([])
    expect(held()).toEqual({ breaker_until_ms: null, breaker_error: null })
  })

  test('a dozen bad keys among good ones open nothing', async () => {
    const { path, clock, place, held, app } = await open(effects, (key) => key.startsWith('bad'))
    await place(...keys(60).flatMap((key, i) => (i % 5 === 0 ? [`bad${i}`, key] : [key])))
    await clock.drive(app.settle())
    expect(Object.keys(sequencesOf(ledgerOf(path))).toSorted()).toEqual(keys(60).toSorted())
    expect(parkedIn(path)).toHaveLength(12)
    expect(parkedIn(path).every(({ status, attempts }) => status === 'dead' && attempts === 8)).toBe(true)
    expect(held().breaker_error).toBeNull()
    expect(app.warnings.join()).not.toMatch(/everything fails/)
  })

  test('a dozen bad keys in a row hold nothing for good: the good ones behind them are reached', async () => {
    const { path, clock, place, app } = await open(effects, (key) => key.startsWith('bad'))
    await place(...keys(12, 'bad'), 'good', ...keys(3, 'bad'))
    await clock.drive(app.settle({ withinMs: 3_600_000 }))
    expect(Object.keys(sequencesOf(ledgerOf(path)))).toEqual(['good'])
    expect(parkedIn(path)).toHaveLength(12)
  })

  test('thirty bad keys in a row hold nothing for good either', async () => {
    const { path, clock, place } = await open(effects, (key) => key.startsWith('bad'))
    await place(...keys(30, 'bad'), 'good')
    await clock.advance(1_800_000)
    expect(Object.keys(sequencesOf(ledgerOf(path)))).toEqual(['good'])
    expect(parkedIn(path)).toHaveLength(30)
  })

  test('ten bad keys, the last of them with a long queue, hold nothing for good', async () => {
    const { path, clock, place } = await open(effects, (key) => key.startsWith('bad'))
    await place(...keys(10, 'bad'), ...keys(600).map(() => 'bad9'), 'good')
    await clock.advance(1_800_000)
    expect(Object.keys(sequencesOf(ledgerOf(path)))).toEqual(['good'])
    expect(parkedIn(path)).toHaveLength(10)
  })

  test('one key that fails often is not everything', async () => {
    const { path, clock, place, app } = await open(effects, (key) => key === 'bad')
    await place(...keys(30).map(() => 'bad'), 'a')
    await clock.drive(app.settle())
    expect(app.warnings.join()).not.toMatch(/everything fails/)
    expect(sequencesOf(ledgerOf(path))).toEqual({ a: [1] })
    expect(parkedIn(path)).toMatchObject([{ key: 'bad', waiting: 29 }])
  })

  test('a restart while it is open loses and doubles nothing', async () => {
    let down = true
    const { path, clock, place, app } = await open(effects, () => down)
    await place(...keys(25))
    await clock.advance(50_000)
    await clock.drive(app.stop())
    down = false
    const { app: next } = await openOrdering(
      [ordering.on(OrderPlaced, 'list', (event, { tx }) => enter(tx, 'list', event))],
      { path, environment: clock },
    )
    await clock.drive(next.settle())
    expect(Object.values(sequencesOf(ledgerOf(path)))).toEqual(keys(25).map(() => [1]))
    expect(rowsOf(path, 'SELECT breaker_until_ms FROM pabal_ordering_consumer')).toEqual([{ breaker_until_ms: null }])
  })
})

test('where one failure opens it, one bad key still stops itself only', async () => {
  const clock = new VirtualClock()
  const { path, app, place } = await openOrdering(
    [
      ordering.on(OrderPlaced, 'list', (event, { tx }) => {
        enter(tx, 'list', event)
        if (event.key.startsWith('bad')) throw new Error('no')
      }),
    ],
    { environment: clock, breaker: { keys: 1, firstMs: 1_000, maxMs: 1_000 } },
  )
  await place('bad0', 'a', 'bad1', 'b')
  await clock.drive(app.settle())
  expect(Object.keys(sequencesOf(ledgerOf(path)))).toEqual(['a', 'b'])
  expect(parkedIn(path).map(({ key, status }) => [key, status])).toEqual([
    ['bad0', 'dead'],
    ['bad1', 'dead'],
  ])
})
