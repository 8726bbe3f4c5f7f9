/** A parked key taken up again: in order, however much waits, whatever comes meanwhile, edited or not. */

import fc from 'fast-check'
import type { App } from 'pabal'
import { describe, expect, test } from 'vitest'
import {
  type DurableOrderOptions,
  enter,
  ledgerOf,
  logOf,
  openOrdering,
  order,
  OrderPlaced,
  ordering,
  parkedIn,
  sequencesOf,
} from '../../test/support/shop.ts'
import { VirtualClock } from '../../test/support/virtual-clock.ts'

const oneTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1)

/** What an operator's `dead retry` and `dead edit` write. */
const retryDead = async (
  app: App,
  key: string,
  edited: { id: string; data: string } | null = null,
  consumer = 'list',
) => {
  const opened = await app['~pabal'].open()
  const { database, contextStore } = opened.runtimes.get('ordering')!
  await database.transaction(async (session) => {
    const row = (await contextStore.parking.get(session, consumer, 'ordering', key))!
    await contextStore.parking.put(session, {
      ...row,
      status: 'retrying',
      attempts: 0,
      next_ms: app['~pabal'].environment.now(),
      edited: edited === null ? row.edited : { ...edited, by: 'test', reason: 'typo' },
    })
  })
  for (const subscription of opened.subscriptions) subscription.ring()
}

/** `fails` says which events fail just now. */
const open = async (options: DurableOrderOptions = {}) => {
  const clock = new VirtualClock()
  const fails = new Set<string>()
  const handler = ordering.on(
    OrderPlaced,
    'list',
    (event, { tx }) => {
      enter(tx, 'list', event)
      tx.run('INSERT INTO state VALUES (?)', `${event.id} ${event.data.n}`)
      if (fails.has(event.key) || fails.has(`${event.key}${event.sequence}`)) throw new Error('no')
    },
    { retry: { attempts: 3, first: '1s' }, ...options },
  )
  const opened = await openOrdering([handler], { environment: clock })
  await opened.app.start()
  return { ...opened, clock, fails }
}

const external = async () => {
  const clock = new VirtualClock()
  const fails = new Set<string>()
  const runs: string[] = []
  const handler = ordering.on(
    OrderPlaced,
    'list',
    async ({ key, sequence }, { attempt }) => {
      await Promise.resolve()
      runs.push(`${key}${sequence}/${attempt}`)
      if (fails.has(key) || fails.has(`${key}${sequence}`)) throw new Error('no')
    },
    {
      effects: 'external',
      retry: { attempts: 3, first: '1s' },
      record: (_, event, { tx }) => enter(tx, 'list', event),
    },
  )
  const opened = await openOrdering([handler], { environment: clock })
  await opened.app.start()
  return { ...opened, clock, fails, runs }
}

describe.each([
  ['database', open],
  ['external', external],
])('a dead key with %s effects', (_effects, opening) => {
  test.each([1, 49, 50, 51, 120])('with %d events waiting is handled in order to its end', async (count) => {
    const { path, app, clock, fails, context, place } = await opening()
    fails.add('bad')
    await context.transaction(({ raise }) => {
      for (let i = 0; i < count; i++) raise(OrderPlaced, order('bad', i))
      raise(OrderPlaced, order('a'))
    })
    await clock.drive(app.settle())
    expect(parkedIn(path)).toMatchObject([{ key: 'bad', status: 'dead', waiting: count - 1 }])
    fails.clear()
    await retryDead(app, 'bad')
    await clock.drive(app.settle())
    expect(sequencesOf(ledgerOf(path))).toEqual({ a: [1], bad: oneTo(count) })
    expect(parkedIn(path)).toEqual([])
    await place('bad')
    await clock.drive(app.settle())
    expect(sequencesOf(ledgerOf(path))['bad']).toEqual(oneTo(count + 1))
  })

  test('keeps its order while new events of it keep coming', async () => {
    const { path, app, clock, fails, place } = await opening()
    fails.add('bad')
    await place(...oneTo(70).map(() => 'bad'))
    await clock.drive(app.settle())
    fails.clear()
    await retryDead(app, 'bad')
    for (let i = 0; i < 60; i++) {
      await place('bad', 'a')
      await clock.advance(i % 7)
    }
    await clock.drive(app.settle())
    expect(sequencesOf(ledgerOf(path))).toEqual({ a: oneTo(60), bad: oneTo(130) })
  })

  test('stops at the next failing event, and no further one is touched', async () => {
    const { path, app, clock, fails, place } = await opening()
    fails.add('bad1').add('bad4')
    await place('bad', 'bad', 'bad', 'bad', 'bad', 'bad')
    await clock.drive(app.settle())
    fails.delete('bad1')
    await retryDead(app, 'bad')
    await clock.drive(app.settle())
    expect(sequencesOf(ledgerOf(path))).toEqual({ bad: [1, 2, 3] })
    expect(parkedIn(path)).toMatchObject([{ sequence: 4, status: 'dead', attempts: 3, waiting: 2 }])
  })

  test('over a restart goes on where it stood', async () => {
    const first = await opening()
    first.fails.add('bad')
    await first.place('bad', 'bad', 'bad')
    await first.clock.drive(first.app.settle())
    await retryDead(first.app, 'bad')
    await first.clock.drive(first.app.stop())
    const second = await openOrdering([ordering.on(OrderPlaced, 'list', (event, { tx }) => enter(tx, 'list', event))], {
      path: first.path,
    })
    await second.app.settle({ withinMs: 10_000 })
    expect(sequencesOf(ledgerOf(first.path))).toEqual({ bad: [1, 2, 3] })
  })
})

