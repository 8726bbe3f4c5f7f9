/** Handlers with external effects: at least once with a stable key, many keys at once and one key in order, outcomes recorded. */

import type { ExternalHandling } from 'pabal'
import { describe, expect, test } from 'vitest'
import { eventually, gate, type Gate, quiet } from '../../test/support/eventually.ts'
import {
  enter,
  impatient,
  ledgerOf,
  logOf,
  openOrdering,
  order,
  OrderPaid,
  OrderPlaced,
  ordering,
  parkedIn,
  sequencesOf,
} from '../../test/support/shop.ts'
import { VirtualClock } from '../../test/support/virtual-clock.ts'

interface Call {
  readonly key: string
  readonly sequence: number
  readonly handling: ExternalHandling
  readonly answer: Gate<string>
}

/** A service whose answers the test gives by hand. */
const openService = async (options: object = {}, environment = new VirtualClock()) => {
  const calls: Call[] = []
  const reasons: unknown[] = []
  const open = new Set<string>()
  let most = 0
  const handler = ordering.on(
    OrderPlaced,
    'call',
    async ({ key, sequence }, handling) => {
      const call = { key, sequence, handling, answer: gate<string>() }
      if (open.has(key)) throw new Error(`two calls of ${key} at once`)
      open.add(key)
      most = Math.max(most, open.size)
      calls.push(call)
      // A listener sees the true reason; Node evaluates a composite signal without one late.
      handling.signal.addEventListener('abort', () => reasons.push(handling.signal.reason))
      try {
        return await call.answer.opened
      } finally {
        open.delete(key)
      }
    },
    {
      effects: 'external',
      retry: { attempts: 3, first: '1s' },
      record: (result: string, event, { raise, tx }) => {
        enter(tx, result, event)
        raise(OrderPaid, event.data)
      },
      ...options,
    },
  )
  const opened = await openOrdering([handler], { environment })
  await opened.app.start()
  return { ...opened, clock: environment, calls, reasons, most: () => most }
}

