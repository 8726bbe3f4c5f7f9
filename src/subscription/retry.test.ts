/** What a failing event leads to: retries at their times, decisions of the handler, and what happens when they are used up. */

import { giveUp, type RetryPolicy, retryLater } from 'pabal'
import { describe, expect, test } from 'vitest'
import {
  type DurableOrderOptions,
  enter,
  ledgerOf,
  logOf,
  openOrdering,
  OrderCancelled,
  OrderPlaced,
  ordering,
  parkedIn,
  rowsOf,
  sequencesOf,
} from '../../test/support/shop.ts'
import { VirtualClock } from '../../test/support/virtual-clock.ts'

type Options = DurableOrderOptions

/** One run of the handler; `run` counts those of its key. */
interface Run {
  readonly run: number
  readonly key: string
  readonly sequence: number
}

/** A handler that runs `script` and tells when it ran, in seconds after the first run. */
const open = async (script: (run: Run) => unknown, options: Options = {}, random?: () => number) => {
  const clock = new VirtualClock(random === undefined ? {} : { random })
  const startMs = clock.now()
  const runs: { atMs: number; key: string; attempt: number; sequence: number }[] = []
  const handler = ordering.on(
    OrderPlaced,
    'list',
    (event, { tx, attempt }) => {
      enter(tx, 'list', event)
      runs.push({ atMs: clock.now() - startMs, key: event.key, attempt, sequence: event.sequence })
      return script({
        run: runs.filter(({ key }) => key === event.key).length,
        key: event.key,
        sequence: event.sequence,
      })
    },
    options,
  )
  const opened = await openOrdering([handler], { environment: clock })
  await opened.app.start()
  return { ...opened, clock, runs }
}

/** A batch that fails runs each event once more by itself: the runs of one attempt are one. */
const attemptsOf = (runs: readonly { atMs: number; attempt: number }[]) => [
  ...new Map(runs.map((run) => [run.attempt, run])).values(),
]

const failing = () => {
  throw new Error('no such thing')
}

describe('a failing event is tried again', () => {
  test('by default seven times, with a delay that doubles from 1 s, and then it is dead', async () => {
    const { path, clock, runs, place, app } = await open(failing)
    await place('a')
    await clock.drive(app.settle())
    const times = attemptsOf(runs).map(({ atMs }) => atMs)
    // Half of the jitter: three quarters of each delay.
    expect(times.slice(1).map((ms, i) => ms - times[i]!)).toEqual([750, 1_500, 3_000, 6_000, 12_000, 24_000, 48_000])
    expect(parkedIn(path)).toMatchObject([{ key: 'a', status: 'dead', attempts: 8, sequence: 1 }])
    expect(ledgerOf(path)).toEqual([])
  })

  test.each<[number, number]>([
    [0, 500],
    [0.999_999, 1_000],
  ])('with jitter: at %d the first delay is %d ms', async (random, delayMs) => {
    const { path, clock, place } = await open(failing, {}, () => random)
    const startMs = clock.now()
    await place('a')
    await clock.advance(0)
    expect(parkedIn(path)).toMatchObject([{ status: 'retrying', attempts: 1, next_ms: startMs + delayMs }])
  })

  test('never longer apart than the longest delay', async () => {
    const { clock, runs, place, app } = await open(failing, { retry: { attempts: 5, first: '1s', max: '2s' } })
    await place('a')
    await clock.drive(app.settle())
    const times = attemptsOf(runs).map(({ atMs }) => atMs)
    expect(times.slice(1).map((ms, i) => ms - times[i]!)).toEqual([750, 1_500, 1_500, 1_500])
  })

  test('not at all when retry is none', async () => {
    const { path, clock, runs, place, app } = await open(failing, { retry: 'none' })
    await place('a')
    await clock.drive(app.settle())
    expect(attemptsOf(runs)).toHaveLength(1)
    expect(parkedIn(path)).toMatchObject([{ status: 'dead', attempts: 1 }])
  })

  test('and its key goes on where it stood once it succeeds, while others never waited', async () => {
    const { path, clock, runs, place, app } = await open(({ key }) => (key === 'bad' && broken ? failing() : 0))
    let broken = true
    await place('bad', 'a', 'bad')
    await clock.advance(600)
    await place('bad', 'a')
    await clock.advance(10)
    expect(sequencesOf(ledgerOf(path))).toEqual({ a: [1, 2] })
    expect(parkedIn(path)).toMatchObject([{ key: 'bad', sequence: 1, waiting: 2, status: 'retrying' }])
    broken = false
    await clock.drive(app.settle())
    expect(sequencesOf(ledgerOf(path))).toEqual({ a: [1, 2], bad: [1, 2, 3] })
    expect(parkedIn(path)).toEqual([])
    expect(runs.filter(({ key, sequence }) => key === 'bad' && sequence > 1).map(({ attempt }) => attempt)).toEqual([
      1, 1,
    ])
  })

  test('counts attempts per event: the next failing event of the key begins again', async () => {
    const { path, clock, place, app, runs } = await open(
      ({ run, sequence }) => (run <= 4 || sequence === 2 ? failing() : 0),
      {
        retry: { attempts: 4, first: '1s' },
      },
    )
    await place('a', 'a')
    await clock.drive(app.settle())
    expect(ledgerOf(path).map(({ sequence }) => sequence)).toEqual([1])
    expect(parkedIn(path)).toMatchObject([{ key: 'a', sequence: 2, status: 'dead', attempts: 4, waiting: 0 }])
    expect(runs.some(({ sequence, attempt }) => sequence === 2 && attempt === 4)).toBe(true)
  })

  test('tells how many wait behind the event that failed, also after some have passed', async () => {
    const fails = new Set([1, 3])
    const { path, clock, place } = await open(({ sequence }) => (fails.has(sequence) ? failing() : 0), {
      retry: { attempts: 9, first: '1s' },
    })
    await place('a', 'a', 'a', 'a', 'a')
    await clock.advance(0)
    expect(parkedIn(path)).toMatchObject([{ sequence: 1, waiting: 4 }])
    fails.delete(1)
    await clock.advance(1_000)
    expect(parkedIn(path)).toMatchObject([{ sequence: 3, waiting: 2 }])
    await place('a')
    await clock.advance(10)
    expect(parkedIn(path)).toMatchObject([{ sequence: 3, waiting: 3 }])
    fails.delete(3)
    await clock.advance(10_000)
    expect(parkedIn(path)).toEqual([])
    expect(ledgerOf(path).map(({ sequence }) => sequence)).toEqual([1, 2, 3, 4, 5, 6])
  })
})

