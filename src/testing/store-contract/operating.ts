/** What operators ask of a store: counts, groups, plans, and looking without making anything. */

import assert from 'node:assert/strict'
import { isPabalError } from '../../core/errors.ts'
import type { ParkedKey } from '../../store/store.ts'
import { append, cancelled, paid, placed, type Process, raised, rule, type StoreRule } from './fixture.ts'
import { parked, skipped } from './parking.ts'

const positions = (events: readonly { readonly position: number }[]): number[] => events.map(({ position }) => position)
const start = { position: 7, eventId: 'event-7', incarnation: 'i' }
const register = (process: Process, name: string) =>
  process.write(async (session) => {
    await process.cursors.register(session, { name, effects: 'database', lanes: 1, types: [placed] })
    await process.cursors.create(session, { consumer: name, source: 'ordering', lane: 0 }, start)
  })
const put = ({ write, parking }: Process, ...keys: ParkedKey[]) =>
  write(async (session) => {
    for (const key of keys) await parking.put(session, key)
  })

export const operatingRules: readonly StoreRule[] = [
  rule('readBefore gives the last events of a key or of types, between two positions, in order', async (process) => {
    const { read, log } = process
    const events = Array.from({ length: 12 }, (_, n) =>
      raised({ key: `key-${n % 3}`, type: [placed, paid, cancelled, paid][n % 4]! }),
    )
    await append(process, ...events)
    const before = (options: Omit<Parameters<typeof log.readBefore>[1], 'limit'>, limit = 99) =>
      read(async (session) => positions(await log.readBefore(session, { ...options, limit })))
    assert.deepEqual(await before({ key: 'key-1' }), [2, 5, 8, 11])
    assert.deepEqual(await before({ key: 'key-1', before: 11, after: 2 }), [5, 8])
    assert.deepEqual(await before({ types: [paid] }, 3), [8, 10, 12])
    assert.deepEqual(await before({ types: [paid, cancelled], key: 'key-1', before: 11 }), [2, 8])
    assert.deepEqual(await before({ key: 'nobody' }), [])
  }),

  rule('events are counted by the beginning of their key, and by lane', async (process) => {
    const { read, log } = process
    await append(
      process,
      ...['pabal:a', 'pabal:b', 'pabal:b', 'pabalx', 'pabal', 'a', '주문'].map((key) => raised({ key })),
    )
    const count = (prefix: string) => read((session) => log.countKeys(session, prefix))
    assert.equal(await count('pabal:'), 3)
    assert.equal(await count('pabal:b'), 2)
    assert.equal(await count('주'), 1)
    assert.equal(await count('nobody'), 0)
    const lanes = await Promise.all(
      [0, 1, 2].map((lane) => read((session) => log.count(session, { after: 0, lane: { lane, lanes: 3 } }))),
    )
    assert.equal(
      lanes.reduce((sum, n) => sum + n, 0),
      7,
    )
    for (const [lane, n] of lanes.entries()) {
      const { events } = await read((session) =>
        log.readAfter(session, { after: 0, lane: { lane, lanes: 3 }, limit: 9 }),
      )
      assert.equal(events.length, n)
    }
  }),

  rule('a cursor remembers where it began, and a reset takes that back but not on', async (process) => {
    const { read, write, cursors } = process
    await register(process, 'list')
    const begun = async () => {
      const [cursor] = await read((session) => cursors.cursors(session, 'list'))
      return [cursor!.start_position, cursor!.position, cursor!.epoch, cursor!.owner]
    }
    assert.deepEqual(await begun(), [7, 7, 0, null])
    await write((session) => cursors.claim(session, { consumer: 'list', source: 'ordering', lane: 0 }, 1_000))
    await write((session) => cursors.reset(session, 'list', 'ordering', { ...start, position: 20 }))
    assert.deepEqual(await begun(), [7, 20, 2, null])
    await write((session) => cursors.reset(session, 'list', 'ordering', { ...start, position: 3 }))
    assert.deepEqual(await begun(), [3, 3, 3, null])
  }),

  rule('a removed consumer leaves nothing behind, and others are not touched', async (process) => {
    const { read, write, cursors, parking, inbox } = process
    for (const name of ['list', 'other']) {
      await register(process, name)
      await put(process, parked({ consumer: name }))
      await write(async (session) => {
        await parking.skip(session, skipped({ consumer: name }))
        const head = { sequence: 1, eventId: 'event-1', incarnation: 'i' }
        await inbox.advance(session, { consumer: name, source: 'ordering', stream: 'public' }, new Map([['a', head]]))
      })
    }
    await write((session) => cursors.remove(session, 'list'))
    const left = (name: string) =>
      read(async (session) => [
        (await cursors.consumer(session, name))?.name,
        (await cursors.cursors(session, name)).length,
        (await parking.count(session, { consumer: name })).keys,
        (await parking.skipped(session, name, 9)).length,
        (await inbox.heads(session, { consumer: name, source: 'ordering', stream: 'public' }, ['a'])).size,
      ])
    assert.deepEqual(await left('list'), [undefined, 0, 0, 0, 0])
    assert.deepEqual(await left('other'), ['other', 1, 1, 1, 1])
  }),

  rule('parked keys are grouped by what they failed for, those that hold up most first', async (process) => {
    const { read, parking } = process
    const error = (fingerprint: string) => ({ name: 'Error', message: 'm', fingerprint })
    await put(
      process,
      parked({ key: 'a', status: 'dead', error: error('E1'), waiting: 1, first_failed_ms: 5, last_failed_ms: 6 }),
      parked({ key: 'b', status: 'dead', error: error('E1'), waiting: 9, first_failed_ms: 1, last_failed_ms: 2 }),
      parked({ key: 'c', status: 'dead', error: error('E2'), waiting: 0 }),
      parked({ key: 'd', status: 'retrying', error: error('E1'), waiting: 3 }),
    )
    const groups = await read((session) => parking.groups(session, { status: 'dead' }))
    assert.deepEqual(
      groups.map((group) => ({ ...group })),
      [
        {
          consumer: 'order-list',
          source: 'ordering',
          status: 'dead',
          fingerprint: 'E1',
          keys: 2,
          waiting: 10,
          first_failed_ms: 1,
          last_failed_ms: 6,
        },
        {
          consumer: 'order-list',
          source: 'ordering',
          status: 'dead',
          fingerprint: 'E2',
          keys: 1,
          waiting: 0,
          first_failed_ms: 100,
          last_failed_ms: 200,
        },
      ],
    )
    assert.equal((await read((session) => parking.groups(session, {}))).length, 3)
    assert.deepEqual(await read((session) => parking.count(session, { status: 'dead' })), {
      keys: 3,
      waiting: 10,
      mostWaiting: 9,
    })
    assert.deepEqual(await read((session) => parking.count(session, { key: 'nobody' })), {
      keys: 0,
      waiting: 0,
      mostWaiting: 0,
    })
  }),

  rule('a retry makes dead keys due with a full set of attempts, and leaves the others alone', async (process) => {
    const { read, write, parking } = process
    await put(
      process,
      parked({ key: 'a', status: 'dead', attempts: 8, waiting: 4 }),
      parked({ key: 'b', status: 'dead', attempts: 8, event_id: 'event-b', source: 'payment' }),
      parked({ key: 'c', status: 'retrying', attempts: 3, next_ms: 9_000 }),
    )
    const retry = (filter: Parameters<typeof parking.retry>[1]) =>
      write((session) => parking.retry(session, filter, 5_000))
    assert.equal(await retry({ event_id: 'event-b', source: 'ordering' }), 0)
    assert.equal(await retry({ event_id: 'event-b' }), 1)
    assert.equal(await retry({}), 1)
    assert.equal(await retry({}), 0)
    const rows = await read((session) => parking.list(session, {}, 9))
    assert.deepEqual(
      Object.fromEntries(
        rows.map(({ key, status, attempts, next_ms, waiting }) => [key, [status, attempts, next_ms, waiting]]),
      ),
      { a: ['retrying', 0, 5_000, 4], b: ['retrying', 0, 5_000, 0], c: ['retrying', 3, 9_000, 0] },
    )
  }),

  rule('one event tells whether a consumer has left it out', async (process) => {
    const { read, write, parking } = process
    await register(process, 'order-list')
    await write((session) => parking.skip(session, skipped({ event_id: 'event-5', reason: 'a test order' })))
    const of = (consumer: string, id: string) => read((session) => parking.skippedOf(session, consumer, 'ordering', id))
    assert.equal((await of('order-list', 'event-5'))?.reason, 'a test order')
    assert.equal(await of('order-list', 'event-6'), undefined)
    assert.equal(await of('other', 'event-5'), undefined)
  }),

  rule('old keys of units are counted', async ({ read, write, units, database }) => {
    await write(async (session) => {
      for (const key of ['a', 'b']) await units.put(session, key, 'transaction', '')
    })
    assert.ok(database.label.length > 0)
    assert.equal(await read((session) => units.countBefore(session, 0)), 0)
    assert.equal(await read((session) => units.countBefore(session, Number.MAX_SAFE_INTEGER)), 2)
  }),

  rule('a context that is only looked for is not made, and what it lacks is described', async ({ database }) => {
    const lacking = await database.context('billing', { existing: true }).then(
      () => undefined,
      (error: unknown) => (isPabalError(error) ? error.code : String(error)),
    )
    assert.equal(lacking, 'PABAL_STORE_OLDER')
    const { bytes, migrations } = await database.describe(['ordering', 'billing'])
    assert.ok(bytes > 0)
    assert.ok(migrations.some(({ context, atMs }) => context === 'ordering' && atMs !== null))
    assert.ok(migrations.filter(({ context }) => context === 'billing').every(({ atMs }) => atMs === null))
    await database.context('billing')
    const after = await database.describe(['billing'])
    assert.ok(after.migrations.every(({ atMs }) => atMs !== null))
  }),
]