describe('an external handler', () => {
  test('has no open transaction around it: others write while it runs', async () => {
    const { path, calls, clock, place, context } = await openService()
    await place('a')
    await clock.advance(0)
    expect(calls).toHaveLength(1)
    await context.transaction(({ raise }) => raise(OrderPaid, order('b')))
    calls[0]?.answer.open('ok')
    await clock.advance(10)
    expect(logOf(path).map(({ key }) => key)).toEqual(['a', 'b', 'a'])
  })

  test('runs many keys at once up to its limit, and one key in order', async () => {
    const { path, calls, clock, place, app, most } = await openService({ concurrency: 4 })
    await place('a', 'b', 'a', 'c', 'd', 'e', 'a', 'f')
    await clock.advance(0)
    expect(calls.map(({ key, sequence }) => `${key}${sequence}`)).toEqual(['a1', 'b1', 'c1', 'd1'])
    for (let answered = 0; answered < 8; answered++) {
      await quiet()
      calls[answered]?.answer.open('ok')
    }
    await clock.drive(app.settle())
    expect(most()).toBe(4)
    expect(sequencesOf(ledgerOf(path))).toEqual({ a: [1, 2, 3], b: [1], c: [1], d: [1], e: [1], f: [1] })
  })

  test('records outcomes in the order of the log, whatever answers first', async () => {
    const { path, calls, clock, place, app } = await openService()
    await place('a', 'b', 'c', 'd')
    await clock.advance(0)
    for (const key of ['d', 'b', 'c']) calls.find((call) => call.key === key)?.answer.open('ok')
    await clock.advance(0)
    expect(ledgerOf(path)).toEqual([])
    calls.find((call) => call.key === 'a')?.answer.open('ok')
    await clock.drive(app.settle())
    expect(ledgerOf(path).map(({ key }) => key)).toEqual(['a', 'b', 'c', 'd'])
  })

  test('what is recorded was caused by the event', async () => {
    const { path, calls, clock, place, app } = await openService()
    await place('a')
    await clock.advance(0)
    calls[0]?.answer.open('ok')
    await clock.drive(app.settle())
    const [placed, paid] = logOf(path)
    expect(paid).toMatchObject({ causation_id: placed?.id, correlation_id: placed?.id, hops: 1 })
  })

  test('gets the same idempotency key at every attempt, another one for every event and consumer', async () => {
    const { path, calls, clock, place, app } = await openService()
    await place('a', 'b')
    await clock.advance(0)
    calls[0]?.answer.fail(new Error('timeout'))
    calls[1]?.answer.open('ok')
    await clock.advanceUntil('the second attempt', () => calls.length === 3)
    calls[2]?.answer.open('ok')
    await clock.drive(app.settle())
    expect(calls.map(({ key, handling }) => `${key}/${handling.attempt}`)).toEqual(['a/1', 'b/1', 'a/2'])
    const [a, b] = logOf(path)
    expect(calls.map(({ handling }) => handling.idempotencyKey)).toEqual([
      `ordering/call:${a?.id}`,
      `ordering/call:${b?.id}`,
      `ordering/call:${a?.id}`,
    ])
  })

  test('whose record fails is run again with the same key, and only the last record remains', async () => {
    const results: string[] = []
    const { path, calls, clock, place, app } = await openService({
      record: (
        result: string,
        event: { id: string; key: string; sequence: number; data: never },
        { raise, tx }: { raise: (...given: unknown[]) => void; tx: never },
      ) => {
        results.push(result)
        enter(tx, result, event)
        raise(OrderPaid, event.data)
        if (result === 'odd') throw new Error('cannot record that')
      },
    })
    await place('a', 'b', 'a')
    await clock.advance(0)
    calls.find(({ key }) => key === 'b')?.answer.open('ok')
    calls.find(({ key }) => key === 'a')?.answer.open('odd')
    await clock.advanceUntil('another call of the second event, or of the first again', () => calls.length >= 3)
    for (const { answer } of calls.slice(2)) answer.open('ok')
    await clock.advanceUntil('all calls', async () => {
      for (const { answer } of calls.slice(2)) answer.open('ok')
      await quiet()
      return ledgerOf(path).length === 3 && parkedIn(path).length === 0
    })
    await clock.drive(app.settle())
    expect(sequencesOf(ledgerOf(path))).toEqual({ a: [1, 2], b: [1] })
    expect(ledgerOf(path).every(({ consumer }) => consumer === 'ok')).toBe(true)
    expect(logOf(path).filter(({ type }) => type === OrderPaid.type)).toHaveLength(3)
    const first = calls.filter(({ key, sequence }) => key === 'a' && sequence === 1)
    expect(new Set(first.map(({ handling }) => handling.idempotencyKey)).size).toBe(1)
  })

  test('that overruns its time is told by its signal and tried again', async () => {
    const { path, calls, reasons, clock, place, app } = await openService({ timeout: '5s' })
    await place('a')
    await clock.advance(4_999)
    expect(calls[0]?.handling.signal.aborted).toBe(false)
    await clock.advance(2)
    expect(calls[0]?.handling.signal.aborted).toBe(true)
    expect(reasons).toMatchObject([{ code: 'PABAL_HANDLER_TIMEOUT' }])
    expect(parkedIn(path)).toMatchObject([
      { status: 'retrying', error: expect.stringContaining('PABAL_HANDLER_TIMEOUT') },
    ])
    calls[0]?.answer.fail(new Error('aborted'))
    await clock.advanceUntil('the next attempt', () => calls.length === 2)
    calls[1]?.answer.open('ok')
    await clock.drive(app.settle())
    expect(ledgerOf(path)).toHaveLength(1)
  })

  test('a late answer of a run that was given up changes nothing', async () => {
    const { path, calls, clock, place, app } = await openService({ timeout: '5s', retry: 'none' })
    await place('a')
    await clock.advance(5_001)
    calls[0]?.answer.open('late')
    await clock.drive(app.settle())
    expect(ledgerOf(path)).toEqual([])
    expect(parkedIn(path)).toMatchObject([{ status: 'dead' }])
  })

  test('that fails inside of a batch costs its key only; what came after it in the key has not run', async () => {
    const { path, calls, clock, place } = await openService({ retry: 'none' })
    await place('bad', 'a', 'bad', 'a')
    await clock.advance(0)
    calls.find(({ key }) => key === 'bad')?.answer.fail(new Error('no'))
    for (let i = 0; i < 3; i++) {
      await clock.advance(1)
      for (const call of calls) if (call.key === 'a') call.answer.open('ok')
    }
    await clock.advance(10)
    expect(calls.map(({ key, sequence }) => `${key}${sequence}`).toSorted()).toEqual(['a1', 'a2', 'bad1'])
    expect(sequencesOf(ledgerOf(path))).toEqual({ a: [1, 2] })
    expect(parkedIn(path)).toMatchObject([{ key: 'bad', status: 'dead', sequence: 1, waiting: 1 }])
  })

  test('a hundred events of many keys with failures of every kind end recorded once each', async () => {
    let calls = 0
    const { path, app, place } = await openOrdering(
      [
        ordering.on(
          OrderPlaced,
          'call',
          async ({ key }) => {
            calls++
            for (let turns = (calls * 7) % 5; turns > 0; turns--) await quiet()
            if (calls % 3 === 0) throw new Error('now and then')
            return key
          },
          {
            effects: 'external',
            retry: { attempts: 50, first: 1, max: 3 },
            record: (result, event, { tx }) => {
              enter(tx, 'call', event)
              if (calls % 7 === 0) throw new Error(`cannot record ${result}`)
            },
          },
        ),
      ],
      { environment: impatient() },
    )
    await app.start()
    for (let i = 0; i < 10; i++) await place(...Array.from({ length: 10 }, (_, k) => `k${(i * k) % 6}`))
    await app.settle({ withinMs: 20_000 })
    for (const sequences of Object.values(sequencesOf(ledgerOf(path))))
      expect(sequences).toEqual(sequences.map((_, i) => i + 1))
    expect(ledgerOf(path)).toHaveLength(100)
  })
})

