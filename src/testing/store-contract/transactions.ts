/** Transactions: all or nothing, one writer at a time, and a session that ends with them. */

import assert from 'node:assert/strict'
import type { Session } from '../../store/store.ts'
import {
  append,
  type StoreRule,
  ids,
  paid,
  type Process,
  processOn,
  raised,
  rule,
  signal,
  Undo,
  undone,
} from './fixture.ts'
import { parked } from './parking.ts'

const headOf = async ({ read, log }: Process): Promise<number> => (await read((session) => log.head(session))).position

/** Starts a transaction that has appended and waits; `finish` lets it commit, `fail` roll back. */
const holdOpen = async (process: Process) => {
  const [open, end] = [signal(), signal()]
  const transaction = process.write(async (session) => {
    await process.log.append(session, [raised({ key: 'held' })])
    open.resolve()
    await end.promise
  })
  // It is awaited at its end; until then a failure is nobody's.
  transaction.catch(() => {})
  await Promise.race([open.promise, transaction])
  return {
    finish: async () => {
      end.resolve()
      await transaction
    },
    fail: async () => {
      end.reject(new Undo())
      await undone(transaction)
    },
  }
}

export const transactionRules: readonly StoreRule[] = [
  rule('a transaction gives what its function returns, at once or later', async ({ write, read }) => {
    assert.equal(await write(() => 'at once'), 'at once')
    assert.equal(await write(async () => 'later'), 'later')
    assert.equal(await read(() => 'at once'), 'at once')
    assert.equal(await read(async () => 'later'), 'later')
  }),

  rule('a transaction lets the very error through that its function throws', async ({ write, read }) => {
    const error = new Undo('mine')
    const fail = () => {
      throw error
    }
    for (const work of [write(fail), write(() => Promise.reject(error)), read(fail), read(() => Promise.reject(error))])
      await assert.rejects(work, (caught) => caught === error)
  }),

  rule(
    'a committed event is in the log, for every process',
    async (process, another) => {
      const other = await another()
      const [event] = await append(process, raised())
      for (const own of [process, other]) {
        const { events } = await own.read((session) => own.log.readAfter(session, { after: 0, limit: 10 }))
        assert.deepEqual(ids(events), [event!.id])
      }
    },
    'P1',
  ),

  rule(
    'a transaction that throws leaves nothing behind, of whatever it did',
    async ({ write, read, log, cursors, inbox, parking, timers, units }) => {
      const id = { consumer: 'order-list', source: 'ordering', lane: 0 }
      const start = { position: 0, eventId: null, incarnation: 'one' }
      const stream = { consumer: 'order-list', source: 'ordering', stream: 'shop' }
      const timer = { id: 'timer', due_ms: 0, owner: 'saga', key: 'a', payload: '{}' }
      const work = async (session: Session) => {
        await log.append(session, [raised({ key: 'a' }), raised({ key: 'a', type: paid })])
        await log.declareTypes(session, [{ type: paid, version: 1 }])
        await cursors.register(session, { name: 'order-list', effects: 'database', lanes: 1, types: [paid] })
        await cursors.create(session, id, start)
        await inbox.advance(session, stream, new Map([['a', { sequence: 1, eventId: 'x', incarnation: 'one' }]]))
        await parking.put(session, parked({ key: 'a' }))
        await timers.set(session, timer)
        await units.put(session, 'req-1', 'ordering.place-order', '1')
      }
      const traces = (session: Session) =>
        Promise.all([
          log.head(session),
          log.types(session),
          cursors.consumers(session),
          cursors.cursors(session),
          inbox.heads(session, stream, ['a']),
          parking.list(session, {}, 10),
          timers.due(session, 'saga', 10, 10),
          units.get(session, 'req-1'),
        ])
      const before = await read(traces)
      await undone(
        write(async (session) => {
          await work(session)
          throw new Undo()
        }),
      )
      assert.deepEqual(await read(traces), before)
      await write(work)
      for (const [n, trace] of (await read(traces)).entries()) assert.notDeepEqual(trace, before[n])
    },
    'P1',
  ),

  rule('a transaction that awaits lets no other code of its process slip in', async (process) => {
    const order: string[] = []
    const held = await holdOpen(process)
    const next = process.write(() => void order.push('next'))
    const last = process.write(async () => void order.push('last'))
    // A writer that could slip in would do so at one of these turns.
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
    order.push('held')
    await held.finish()
    await Promise.all([next, last])
    assert.deepEqual(order, ['held', 'next', 'last'])
  }),

  rule('of two transactions that append to one key, the second waits for the first', async (process, another) => {
    const other = await another()
    const order: string[] = []
    const held = await holdOpen(process)
    const next = append(other, raised({ key: 'held' })).then(() => order.push('other'))
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
    order.push('held')
    await held.finish()
    await next
    assert.deepEqual(order, ['held', 'other'])
    assert.equal((await other.read((session) => other.log.readKey(session, 'held', { from: 1, limit: 9 }))).length, 2)
  }),

  rule('the next transaction runs after one that failed', async (process) => {
    const held = await holdOpen(process)
    const next = append(process, raised({ key: 'held' }))
    await held.fail()
    assert.equal((await next)[0]!.sequence, 1)
  }),

  rule(
    'a read sees nothing that is not committed',
    async (process) => {
      const held = await holdOpen(process)
      const reading = headOf(process)
      await held.fail()
      assert.equal(await reading, 0)
      assert.equal(await headOf(process), 0)
    },
    'P1',
  ),

  rule('a read waits for no writer, of its own process or another', async (process, another) => {
    const other = await another()
    const held = await holdOpen(process)
    assert.deepEqual([await headOf(process), await headOf(other)], [0, 0])
    await held.finish()
    assert.deepEqual([await headOf(process), await headOf(other)], [1, 1])
  }),

  rule('a read writes nothing', async (process) => {
    const { read, log, timers } = process
    for (const writing of [
      (session: Session) => log.append(session, [raised()]),
      (session: Session) => timers.set(session, { id: 't', due_ms: 0, owner: 'saga', key: 'a', payload: '{}' }),
    ])
      await assert.rejects(read(async (session) => writing(session)))
    assert.equal(await headOf(process), 0)
    assert.equal(await read((session) => timers.nextDueMs(session, 'saga')), undefined)
    await append(process, raised())
  }),

  rule('a session is of no use after its end, however it ended', async (process) => {
    const { write, read, log, cursors, inbox, parking, timers, units } = process
    const ended: Session[] = []
    await write((session) => void ended.push(session))
    await read((session) => void ended.push(session))
    await undone(
      write((session) => {
        ended.push(session)
        throw new Undo()
      }),
    )
    await undone(
      read((session) => {
        ended.push(session)
        throw new Undo()
      }),
    )
    const id = { consumer: 'order-list', source: 'ordering', lane: 0 }
    const uses: ((session: Session) => unknown)[] = [
      (session) => log.append(session, [raised()]),
      (session) => log.head(session),
      (session) => log.readAfter(session, { after: 0, limit: 1 }),
      (session) => cursors.claim(session, id, 1_000),
      (session) => inbox.heads(session, { ...id, stream: 'shop' }, ['a']),
      (session) => parking.get(session, 'order-list', 'ordering', 'a'),
      (session) => timers.cancel(session, 'a'),
      (session) => units.get(session, 'a'),
      (session) => session.savepoint(() => 1),
    ]
    for (const session of ended)
      for (const use of uses) await assert.rejects(async () => use(session), { code: 'PABAL_UNIT_CLOSED' })
    // Another transaction on the same connection does not bring it back.
    await write(async () => {
      for (const session of ended) await assert.rejects(async () => log.head(session), { code: 'PABAL_UNIT_CLOSED' })
    })
  }),

  rule('a context that is opened twice, or by two processes at once, is one', async ({ database }, another) => {
    const other = (await another()).database
    const [first, second, third] = await Promise.all([
      processOn(database, 'billing'),
      processOn(database, 'billing'),
      processOn(other, 'billing'),
    ])
    await append(first, raised())
    await append(second, raised())
    await append(third, raised())
    assert.equal(await headOf(first), 3)
  }),

  rule('a closed database says so, and may be closed again', async ({ database, write, read }) => {
    await database.close()
    for (const work of [write(() => 1), read(() => 1), database.context('billing').then(() => 1)])
      await assert.rejects(work, { code: 'PABAL_STORE_CLOSED' })
    await database.close()
  }),

  rule(
    'closing waits for the transaction that is open, and refuses those that wait for it',
    async (process, another) => {
      const other = await another()
      const held = await holdOpen(process)
      const waiting = process.write(() => 1)
      waiting.catch(() => {})
      const closing = process.database.close()
      await held.finish()
      await closing
      await Promise.allSettled([waiting])
      assert.equal(await headOf(other), 1)
    },
    'P1',
  ),
]
