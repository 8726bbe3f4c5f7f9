/** Parked keys, dead letters among them, and what was skipped. */

import assert from 'node:assert/strict'
import type { ParkedFilter, ParkedKey, SkippedEvent } from '../../store/store.ts'
import { type StoreRule, paid, placed, type Process, rule } from './fixture.ts'

const consumer = 'order-list'
const source = 'ordering'

export const parked = (fields: Partial<ParkedKey> = {}): ParkedKey => ({
  consumer,
  source,
  key: 'a',
  lane: 0,
  status: 'retrying',
  sequence: 2,
  position: 5,
  event_id: 'event-5',
  type: placed,
  attempts: 1,
  next_ms: 1_000,
  error: { name: 'TypeError', message: 'no such field', fingerprint: 'TypeError at handler' },
  first_failed_ms: 100,
  last_failed_ms: 200,
  waiting: 0,
  edited: null,
  ...fields,
})

export const skipped = (fields: Partial<SkippedEvent> = {}): SkippedEvent => ({
  consumer,
  source,
  event_id: 'event-5',
  key: 'a',
  sequence: 2,
  type: placed,
  reason: 'a test order',
  by: 'kim',
  at_ms: 1_000,
  ...fields,
})

const put = ({ write, parking }: Process, ...keys: ParkedKey[]) =>
  write(async (session) => {
    for (const key of keys) await parking.put(session, key)
  })
const get = ({ read, parking }: Process, key = 'a') => read((session) => parking.get(session, consumer, source, key))
const keysOf = (rows: readonly ParkedKey[]): string[] => rows.map(({ key }) => key)