describe('stopping', () => {
  test('waits for what runs and begins nothing new; what was answered is recorded', async () => {
    const { path, calls, clock, place, app } = await openService({ concurrency: 1 })
    await place('a', 'b')
    await clock.advance(0)
    const stopped = app.stop({ graceMs: 5_000 })
    await clock.advance(1_000)
    expect(calls[0]?.handling.signal.aborted).toBe(false)
    calls[0]?.answer.open('ok')
    await clock.drive(stopped)
    expect(calls).toHaveLength(1)
    expect(sequencesOf(ledgerOf(path))).toEqual({ a: [1] })
  })

  test('tells handlers after its grace, and their events are run again by the next owner', async () => {
    const { path, calls, clock, place, app } = await openService()
    await place('a', 'b')
    await clock.advance(0)
    const stopped = app.stop({ graceMs: 5_000 })
    await clock.advance(4_999)
    expect(calls.map(({ handling }) => handling.signal.aborted)).toEqual([false, false])
    await clock.advance(2)
    expect(calls.map(({ handling }) => handling.signal.aborted)).toEqual([true, true])
    for (const { answer } of calls) answer.fail(new Error('aborted'))
    await clock.drive(stopped)
    expect(parkedIn(path)).toEqual([])
    const { app: next } = await openOrdering(
      [
        ordering.on(
          OrderPlaced,
          'call',
          ({ id }, { idempotencyKey, attempt }) => `${idempotencyKey === `ordering/call:${id}`} ${attempt}`,
          {
            effects: 'external',
            record: (result, event, { tx }) => enter(tx, result, event),
          },
        ),
      ],
      { path },
    )
    await next.settle({ withinMs: 10_000 })
    expect(ledgerOf(path).map(({ consumer, key }) => [consumer, key])).toEqual([
      ['true 1', 'a'],
      ['true 1', 'b'],
    ])
  })

  test('waits for a redriven run, too', async () => {
    const { path, calls, clock, place, app } = await openService()
    await place('a')
    await clock.advance(0)
    calls[0]?.answer.fail(new Error('no'))
    await clock.advanceUntil('the second attempt', () => calls.length === 2)
    let stopped = false
    const stopping = app.stop({ graceMs: 5_000 }).then(() => {
      stopped = true
    })
    await clock.advance(1_000)
    expect(stopped).toBe(false)
    calls[1]?.answer.open('ok')
    await clock.drive(stopping)
    expect(sequencesOf(ledgerOf(path))).toEqual({ a: [1] })
    expect(parkedIn(path)).toEqual([])
  })

  test('comes to its end at any moment of a busy consumer', async () => {
    for (let turns = 0; turns < 30; turns++) {
      const { path, app, place } = await openOrdering([
        ordering.on(OrderPlaced, 'list', (event, { tx }) => enter(tx, 'list', event)),
        ordering.on(OrderPlaced, 'call', () => 0, {
          effects: 'external',
          record: (_, event, { tx }) => enter(tx, 'call', event),
        }),
      ])
      await app.start()
      await place('a', 'b', 'a')
      for (let turn = 0; turn < turns * 3; turn++) await Promise.resolve()
      if (turns % 2 === 0) await quiet()
      const stopped = app.stop()
      let done = false
      void stopped.then(() => {
        done = true
      })
      await eventually('stop to come to its end', () => done, 3_000)
      for (const consumer of ['list', 'call'])
        for (const sequences of Object.values(sequencesOf(ledgerOf(path, consumer))))
          expect(sequences).toEqual(sequences.map((_, i) => i + 1))
    }
  })
})
