/** Consumers and their cursors: leases, and the epoch that fences a stale owner out. */

import assert from 'node:assert/strict'
import type { CursorId, CursorRow, Place } from '../../store/store.ts'
import { type StoreRule, eventually, paid, pick, placed, type Process, rule } from './fixture.ts'
import { parked, skipped } from './parking.ts'

const consumer = { name: 'order-list', effects: 'database', lanes: 2, types: [placed] } as const
export const id: CursorId = { consumer: 'order-list', source: 'ordering', lane: 0 }
const start: Place = { position: 0, eventId: null, incarnation: 'one' }
export const place = (position: number): Place => ({ position, eventId: `event-${position}`, incarnation: 'one' })
export const longMs = 60_000
const lease = { leaseMs: longMs, stalls: 0 }

export const create = ({ write, cursors }: Process, of: CursorId = id): Promise<void> =>
  write((session) => cursors.create(session, of, start))
export const claim = (
  { write, cursors }: Process,
  leaseMs: number = longMs,
  of: CursorId = id,
): Promise<CursorRow | undefined> => write((session) => cursors.claim(session, of, leaseMs))
/** Lanes that are wished for; undefined when the fence has held. */
export const moving = async (
  process: Process,
  epoch: number,
  to: Place,
  of: CursorId = id,
): Promise<readonly number[] | undefined> => {
  const rows = await process.read((session) => process.cursors.cursors(session, of.consumer))
  const from = rows.find(({ source, lane: number }) => source === of.source && number === of.lane)?.position ?? 0
  return process.write((session) => process.cursors.move(session, of, [{ lane: of.lane, epoch, from, to }], lease))
}
const move = async (...[process, epoch, to, of]: Parameters<typeof moving>): Promise<boolean> =>
  (await moving(process, epoch, to, of)) !== undefined
export const cursorOf = async ({ read, cursors }: Process, of: CursorId = id): Promise<CursorRow> => {
  const rows = await read((session) => cursors.cursors(session, of.consumer))
  const row = rows.find(({ source, lane }) => source === of.source && lane === of.lane)
  assert.ok(row !== undefined)
  return row
}
const claimed = async (process: Process, leaseMs = longMs): Promise<CursorRow> => {
  const row = await claim(process, leaseMs)
  assert.ok(row !== undefined, 'the lease was not given')
  return row
}