describe('an edited dead letter', () => {
  test('is handled in the original’s place with a new id, for this consumer only', async () => {
    const { path, app, clock, fails, place } = await open()
    fails.add('bad1')
    await place('bad', 'bad')
    await clock.drive(app.settle())
    const [original] = logOf(path)
    fails.clear()
    await retryDead(app, 'bad', { id: '0191-edited', data: JSON.stringify(order('bad', 77)) })
    await clock.drive(app.settle())
    const rows = ledgerOf(path)
    expect(rows.map(({ event_id, sequence }) => [event_id, sequence])).toEqual([
      ['0191-edited', 1],
      [logOf(path)[1]?.id, 2],
    ])
    expect(logOf(path)[0]).toEqual(original)
  })

  test('keeps its edit when it fails again', async () => {
    const { path, app, clock, fails, place } = await open()
    fails.add('bad1')
    await place('bad')
    await clock.drive(app.settle())
    await retryDead(app, 'bad', { id: '0191-edited', data: JSON.stringify(order('bad', 77)) })
    await clock.drive(app.settle())
    expect(parkedIn(path)).toMatchObject([
      { status: 'dead', attempts: 3, edited: expect.stringContaining('0191-edited') },
    ])
    fails.clear()
    await retryDead(app, 'bad')
    await clock.drive(app.settle())
    expect(ledgerOf(path).map(({ event_id }) => event_id)).toEqual(['0191-edited'])
  })
})

test('whatever fails when, each key is applied in order, once, and what is left is parked', async () => {
  const step = fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({
        kind: fc.constant('place' as const),
        keys: fc.array(fc.constantFrom('a', 'b', 'c'), { minLength: 1, maxLength: 8 }),
      }),
    },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('break' as const), key: fc.constantFrom('a', 'b', 'c') }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('mend' as const), key: fc.constantFrom('a', 'b', 'c') }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 0, max: 5_000 }) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('retry' as const), key: fc.constantFrom('a', 'b', 'c') }) },
  )
  await fc.assert(
    fc.asyncProperty(fc.boolean(), fc.array(step, { minLength: 3, maxLength: 25 }), async (isExternal, steps) => {
      const { path, app, clock, fails, place } = await (isExternal ? external() : open())
      const placed: Record<string, number> = {}
      for (const given of steps) {
        if (given.kind === 'place') {
          for (const key of given.keys) placed[key] = (placed[key] ?? 0) + 1
          await place(...given.keys)
        } else if (given.kind === 'break') fails.add(given.key)
        else if (given.kind === 'mend') fails.delete(given.key)
        else if (given.kind === 'wait') await clock.advance(given.ms)
        else if (parkedIn(path).some(({ key, status }) => key === given.key && status === 'dead'))
          await retryDead(app, given.key)
        const applied = sequencesOf(ledgerOf(path))
        for (const sequences of Object.values(applied)) expect(sequences).toEqual(oneTo(sequences.length))
      }
      await clock.drive(app.settle())
      const applied = sequencesOf(ledgerOf(path))
      const parked = parkedIn(path)
      for (const [key, count] of Object.entries(placed)) {
        const done = applied[key]?.length ?? 0
        const row = parked.find((candidate) => candidate.key === key)
        if (row === undefined) expect(done).toBe(count)
        else {
          expect(row).toMatchObject({ status: 'dead', sequence: done + 1, waiting: count - done - 1 })
        }
      }
      fails.clear()
      for (const { key } of parked) await retryDead(app, key)
      await clock.drive(app.settle())
      for (const [key, count] of Object.entries(placed)) expect(sequencesOf(ledgerOf(path))[key]).toEqual(oneTo(count))
      await clock.drive(app.stop())
    }),
    { numRuns: 30, seed: 20_101_201 },
  )
})
