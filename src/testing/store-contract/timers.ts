/** Timers, readers of the log elsewhere, and the answers of units with an idempotency key. */

import assert from 'node:assert/strict'
import type { Timer } from '../../store/store.ts'
import { type StoreRule, type Process, rule, Undo, undone } from './fixture.ts'

const timer = (fields: Partial<Timer> = {}): Timer => ({
  id: 'timer-1',
  due_ms: 100,
  owner: 'order-saga',
  key: 'order-1',
  payload: '{"step":"pay"}',
  ...fields,
})

const set = ({ write, timers }: Process, ...given: Timer[]) =>
  write(async (session) => {
    for (const one of given) await timers.set(session, one)
  })
const due = async ({ read, timers }: Process, nowMs: number, limit = 10, owner = 'order-saga') =>
  (await read((session) => timers.due(session, owner, nowMs, limit))).map((row) => ({ ...row }))

export const timerRules: readonly StoreRule[] = [
  rule('a timer is due from its time on, and given as it was set', async (process) => {
    const given = timer({ id: '시간-⏰', key: '주문-1', payload: '{ "n" : 1.10 }' })
    await set(process, given)
    assert.deepEqual(await due(process, 99), [])
    assert.deepEqual(await due(process, 100), [given])
    assert.deepEqual(await due(process, 100), [given])
  }),

  rule('due timers are given in the order of their time, of this owner', async (process) => {
    await set(
      process,
      timer({ id: 'c', due_ms: 300 }),
      timer({ id: 'a', due_ms: 100 }),
      timer({ id: 'b', due_ms: 200 }),
      timer({ id: 'd', due_ms: 50, owner: 'other' }),
    )
    const dueIds = async (nowMs: number, limit?: number) => (await due(process, nowMs, limit)).map(({ id }) => id)
    assert.deepEqual(await dueIds(250), ['a', 'b'])
    assert.deepEqual(await dueIds(999), ['a', 'b', 'c'])
    assert.deepEqual(await dueIds(999, 2), ['a', 'b'])
  }),

  rule('a timer that is set again is moved', async (process) => {
    await set(process, timer({ due_ms: 100 }))
    const moved = timer({ due_ms: 500, owner: 'order-saga', key: 'order-2', payload: '{}' })
    await set(process, moved)
    assert.deepEqual(await due(process, 499), [])
    assert.deepEqual(await due(process, 500), [moved])
  }),

  rule('a cancelled timer is gone, and it is told whether there was one', async (process) => {
    await set(process, timer({ id: 'a' }), timer({ id: 'b' }))
    const cancel = (id: string) => process.write((session) => process.timers.cancel(session, id))
    assert.deepEqual([await cancel('a'), await cancel('a'), await cancel('c')], [true, false, false])
    assert.deepEqual(
      (await due(process, 999)).map(({ id }) => id),
      ['b'],
    )
  }),

  rule('the next due time of an owner is told', async (process) => {
    const next = () => process.read((session) => process.timers.nextDueMs(session, 'order-saga'))
    assert.equal(await next(), undefined)
    await set(process, timer({ id: 'x', due_ms: 1, owner: 'other' }))
    assert.equal(await next(), undefined)
    await set(process, timer({ id: 'a', due_ms: 300 }), timer({ id: 'b', due_ms: 200 }))
    assert.equal(await next(), 200)
  }),

  rule('firing is undone with its transaction: the timer is still there', async (process) => {
    await set(process, timer())
    await undone(
      process.write(async (session) => {
        await process.timers.cancel(session, 'timer-1')
        throw new Undo()
      }),
    )
    assert.deepEqual(await due(process, 100), [timer()])
  }),
]

export const readerRules: readonly StoreRule[] = [
  rule('readers in other databases are known by their last report', async ({ write, read, readers }) => {
    const listed = async () =>
      (await read((session) => readers.list(session))).map(({ name, position }) => ({ name, position }))
    assert.deepEqual(await listed(), [])
    for (const [name, position] of [
      ['shipping/open-shipment', 3],
      ['billing/charge', 9],
      ['shipping/open-shipment', 7],
    ] as const)
      await write((session) => readers.report(session, name, position))
    assert.deepEqual(await listed(), [
      { name: 'billing/charge', position: 9 },
      { name: 'shipping/open-shipment', position: 7 },
    ])
    assert.ok((await read((session) => readers.list(session))).every(({ seen_ms }) => seen_ms > 0))
    await write((session) => readers.forget(session, 'billing/charge'))
    assert.deepEqual(await listed(), [{ name: 'shipping/open-shipment', position: 7 }])
  }),
]

export const unitRules: readonly StoreRule[] = [
  rule(
    'the answer of a unit is found by its idempotency key, in any process',
    async (process, another) => {
      const { write, units } = process
      const get = (of: Process, key: string) =>
        of.read(async (session) => {
          const found = await of.units.get(session, key)
          return found === undefined ? undefined : { ...found }
        })
      assert.equal(await get(process, 'req-1'), undefined)
      await write((session) => units.put(session, 'req-1', 'ordering.place-order', '{ "ok" : true, "주문":1 }'))
      const answer = { what: 'ordering.place-order', result: '{ "ok" : true, "주문":1 }' }
      assert.deepEqual(await get(process, 'req-1'), answer)
      assert.equal(await get(process, 'req-2'), undefined)
      assert.deepEqual(await get(await another(), 'req-1'), answer)
    },
    'P5',
  ),

  rule(
    'an idempotency key is undone with its transaction, and may come again',
    async ({ write, read, units }) => {
      await undone(
        write(async (session) => {
          await units.put(session, 'req-1', 'ordering.place-order', '1')
          throw new Undo()
        }),
      )
      assert.equal(await read((session) => units.get(session, 'req-1')), undefined)
      await write((session) => units.put(session, 'req-1', 'ordering.place-order', '2'))
      assert.equal((await read((session) => units.get(session, 'req-1')))?.result, '2')
    },
    'P1',
  ),

  rule('idempotency keys older than a time are forgotten, and counted', async ({ write, read, units }) => {
    for (const key of ['req-1', 'req-2']) await write((session) => units.put(session, key, 'ordering.place-order', '1'))
    const laterMs = Date.now() + 3_600_000
    assert.equal(await read((session) => units.countBefore(session, 0)), 0)
    assert.equal(await read((session) => units.countBefore(session, laterMs)), 2)
    assert.equal(await write((session) => units.dropBefore(session, 0)), 0)
    assert.equal((await read((session) => units.get(session, 'req-1')))?.result, '1')
    assert.equal(await write((session) => units.dropBefore(session, laterMs)), 2)
    assert.equal(await read((session) => units.get(session, 'req-1')), undefined)
  }),
]