export const parkingRules: readonly StoreRule[] = [
  rule('a parked key is given back as it was put', async (process) => {
    const retrying = parked({ key: '주문-🐎' })
    const dead = parked({
      key: 'b',
      status: 'dead',
      lane: 3,
      attempts: 8,
      waiting: 12,
      error: {
        name: 'PabalError',
        message: '한국어 "quoted"\n',
        code: 'PABAL_HANDLER_TIMEOUT',
        stack: 'at handler',
        fingerprint: 'f',
      },
      edited: { id: 'edited-1', data: '{ "a": 9007199254740993 }', by: 'kim', reason: '오타' },
    })
    await put(process, retrying, dead)
    assert.deepEqual({ ...(await get(process, '주문-🐎')) }, retrying)
    assert.deepEqual({ ...(await get(process, 'b')) }, dead)
    assert.equal(await get(process, 'c'), undefined)
  }),

  rule('a key that is parked again is parked with the later failure', async (process) => {
    await put(process, parked({ edited: { id: 'e', data: '{}', by: 'kim', reason: 'x' } }))
    const later = parked({
      status: 'dead',
      lane: 1,
      attempts: 8,
      sequence: 3,
      last_failed_ms: 900,
      waiting: 4,
      type: paid,
    })
    await put(process, later)
    assert.deepEqual({ ...(await get(process)) }, later)
    const counted = await process.read((session) => process.parking.count(session, {}))
    assert.deepEqual({ ...counted }, { keys: 1, waiting: 4, mostWaiting: 4 })
  }),

  rule('of some keys the parked ones are told, of this consumer and source', async (process) => {
    const { read, parking } = process
    const among = (...keys: string[]) =>
      read(async (session) => [...(await parking.parkedOf(session, consumer, source, keys))].toSorted())
    assert.deepEqual(await among('a', 'b'), [])
    await put(
      process,
      parked({ key: 'a' }),
      parked({ key: 'b', status: 'dead' }),
      parked({ key: '주문' }),
      parked({ key: 'c', consumer: 'other' }),
      parked({ key: 'd', source: 'billing' }),
    )
    assert.deepEqual(await among('주문', 'b', 'c', 'd', 'e'), ['b', '주문'])
    assert.deepEqual(await among(), [])
    const many = Array.from({ length: 2_000 }, (_, n) => `key-${n}`)
    assert.deepEqual(await among(...many, 'a'), ['a'])
  }),

  rule('a key that is taken out of parking is not parked any more', async (process) => {
    await put(process, parked({ key: 'a' }), parked({ key: 'b' }))
    await process.write((session) => process.parking.remove(session, consumer, source, 'a'))
    assert.equal(await get(process, 'a'), undefined)
    assert.equal((await get(process, 'b'))?.key, 'b')
    await process.write((session) => process.parking.remove(session, consumer, source, 'a'))
  }),

  rule('keys that are due are given the longest due first: of this lane, retrying ones only', async (process) => {
    const { read, parking } = process
    await put(
      process,
      parked({ key: 'later', next_ms: 300 }),
      parked({ key: 'first', next_ms: 100 }),
      parked({ key: 'second', next_ms: 200 }),
      parked({ key: 'dead', next_ms: 50, status: 'dead' }),
      parked({ key: 'other-lane', next_ms: 50, lane: 1 }),
      parked({ key: 'other-source', next_ms: 50, source: 'billing' }),
      parked({ key: 'other-consumer', next_ms: 50, consumer: 'other' }),
    )
    const due = async (nowMs: number, limit = 10) =>
      keysOf([...(await read((session) => parking.due(session, { consumer, source, lane: 0 }, nowMs, limit)))])
    assert.deepEqual(await due(99), [])
    assert.deepEqual(await due(200), ['first', 'second'])
    assert.deepEqual(await due(1_000), ['first', 'second', 'later'])
    assert.deepEqual(await due(1_000, 1), ['first'])
  }),

  rule('the next retry of a consumer is told, of retrying keys on any lane', async (process) => {
    const next = () => process.read((session) => process.parking.nextDueMs(session, consumer, source))
    assert.equal(await next(), undefined)
    await put(
      process,
      parked({ key: 'dead', next_ms: 50, status: 'dead' }),
      parked({ key: 'x', next_ms: 9, source: 'billing' }),
    )
    assert.equal(await next(), undefined)
    await put(process, parked({ key: 'a', next_ms: 300 }), parked({ key: 'b', next_ms: 200, lane: 7 }))
    assert.equal(await next(), 200)
  }),

  rule('parked keys are listed and counted by any filter', async (process) => {
    const { read, parking } = process
    const fingerprint = (text: string) => ({ name: 'Error', message: 'x', fingerprint: text })
    await put(
      process,
      parked({ key: 'a', waiting: 3, error: fingerprint('f1'), last_failed_ms: 1 }),
      parked({ key: 'b', waiting: 4, status: 'dead', error: fingerprint('f2'), last_failed_ms: 2 }),
      parked({ key: 'c', waiting: 5, status: 'dead', type: paid, error: fingerprint('f1'), last_failed_ms: 3 }),
      parked({ key: 'a', consumer: 'other', waiting: 6, status: 'dead', error: fingerprint('f1'), last_failed_ms: 4 }),
    )
    const cases: [ParkedFilter, string[], number, number][] = [
      [{}, ['a', 'c', 'b', 'a'], 18, 6],
      [{ consumer }, ['c', 'b', 'a'], 12, 5],
      [{ consumer, status: 'dead' }, ['c', 'b'], 9, 5],
      [{ source }, ['a', 'c', 'b', 'a'], 18, 6],
      [{ source: 'billing' }, [], 0, 0],
      [{ status: 'retrying' }, ['a'], 3, 3],
      [{ key: 'a' }, ['a', 'a'], 9, 6],
      [{ type: paid }, ['c'], 5, 5],
      [{ fingerprint: 'f1', status: 'dead' }, ['a', 'c'], 11, 6],
      [{ consumer, status: undefined, key: 'b', type: placed, fingerprint: 'f2' }, ['b'], 4, 4],
      [{ consumer: 'nobody' }, [], 0, 0],
    ]
    for (const [filter, keys, waiting, mostWaiting] of cases) {
      assert.deepEqual(keysOf(await read((session) => parking.list(session, filter, 10))), keys)
      const counted = { ...(await read((session) => parking.count(session, filter))) }
      assert.deepEqual(counted, { keys: keys.length, waiting, mostWaiting })
    }
    assert.deepEqual(keysOf(await read((session) => parking.list(session, {}, 2))), ['a', 'c'])
  }),

  rule('parked keys are grouped by why they wait, those that hold up most first', async (process) => {
    const { read, parking } = process
    const fingerprint = (text: string) => ({ name: 'Error', message: 'x', fingerprint: text })
    await put(
      process,
      parked({ key: 'a', waiting: 1, error: fingerprint('f1'), first_failed_ms: 5, last_failed_ms: 6 }),
      parked({ key: 'b', waiting: 9, error: fingerprint('f1'), first_failed_ms: 3, last_failed_ms: 9 }),
      parked({ key: 'c', waiting: 2, error: fingerprint('f2'), first_failed_ms: 1, last_failed_ms: 2 }),
      parked({ key: 'd', status: 'dead', error: fingerprint('f1'), first_failed_ms: 1, last_failed_ms: 2 }),
      parked({
        key: 'a',
        source: 'billing',
        waiting: 30,
        error: fingerprint('f1'),
        first_failed_ms: 1,
        last_failed_ms: 1,
      }),
    )
    const groups = async (filter: ParkedFilter) =>
      (await read((session) => parking.groups(session, filter))).map((group) => ({ ...group }))
    const group = { consumer, source, status: 'retrying', fingerprint: 'f1' }
    const first = { ...group, source: 'billing', keys: 1, waiting: 30, first_failed_ms: 1, last_failed_ms: 1 }
    const second = { ...group, keys: 2, waiting: 10, first_failed_ms: 3, last_failed_ms: 9 }
    const third = { ...group, fingerprint: 'f2', keys: 1, waiting: 2, first_failed_ms: 1, last_failed_ms: 2 }
    const fourth = { ...group, status: 'dead', keys: 1, waiting: 0, first_failed_ms: 1, last_failed_ms: 2 }
    assert.deepEqual(await groups({}), [first, second, third, fourth])
    assert.deepEqual(await groups({ source, status: 'retrying' }), [second, third])
    assert.deepEqual(await groups({ consumer: 'nobody' }), [])
  }),

  rule('dead keys that match are due at once, with a full set of attempts', async (process) => {
    const { write, read, parking } = process
    await put(
      process,
      parked({ key: 'a', status: 'dead', attempts: 8, next_ms: 9_000, waiting: 3 }),
      parked({ key: 'b', status: 'dead', attempts: 8, type: paid }),
      parked({ key: 'c', attempts: 3, next_ms: 9_000 }),
      parked({ key: 'a', consumer: 'other', status: 'dead' }),
    )
    const retry = (filter: ParkedFilter) => write((session) => parking.retry(session, filter, 500))
    assert.equal(await retry({ consumer, type: placed }), 1)
    assert.deepEqual({ ...(await get(process)) }, parked({ attempts: 0, next_ms: 500, waiting: 3 }))
    assert.deepEqual({ ...(await get(process, 'c')) }, parked({ key: 'c', attempts: 3, next_ms: 9_000 }))
    const due = await read((session) => parking.due(session, { consumer, source, lane: 0 }, 500, 9))
    assert.deepEqual(keysOf(due), ['a'])
    // A filter by status changes nothing about which keys are retried: the dead ones.
    assert.equal(await retry({ consumer, status: 'retrying' }), 1)
    assert.equal(await retry({}), 1)
    assert.equal(await retry({}), 0)
  }),

  rule('what parked keys still need is known, for retention', async (process) => {
    const needed = (of: string, by?: string) => process.read((session) => process.parking.oldestNeeded(session, of, by))
    assert.equal(await needed(source), undefined)
    await put(
      process,
      parked({ key: 'a', position: 30 }),
      parked({ key: 'b', position: 20, status: 'dead' }),
      parked({ key: 'c', position: 10, consumer: 'other' }),
      parked({ key: 'd', position: 5, source: 'billing' }),
    )
    assert.deepEqual(
      [await needed(source), await needed(source, consumer), await needed(source, 'nobody')],
      [10, 20, undefined],
    )
    assert.equal(await needed('billing'), 5)
  }),

  rule('events that queue up behind parked keys are counted', async (process) => {
    const { write, parking } = process
    await put(process, parked({ key: 'a', waiting: 1 }), parked({ key: 'b' }), parked({ key: 'c', waiting: 9 }))
    const waiting = new Map([
      ['a', 2],
      ['b', 3],
    ])
    assert.equal(await write((session) => parking.addWaiting(session, consumer, source, waiting)), true)
    assert.deepEqual(
      [(await get(process, 'a'))?.waiting, (await get(process, 'b'))?.waiting, (await get(process, 'c'))?.waiting],
      [3, 3, 9],
    )
    assert.equal(await write((session) => parking.addWaiting(session, consumer, source, new Map())), true)
  }),

  rule('counting behind a key that is not parked any more says so', async (process) => {
    await put(process, parked({ key: 'a' }))
    for (const keys of [['b'], ['a', 'b'], ['b', 'a']]) {
      const waiting = new Map(keys.map((key) => [key, 1]))
      assert.equal(
        await process.write((session) => process.parking.addWaiting(session, consumer, source, waiting)),
        false,
      )
    }
  }),

  rule(
    'a skipped event is recorded, and counted once at its consumer',
    async ({ write, read, cursors, parking }) => {
      for (const name of [consumer, 'other'])
        await write((session) => cursors.register(session, { name, effects: 'database', lanes: 1, types: [placed] }))
      const skip = (fields: Partial<SkippedEvent>) => write((session) => parking.skip(session, skipped(fields)))
      await skip({ event_id: 'event-1', at_ms: 10 })
      await skip({ event_id: 'event-2', at_ms: 30, reason: '시험 주문' })
      await skip({ event_id: 'event-1', at_ms: 40, reason: 'once more' })
      await skip({ event_id: 'event-1', at_ms: 20, consumer: 'other' })
      const counted = async (name: string) => (await read((session) => cursors.consumer(session, name)))?.skipped
      assert.deepEqual([await counted(consumer), await counted('other')], [2, 1])
      const listed = async (of: string | undefined, limit = 10) =>
        (await read((session) => parking.skipped(session, of, limit))).map((row) => ({ ...row }))
      assert.deepEqual(await listed(consumer), [
        skipped({ event_id: 'event-2', at_ms: 30, reason: '시험 주문' }),
        skipped({ event_id: 'event-1', at_ms: 10 }),
      ])
      assert.deepEqual(
        (await listed(undefined)).map(({ at_ms }) => at_ms),
        [30, 20, 10],
      )
      assert.equal((await listed(undefined, 1)).length, 1)
      const one = (eventId: string, of = source) => read((session) => parking.skippedOf(session, consumer, of, eventId))
      assert.deepEqual({ ...(await one('event-1')) }, skipped({ event_id: 'event-1', at_ms: 10 }))
      assert.equal(await one('event-3'), undefined)
      assert.equal(await one('event-1', 'billing'), undefined)
    },
    'P6',
  ),
]