describe('a handler decides', () => {
  const decided = async (retry: RetryPolicy, script: (run: Run) => unknown) => {
    const opened = await open(script, { retry })
    await opened.place('a')
    await opened.clock.drive(opened.app.settle())
    const times = attemptsOf(opened.runs).map(({ atMs }) => atMs)
    return { ...opened, delays: times.slice(1).map((ms, i) => ms - times[i]!) }
  }

  test('when to try again: retryLater is kept to the millisecond and counts as an attempt', async () => {
    const { path, delays } = await decided({ attempts: 3 }, () => {
      throw retryLater('90s', new Error('429'))
    })
    expect(delays).toEqual([90_000, 90_000])
    expect(parkedIn(path)).toMatchObject([{ status: 'dead', attempts: 3, error: expect.stringContaining('429') }])
  })

  test('to give up: no retry, and the reason is kept', async () => {
    const { path, delays } = await decided({ attempts: 8 }, () => {
      throw giveUp('card expired', new Error('410 Gone'))
    })
    expect(delays).toEqual([])
    expect(parkedIn(path)).toMatchObject([
      { status: 'dead', attempts: 1, error: expect.stringContaining('card expired: 410 Gone') },
    ])
  })

  test('per error by its policy; undefined leaves it to the rest', async () => {
    const seen: number[] = []
    const { path, delays } = await decided(
      {
        attempts: 8,
        first: '1s',
        decide: (error, attempt) => {
          seen.push(attempt)
          if ((error as Error).message === 'busy') return retryLater('7s')
          if ((error as Error).message === 'gone') return giveUp('gone')
          return undefined
        },
      },
      ({ run }) => {
        throw new Error(run <= 2 ? 'busy' : run === 3 ? 'odd' : 'gone')
      },
    )
    // The batch, then the event by itself: two runs, one attempt.
    expect(delays).toEqual([7_000, 1_500])
    expect(seen).toEqual([1, 2, 3])
    expect(parkedIn(path)).toMatchObject([{ status: 'dead', attempts: 3 }])
  })

  test('a policy that throws does not stop the consumer', async () => {
    const { path, place, clock, app } = await open(({ key }) => (key === 'bad' ? failing() : 0), {
      retry: {
        decide: () => {
          throw new Error('decide is broken')
        },
      },
    })
    await place('bad', 'a')
    await clock.drive(app.settle({ withinMs: 600_000 }))
    expect(sequencesOf(ledgerOf(path))).toEqual({ a: [1] })
    expect(parkedIn(path).map(({ key }) => key)).toEqual(['bad'])
  })
})

