/** Two processes that run the same consumer share its lanes, and nothing runs twice because of it. */

import { expect, onTestFinished, test } from 'vitest'
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
import { slotOf } from '../store/slot.ts'

const oneTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1)
/** So many keys of each lane. */
const keysOf = (lanes: number, each: number): string[] => {
  const names = oneTo(1_000).map((n) => `k${n}`)
  return oneTo(lanes).flatMap((lane) => names.filter((name) => slotOf(name) % lanes === lane - 1).slice(0, each))
}

interface Run {
  readonly by: number
  readonly id: string
  readonly key: string
  readonly attempt: number
}

/** Processes on one file and one clock, with a handler that takes 50 ms outside of the database. */
const processes = async (lanes: number, call: (run: Run) => Promise<void> = async () => {}) => {
  const clock = new VirtualClock()
  const runs: Run[] = []
  let path: string | undefined
  const open = async (by: number) => {
    const handler = ordering.on(
      OrderPlaced,
      'list',
      async ({ id, key }, { attempt }) => {
        const run = { by, id, key, attempt }
        runs.push(run)
        await clock.sleep(50)
        await call(run)
      },
      {
        effects: 'external',
        startAt: 'beginning',
        lanes,
        batch: 8,
        concurrency: 1,
        record: (_, event, { tx }) => enter(tx, 'list', event),
      },
    )
    const opened = await openOrdering([handler], { environment: clock, ...(path === undefined ? {} : { path }) })
    path = opened.path
    // Stopping waits for what runs, which waits for the clock.
    onTestFinished(() => clock.drive(opened.app.stop()))
    return opened
  }
  const first = await open(0)
  const second = await open(1)
  const lanesOf = () => {
    const owners = rowsOf<{ owner: string | null }>(first.path, 'SELECT owner FROM pabal_ordering_cursor ORDER BY lane')
    const counts = Map.groupBy(owners, ({ owner }) => owner)
    return [...counts.values()].map(({ length }) => length).toSorted((a, b) => a - b)
  }
  return { first, second, clock, runs, path: first.path, lanesOf }
}

test('who comes later gets its fair share of a backlog, keeps it, and no call is made twice', async () => {
  const { first, second, clock, runs, path, lanesOf } = await processes(8)
  const keys = keysOf(8, 2)
  for (const _ of oneTo(60)) await first.place(...keys)
  await first.app.start()
  await clock.advance(1_000)
  expect(lanesOf()).toEqual([8])
  await second.app.start()
  await clock.advanceUntil('each has its half', () => lanesOf().join() === '4,4', 10_000)
  const before = runs.length
  for (const _ of oneTo(20)) {
    await clock.advance(500)
    expect(lanesOf()).toEqual([4, 4])
  }
  // 50 ms for each event: one process could have handled 200 in that time.
  expect(runs.length - before).toBeGreaterThan(350)
  await clock.drive(first.app.settle())
  expect(runs.map(({ id }) => id).toSorted()).toEqual([...new Set(runs.map(({ id }) => id))].toSorted())
  for (const sequences of Object.values(sequencesOf(ledgerOf(path)))) expect(sequences).toEqual(oneTo(60))
})

test('when one of them stops, the other has all of it again', async () => {
  const { first, second, clock, path, lanesOf } = await processes(4)
  const keys = keysOf(4, 2)
  for (const _ of oneTo(60)) await first.place(...keys)
  await first.app.start()
  await second.app.start()
  await clock.advanceUntil('each has its half', () => lanesOf().join() === '2,2', 10_000)
  await clock.drive(first.app.stop())
  await clock.advanceUntil('one has all', () => lanesOf().join() === '4', 10_000)
  await clock.drive(second.app.settle())
  for (const sequences of Object.values(sequencesOf(ledgerOf(path)))) expect(sequences).toEqual(oneTo(60))
})

test('a lane stays where a parked key of it is being tried again, until that has ended', async () => {
  const keys = keysOf(2, 2)
  const bad = keys.at(-1)!
  const { first, second, clock, runs, path, lanesOf } = await processes(2, async ({ key, attempt }) => {
    if (key !== bad) return
    if (attempt === 1) throw new Error('not yet')
    await clock.sleep(20_000)
  })
  await first.place(bad)
  await first.app.start()
  await clock.advanceUntil('it is tried again', () => runs.some(({ attempt }) => attempt === 2))
  for (const _ of oneTo(200)) await first.place(...keys.slice(0, 3))
  await second.app.start()
  for (const _ of oneTo(15)) {
    await clock.advance(1_000)
    expect(lanesOf()).toEqual([2])
  }
  await clock.advanceUntil('each has its half', () => lanesOf().join() === '1,1', 15_000)
  await clock.drive(first.app.settle())
  expect(runs.filter(({ key }) => key === bad).map(({ attempt }) => attempt)).toEqual([1, 2])
  expect(parkedIn(path)).toEqual([])
  expect(ledgerOf(path)).toHaveLength(601)
})

test('one busy lane stays with its owner', async () => {
  const { first, second, clock, runs, lanesOf } = await processes(4)
  const [key] = keysOf(4, 1)
  for (const _ of oneTo(200)) await first.place(key!)
  await first.app.start()
  await clock.advance(500)
  await second.app.start()
  await clock.drive(first.app.settle())
  expect(new Set(runs.map(({ by }) => by))).toEqual(new Set([0]))
  expect(lanesOf()).toEqual([1, 3])
})