export const cursorRules: readonly StoreRule[] = [
  rule('a new consumer is active, and nothing of it was skipped', async ({ write, read, cursors }) => {
    const row = await write((session) => cursors.register(session, consumer))
    const { created_ms, ...rest } = { ...row }
    assert.deepEqual(rest, {
      ...consumer,
      state: 'active',
      reason: null,
      skipped: 0,
      breaker_until_ms: null,
      breaker_error: null,
    })
    assert.ok(created_ms > 0)
    assert.deepEqual({ ...(await read((session) => cursors.consumer(session, 'order-list'))) }, { ...row })
  }),

  rule('a consumer that is registered again keeps its lanes, its age and its state', async ({ write, cursors }) => {
    const first = await write((session) => cursors.register(session, consumer))
    await write((session) => cursors.update(session, 'order-list', { state: 'paused', reason: 'a look at it' }))
    const again = { name: 'order-list', effects: 'external', lanes: 16, types: [placed, paid] } as const
    assert.deepEqual(
      { ...(await write((session) => cursors.register(session, again))) },
      {
        ...first,
        effects: 'external',
        types: [placed, paid],
        state: 'paused',
        reason: 'a look at it',
      },
    )
  }),

  rule('a lease that is given back untried counts for nothing', async (process) => {
    await create(process)
    const { epoch, stalls } = await claimed(process)
    assert.equal(stalls, 1)
    await process.write((session) => process.cursors.release(session, id, epoch, 5))
    assert.equal((await cursorOf(process)).stalls, 5)
    await process.write((session) => process.cursors.claim(session, id, longMs))
    await process.write((session) => process.cursors.release(session, id, epoch + 1))
    assert.equal((await cursorOf(process)).stalls, 0)
  }),

  rule('consumers are listed by name, and an unknown one is undefined', async ({ write, read, cursors }) => {
    for (const name of ['b', 'a', '가']) await write((session) => cursors.register(session, { ...consumer, name }))
    const names = (await read((session) => cursors.consumers(session))).map(({ name }) => name)
    assert.deepEqual(names, ['a', 'b', '가'])
    assert.equal(await read((session) => cursors.consumer(session, 'c')), undefined)
  }),

  rule('an update changes what it names and nothing else', async ({ write, read, cursors }) => {
    await write((session) => cursors.register(session, consumer))
    await write((session) => cursors.register(session, { ...consumer, name: 'other' }))
    await write((session) => cursors.update(session, 'order-list', { breaker_until_ms: 99, breaker_error: 'no disk' }))
    await write((session) => cursors.update(session, 'order-list', {}))
    const names = ['state', 'breaker_until_ms', 'breaker_error'] as const
    const row = async (name: string) => pick(await read((session) => cursors.consumer(session, name)), ...names)
    assert.deepEqual(await row('order-list'), {
      state: 'active',
      breaker_until_ms: 99,
      breaker_error: 'no disk',
    })
    assert.deepEqual(await row('other'), { state: 'active', breaker_until_ms: null, breaker_error: null })
  }),

  rule('a new cursor stands where it starts, and belongs to nobody', async (process) => {
    const { write, cursors } = process
    await write((session) => cursors.create(session, id, { position: 7, eventId: 'event-7', incarnation: 'one' }))
    assert.deepEqual(
      { ...(await cursorOf(process)) },
      {
        ...id,
        position: 7,
        start_position: 7,
        event_id: 'event-7',
        incarnation: 'one',
        epoch: 0,
        owner: null,
        until_ms: 0,
        stalls: 0,
        late: 7,
        wisher: null,
        wish_until_ms: 0,
      },
    )
  }),

  rule('what was checked for lateness is kept per cursor, and changes nothing else', async (process) => {
    const { write, read, cursors } = process
    await create(process)
    await create(process, { ...id, source: 'billing' })
    const before = await read((session) => cursors.cursors(session))
    await write((session) => cursors.late(session, id, 9))
    const expected = before.map((row) => ({ ...row, late: row.source === id.source ? 9 : row.late }))
    assert.deepEqual(
      (await read((session) => cursors.cursors(session))).map((row) => ({ ...row })),
      expected,
    )
  }),

  rule('a cursor that is there already stays where it is', async (process) => {
    await create(process)
    const { epoch } = await claimed(process)
    await move(process, epoch, place(5))
    const before = { ...(await cursorOf(process)) }
    await create(process)
    assert.deepEqual({ ...(await cursorOf(process)) }, before)
  }),

  rule('cursors are listed of one consumer or of all', async (process) => {
    const { read, cursors } = process
    for (const each of [id, { ...id, lane: 1 }, { ...id, source: 'billing' }, { ...id, consumer: 'other' }])
      await create(process, each)
    const listed = async (of?: string) =>
      (await read((session) => cursors.cursors(session, of))).map((row) => `${row.consumer} ${row.source} ${row.lane}`)
    assert.deepEqual(await listed('order-list'), [
      'order-list billing 0',
      'order-list ordering 0',
      'order-list ordering 1',
    ])
    assert.deepEqual((await listed()).toSorted(), [
      'order-list billing 0',
      'order-list ordering 0',
      'order-list ordering 1',
      'other ordering 0',
    ])
    assert.deepEqual(await listed('nobody'), [])
  }),

  rule('a cursor that is not there cannot be claimed', async (process) => {
    assert.equal(await claim(process), undefined)
  }),

  rule('each claim gives a new epoch to its owner, to the same owner too', async (process) => {
    await create(process)
    const first = await claimed(process)
    assert.deepEqual(pick(first, 'epoch', 'owner', 'position'), {
      epoch: 1,
      owner: process.database.owner,
      position: 0,
    })
    assert.ok(first.until_ms > 0)
    assert.equal((await claimed(process)).epoch, 2)
    assert.equal(await move(process, 1, place(1)), false)
    assert.equal(await move(process, 2, place(1)), true)
  }),

  rule(
    'of two processes that claim one lane, one gets it',
    async (process, another) => {
      const other = await another()
      assert.notEqual(process.database.owner, other.database.owner)
      await create(process)
      const won = await Promise.all([claim(process), claim(other), claim(other), claim(process)])
      const owners = new Set(won.flatMap((row) => row?.owner ?? []))
      assert.equal(owners.size, 1)
      assert.ok([process, other].some(({ database }) => owners.has(database.owner)))
    },
    'P4',
  ),

  rule('a lease that has not run out is not taken over', async (process, another) => {
    const other = await another()
    await create(process)
    const { epoch } = await claimed(process)
    assert.equal(await claim(other), undefined)
    assert.deepEqual(pick(await cursorOf(other), 'owner', 'epoch'), { owner: process.database.owner, epoch })
  }),

  rule(
    'a lease that has run out is taken over, and its old owner moves nothing any more',
    async (process, another) => {
      const other = await another()
      await create(process)
      const old = await claimed(process, 20)
      const taken = await eventually(() => claim(other))
      assert.ok(taken.epoch > old.epoch)
      assert.equal(taken.owner, other.database.owner)
      assert.equal(await move(process, old.epoch, place(9)), false)
      assert.equal(await process.write((session) => process.cursors.hold(session, id, old.epoch, longMs)), undefined)
      await process.write((session) => process.cursors.release(session, id, old.epoch))
      const stored = await cursorOf(process)
      // Its end is by the clock of the database, or by that of the process that was told.
      assert.deepEqual({ ...stored, until_ms: taken.until_ms }, { ...taken })
      assert.ok(stored.until_ms > taken.until_ms - longMs)
      assert.equal(await move(other, taken.epoch, place(3)), true)
      assert.equal((await cursorOf(process)).position, 3)
    },
    'P4',
  ),

  rule('a move stores the place and renews the lease', async (process, another) => {
    const other = await another()
    await create(process)
    const { epoch } = await claimed(process, 20)
    assert.equal(await move(process, epoch, { position: 4, eventId: 'event-4', incarnation: 'two' }), true)
    assert.deepEqual(pick(await cursorOf(process), 'position', 'event_id', 'incarnation', 'epoch'), {
      position: 4,
      event_id: 'event-4',
      incarnation: 'two',
      epoch,
    })
    // The first lease would have run out meanwhile; the moved one stands for a minute.
    await eventually(async () => (Date.now() > (await cursorOf(process)).until_ms - longMs + 40 ? true : undefined))
    assert.equal(await claim(other), undefined)
  }),

  rule('a move touches no other lane, source or consumer', async (process) => {
    const others = [
      { ...id, lane: 1 },
      { ...id, source: 'billing' },
      { ...id, consumer: 'other' },
    ]
    for (const each of [id, ...others]) await create(process, each)
    for (const each of others) await claim(process, longMs, each)
    const { epoch } = await claimed(process)
    assert.equal(await move(process, epoch, place(4)), true)
    for (const each of others) assert.equal((await cursorOf(process, each)).position, 0)
  }),

  rule('claims without a move are counted, until a move says otherwise', async (process) => {
    const { write, cursors } = process
    await create(process)
    await claimed(process)
    const second = await claimed(process)
    assert.equal(second.stalls, 2)
    const nextMove = { lane: 0, epoch: second.epoch, from: 0, to: place(1) }
    await write((session) => cursors.move(session, id, [nextMove], { leaseMs: longMs, stalls: 1 }))
    assert.equal((await cursorOf(process)).stalls, 1)
    assert.equal((await claimed(process)).stalls, 2)
  }),

  rule('holding a lease renews it without a move, and tells the position', async (process, another) => {
    const other = await another()
    const { write, cursors } = process
    await create(process)
    const { epoch } = await claimed(process)
    await move(process, epoch, place(6))
    const hold = (of: number, leaseMs: number) => write((session) => cursors.hold(session, id, of, leaseMs))
    assert.equal(await hold(epoch, 20), 6)
    const taken = await eventually(() => claim(other))
    assert.equal(await hold(epoch, longMs), undefined)
    assert.equal((await cursorOf(process)).epoch, taken.epoch)
    assert.equal((await cursorOf(process)).position, 6)
  }),

  rule('a released lease is free at once, and keeps its epoch', async (process, another) => {
    const other = await another()
    await create(process)
    const { epoch } = await claimed(process)
    await process.write((session) => process.cursors.release(session, id, epoch))
    assert.deepEqual(pick(await cursorOf(process), 'owner', 'epoch'), { owner: null, epoch })
    assert.equal((await claimed(other)).epoch, epoch + 1)
    assert.equal(await move(process, epoch, place(1)), false)
  }),

  rule(
    'a revoked consumer has no owner on any lane, and no old epoch moves',
    async (process) => {
      const { write, cursors } = process
      const lanes = [id, { ...id, lane: 1 }, { ...id, source: 'billing' }]
      const other = { ...id, consumer: 'other' }
      for (const each of [...lanes, other]) {
        await create(process, each)
        await claim(process, longMs, each)
      }
      await write((session) => cursors.revoke(session, 'order-list'))
      for (const each of lanes) {
        assert.equal((await cursorOf(process, each)).owner, null)
        assert.equal(await move(process, 1, place(1), each), false)
      }
      assert.equal(await move(process, 1, place(1), other), true)
    },
    'P4',
  ),

  rule(
    'a reset puts every lane over a source to a place, and forgets what was parked and applied there',
    async (process) => {
      const { write, read, cursors, parking, inbox } = process
      const lanes = [id, { ...id, lane: 1 }]
      const elsewhere = [
        { ...id, source: 'billing' },
        { ...id, consumer: 'other' },
      ]
      const applied = new Map([['a', { sequence: 3, eventId: 'event-3', incarnation: 'one' }]])
      for (const each of [...lanes, ...elsewhere]) {
        await create(process, each)
        await claim(process, longMs, each)
      }
      for (const each of [id, ...elsewhere])
        await write(async (session) => {
          await parking.put(session, parked({ consumer: each.consumer, source: each.source, key: 'a' }))
          await inbox.advance(session, { ...each, stream: 'shop' }, applied)
        })
      await write((session) => cursors.reset(session, 'order-list', 'ordering', place(2)))
      for (const each of lanes) {
        assert.deepEqual(pick(await cursorOf(process, each), 'position', 'event_id', 'owner'), {
          position: 2,
          event_id: 'event-2',
          owner: null,
        })
        assert.equal(await move(process, 1, place(9), each), false)
      }
      const left = async (of: { consumer: string; source: string }) =>
        read(async (session) => [
          (await parking.parkedOf(session, of.consumer, of.source, ['a'])).size,
          (await inbox.heads(session, { ...of, stream: 'shop' }, ['a'])).size,
        ])
      assert.deepEqual(await left(id), [0, 0])
      for (const each of elsewhere) {
        assert.deepEqual(await left(each), [1, 1])
        assert.equal(await move(process, 1, place(9), each), true)
      }
    },
  ),

  rule('a cursor remembers where it began, or the earliest place that it was reset to', async (process) => {
    const { write, cursors } = process
    await write((session) => cursors.create(session, id, place(7)))
    const { epoch } = await claimed(process)
    await move(process, epoch, place(30))
    const starts = async (to: number) => {
      await write((session) => cursors.reset(session, 'order-list', 'ordering', place(to)))
      return (await cursorOf(process)).start_position
    }
    assert.equal((await cursorOf(process)).start_position, 7)
    assert.deepEqual([await starts(20), await starts(3), await starts(5)], [7, 3, 3])
  }),

  rule('a removed consumer is forgotten with everything that belongs to it, and no other', async (process) => {
    const { write, read, cursors, parking, inbox } = process
    const applied = new Map([['a', { sequence: 3, eventId: 'event-3', incarnation: 'one' }]])
    for (const name of ['order-list', 'other']) {
      await create(process, { ...id, consumer: name })
      await write(async (session) => {
        await cursors.register(session, { ...consumer, name })
        await parking.put(session, parked({ consumer: name, key: 'a' }))
        await parking.skip(session, skipped({ consumer: name, key: 'a' }))
        await inbox.advance(session, { consumer: name, source: 'ordering', stream: 'shop' }, applied)
      })
    }
    await write((session) => cursors.remove(session, 'order-list'))
    const left = (name: string) =>
      read(async (session) => [
        (await cursors.consumer(session, name)) === undefined ? 0 : 1,
        (await cursors.cursors(session, name)).length,
        (await parking.list(session, { consumer: name }, 9)).length,
        (await parking.skipped(session, name, 9)).length,
        (await inbox.heads(session, { consumer: name, source: 'ordering', stream: 'shop' }, ['a'])).size,
      ])
    assert.deepEqual(await left('order-list'), [0, 0, 0, 0, 0])
    assert.deepEqual(await left('other'), [1, 1, 1, 1, 1])
  }),

  rule('a renamed consumer keeps everything under its new name', async (process) => {
    const { write, read, cursors, parking, inbox } = process
    const row = await write((session) => cursors.register(session, consumer))
    await create(process)
    const { epoch } = await claimed(process)
    await move(process, epoch, place(4))
    const stream = { consumer: 'order-list', source: 'ordering', stream: 'shop' }
    const applied = new Map([['a', { sequence: 3, eventId: 'event-3', incarnation: 'one' }]])
    await write(async (session) => {
      await parking.put(session, parked({ key: 'a' }))
      await parking.skip(session, skipped({ key: 'a' }))
      await inbox.advance(session, stream, applied)
      await cursors.rename(session, 'order-list', 'orders')
    })
    await read(async (session) => {
      assert.equal(await cursors.consumer(session, 'order-list'), undefined)
      assert.deepEqual({ ...(await cursors.consumer(session, 'orders')) }, { ...row, name: 'orders', skipped: 1 })
      assert.deepEqual(await cursors.cursors(session, 'order-list'), [])
      assert.equal((await parking.list(session, { consumer: 'order-list' }, 9)).length, 0)
      assert.equal((await parking.list(session, { consumer: 'orders' }, 9)).length, 1)
      assert.equal((await parking.skipped(session, 'order-list', 9)).length, 0)
      assert.equal((await parking.skipped(session, 'orders', 9)).length, 1)
      assert.equal((await inbox.heads(session, stream, ['a'])).size, 0)
      assert.equal((await inbox.heads(session, { ...stream, consumer: 'orders' }, ['a'])).size, 1)
    })
    const moved = { ...id, consumer: 'orders' }
    assert.equal((await cursorOf(process, moved)).position, 4)
    assert.equal(await move(process, epoch, place(9)), false)
  }),

  rule('a consumer is not renamed to a name that is taken', async (process) => {
    const { write, read, cursors } = process
    for (const name of ['order-list', 'orders'])
      await write((session) => cursors.register(session, { ...consumer, name }))
    await create(process)
    const renaming = write((session) => cursors.rename(session, 'order-list', 'orders'))
    await assert.rejects(renaming, { code: 'PABAL_CONSUMER_NAME_TAKEN' })
    assert.equal((await read((session) => cursors.consumers(session))).length, 2)
    assert.equal((await cursorOf(process)).position, 0)
  }),
]