describe('when all attempts are used up', () => {
  const bad = ({ key }: Run) => (key === 'bad' ? failing() : 0)

  test('park: the key waits for a person with all its later events', async () => {
    const { path, place, clock, app } = await open(bad, { retry: 'none', onExhausted: 'park' })
    await place('bad', 'a', 'bad')
    await clock.drive(app.settle())
    await place('bad', 'a')
    await clock.drive(app.settle())
    expect(sequencesOf(ledgerOf(path))).toEqual({ a: [1, 2] })
    expect(parkedIn(path)).toMatchObject([{ key: 'bad', status: 'dead', sequence: 1, waiting: 2 }])
  })

  test('skip: left out, recorded, counted, and the key goes on', async () => {
    const { path, place, clock, app } = await open(({ key }) => (key === 'bad' && !passes ? failing() : 0), {
      retry: { attempts: 2 },
      onExhausted: 'skip',
    })
    let passes = false
    await place('bad', 'a')
    await clock.drive(app.settle())
    passes = true
    await place('bad')
    await clock.drive(app.settle())
    expect(sequencesOf(ledgerOf(path))).toEqual({ a: [1], bad: [2] })
    expect(parkedIn(path)).toEqual([])
    expect(rowsOf(path, 'SELECT key, sequence, reason, by FROM pabal_ordering_skipped')).toEqual([
      { key: 'bad', sequence: 1, reason: 'no such thing', by: 'onExhausted: skip' },
    ])
    expect(rowsOf(path, 'SELECT skipped FROM pabal_ordering_consumer')).toEqual([{ skipped: 1 }])
  })

  const exhausted = (onExhausted: NonNullable<Options>['onExhausted'], attempts: number) =>
    open(({ key, sequence }) => (key === 'bad' && sequence === 1 ? failing() : 0), {
      retry: { attempts },
      onExhausted,
    } as Options)

  test.each([1, 3])(
    'a function: its failure event commits with the cursor, and the key goes on (%d attempts)',
    async (attempts) => {
      const { path, place, clock, app } = await exhausted((error, { data }, { raise, tx }) => {
        raise(OrderCancelled, data)
        tx.run('INSERT INTO state VALUES (?)', (error as Error).message)
      }, attempts)
      await place('bad', 'a', 'bad')
      await clock.drive(app.settle())
      expect(rowsOf(path, 'SELECT id FROM state')).toEqual([{ id: 'no such thing' }])
      const [placed] = logOf(path)
      expect(logOf(path).filter(({ type }) => type === OrderCancelled.type)).toMatchObject([
        { key: 'bad', causation_id: placed?.id },
      ])
      expect(sequencesOf(ledgerOf(path))).toEqual({ a: [1], bad: [2] })
      expect(parkedIn(path)).toEqual([])
    },
  )

  test('a function that throws parks the key with its own error, and nothing of it remains', async () => {
    const { path, place, clock, app } = await exhausted((_error, { data }, { raise }) => {
      raise(OrderCancelled, data)
      throw new Error('cannot cancel either')
    }, 1)
    await place('bad', 'a')
    await clock.drive(app.settle())
    expect(logOf(path).filter(({ type }) => type === OrderCancelled.type)).toEqual([])
    expect(sequencesOf(ledgerOf(path))).toEqual({ a: [1] })
    expect(parkedIn(path)).toMatchObject([
      { key: 'bad', status: 'dead', error: expect.stringContaining('cannot cancel either') },
    ])
  })
})

test('what is recorded of an error cannot steer a terminal or forge a line, and groups by its place', async () => {
  const { path, place, clock, app } = await open(
    () => {
      throw new TypeError('line\rone\u001b[2J\u0000two')
    },
    { retry: 'none' },
  )
  await place('a', 'b')
  await clock.drive(app.settle())
  const errors = parkedIn(path).map(
    ({ error }) => JSON.parse(error) as { name: string; message: string; fingerprint: string },
  )
  expect(errors).toHaveLength(2)
  expect(errors[0]).toMatchObject({ name: 'TypeError', message: 'line·one·[2J·two' })
  expect(errors[0]?.fingerprint).toMatch(/^TypeError .*retry\.test\.ts:\d+$/)
  expect(errors[1]?.fingerprint).toBe(errors[0]?.fingerprint)
})

test('a thrown nothing is a failure, too', async () => {
  const { path, place, clock, app } = await open(
    () => {
      // oxlint-disable-next-line typescript/only-throw-error -- some libraries do
      throw undefined
    },
    { retry: 'none' },
  )
  await place('a')
  await clock.drive(app.settle())
  expect(parkedIn(path)).toMatchObject([{ key: 'a', status: 'dead' }])
})
