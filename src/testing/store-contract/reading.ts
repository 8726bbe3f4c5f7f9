/** The log: reading by position, lane, key, id and correlation, and what retention drops. */

import assert from 'node:assert/strict'
import type { StoredEvent } from '../../event/envelope.ts'
import { foreignId } from '../../event/foreign-id.ts'
import { slotOf } from '../../store/slot.ts'
import type { Session } from '../../store/store.ts'
import { append, cancelled, type StoreRule, ids, paid, pick, placed, type Process, raised, rule } from './fixture.ts'

interface Reader {
  readonly types?: readonly string[]
  readonly lane?: { readonly lane: number; readonly lanes: number }
  readonly limit: number
}

/** Reads as a subscription does, from `through` to `through`, until there is nothing further. */
const readToEnd = async ({ read, log }: Process, reader: Reader, after = 0): Promise<StoredEvent[]> => {
  const found: StoredEvent[] = []
  for (let position = after; ; ) {
    const { events, through } = await read((session) => log.readAfter(session, { after: position, ...reader }))
    assert.ok(events.length <= reader.limit, 'more events than the limit')
    assert.ok(through >= position, '`through` goes back')
    assert.ok(
      events.every((event) => event.position > position && event.position <= through),
      'events beyond `through`',
    )
    found.push(...events)
    if (through === position) return found
    position = through
  }
}

/** Orders of 40 keys; every 37th event is of a rare type. */
const fill = (process: Process, count: number) =>
  append(
    process,
    ...Array.from({ length: count }, (_, n) =>
      raised({ key: `주문-${(n * 7) % 40}`, type: n % 37 === 36 ? cancelled : n % 3 === 0 ? placed : paid }),
    ),
  )

const positions = (events: readonly StoredEvent[]): number[] => events.map(({ position }) => position)

export const readingRules: readonly StoreRule[] = [
  rule('readAfter of an empty log gives nothing', async ({ read, log }) => {
    assert.deepEqual(await read((session) => log.readAfter(session, { after: 0, limit: 10 })), {
      events: [],
      through: 0,
    })
  }),

  rule(
    'readAfter gives events after a position in order, up to a limit, and `through` is the last one',
    async (process) => {
      const { read, log } = process
      await fill(process, 10)
      const some = await read((session) => log.readAfter(session, { after: 3, limit: 4 }))
      assert.deepEqual([positions(some.events), some.through], [[4, 5, 6, 7], 7])
      const rest = await read((session) => log.readAfter(session, { after: 7, limit: 4 }))
      assert.deepEqual([positions(rest.events), rest.through], [[8, 9, 10], 10])
      const none = await read((session) => log.readAfter(session, { after: 10, limit: 4 }))
      assert.deepEqual([positions(none.events), none.through], [[], 10])
    },
  ),

  rule('readAfter leaves events of other types out, and `through` passes them', async (process) => {
    const { read, log } = process
    const events = await fill(process, 40)
    const found = await read((session) => log.readAfter(session, { after: 0, types: [cancelled], limit: 10 }))
    assert.deepEqual([ids(found.events), found.through], [ids(events.filter(({ type }) => type === cancelled)), 40])
    const both = await read((session) => log.readAfter(session, { after: 0, types: [cancelled, placed], limit: 100 }))
    assert.deepEqual(ids(both.events), ids(events.filter(({ type }) => type !== paid)))
    const nothing = await read((session) => log.readAfter(session, { after: 0, types: [], limit: 10 }))
    assert.deepEqual(nothing, { events: [], through: 40 })
  }),

  rule(
    'reading to the end by `through` misses nothing, whatever stands between',
    async (process) => {
      const events = await fill(process, 400)
      for (const types of [undefined, [cancelled], [placed], [paid, cancelled]])
        for (const limit of [1, 7, 500]) {
          const expected = events.filter(({ type }) => types === undefined || types.includes(type))
          const reader = types === undefined ? { limit } : { types, limit }
          assert.deepEqual(ids(await readToEnd(process, reader)), ids(expected))
          assert.deepEqual(
            ids(await readToEnd(process, reader, 200)),
            ids(expected.filter(({ position }) => position > 200)),
          )
        }
    },
    'P2',
  ),

  rule(
    'lanes part all events among them: each event is in one, and a key always in the same',
    async (process) => {
      const events = await fill(process, 200)
      for (const lanes of [1, 2, 7, 16]) {
        const found = new Map<string, number>()
        for (let lane = 0; lane < lanes; lane++)
          for (const event of await readToEnd(process, { lane: { lane, lanes }, limit: 13 })) {
            assert.ok(!found.has(event.id), 'an event is in two lanes')
            found.set(event.id, lane)
          }
        for (const { id, key } of events) assert.equal(found.get(id), slotOf(key) % lanes)
        assert.equal(found.size, events.length)
      }
    },
    'P4',
  ),

  rule('a lane and types together give what is in both', async (process) => {
    const events = await fill(process, 200)
    const lane = { lane: 3, lanes: 5 }
    assert.deepEqual(
      ids(await readToEnd(process, { lane, types: [paid], limit: 4 })),
      ids(events.filter(({ key, type }) => type === paid && slotOf(key) % 5 === 3)),
    )
  }),

  rule(
    'who reads while several processes append misses nothing and sees nothing twice',
    async (process, another) => {
      const other = await another()
      const units = 60
      let writing = 2
      const writer = async (own: Process): Promise<string[]> => {
        const appended: string[] = []
        for (let n = 0; n < units; n++)
          appended.push(
            ...ids(await append(own, ...Array.from({ length: 1 + (n % 3) }, () => raised({ key: `${n % 5}` })))),
          )
        writing--
        return appended
      }
      const reader = async (own: Process): Promise<StoredEvent[]> => {
        const found: StoredEvent[] = []
        for (let last = false; ; ) {
          // What was committed before the last round began has to come in it.
          last = writing === 0
          found.push(...(await readToEnd(own, { limit: 5 }, found.at(-1)?.position ?? 0)))
          if (last) return found
          // An embedded store answers without giving way; the writers' turn would never come.
          await new Promise((resolve) => setImmediate(resolve))
        }
      }
      const [a, b, ...read] = await Promise.all([writer(process), writer(other), reader(process), reader(other)])
      for (const found of read) {
        assert.deepEqual(ids(found).toSorted(), [...a, ...b].toSorted())
        assert.deepEqual(
          positions(found),
          found.map((_, n) => n + 1),
        )
        const sequences = new Map<string, number>()
        for (const { key, sequence } of found) {
          assert.equal(sequence, (sequences.get(key) ?? 0) + 1)
          sequences.set(key, sequence)
        }
      }
    },
    'P2',
  ),

  rule('readBefore gives the last events before a position, or before the end, in order', async (process) => {
    const { read, log } = process
    await fill(process, 9)
    const before = async (options: { before?: number; after?: number; limit: number }) =>
      positions(await read((session) => log.readBefore(session, options)))
    assert.deepEqual(await before({ limit: 3 }), [7, 8, 9])
    assert.deepEqual(await before({ before: 5, limit: 3 }), [2, 3, 4])
    assert.deepEqual(await before({ before: 3, limit: 10 }), [1, 2])
    assert.deepEqual(await before({ before: 1, limit: 10 }), [])
    assert.deepEqual(await before({ after: 6, limit: 10 }), [7, 8, 9])
    assert.deepEqual(await before({ before: 8, after: 2, limit: 3 }), [5, 6, 7])
  }),

  rule('readBefore gives the last events of some types and one key, when asked', async (process) => {
    const { read, log } = process
    const events = await fill(process, 200)
    const key = '주문-7'
    const before = async (options: { before?: number; types?: string[]; key?: string; limit: number }) =>
      ids(await read((session) => log.readBefore(session, options)))
    const own = events.filter((event) => event.key === key)
    assert.deepEqual(await before({ key, limit: 2 }), ids(own.slice(-2)))
    assert.deepEqual(await before({ key, before: own[2]!.position, limit: 9 }), ids(own.slice(0, 2)))
    assert.deepEqual(
      await before({ types: [cancelled], limit: 3 }),
      ids(events.filter(({ type }) => type === cancelled).slice(-3)),
    )
    assert.deepEqual(await before({ types: [paid], key, limit: 99 }), ids(own.filter(({ type }) => type === paid)))
    assert.deepEqual(await before({ types: [], limit: 9 }), [])
  }),

  rule('events are counted by how their keys begin', async (process) => {
    const { read, log } = process
    const keys = ['order:1', 'order:1', 'order:2', 'orders', 'Order:3', '주문:1', '주문:🛒', '주문', 'order']
    await append(process, ...keys.map((key) => raised({ key })))
    const count = (prefix: string) => read((session) => log.countKeys(session, prefix))
    for (const prefix of ['order:', 'order', '주문', '주문:', 'x', 'order:1'])
      assert.equal(await count(prefix), keys.filter((key) => key.startsWith(prefix)).length)
  }),

  rule('readKey gives one key’s events from a sequence on, in order', async (process) => {
    const { read, log } = process
    const keys = ['주문-1', '주문-10', '주문', 'Order', 'order']
    const events = await append(
      process,
      ...Array.from({ length: 40 }, (_, n) => raised({ key: keys[n % 5]!, type: n % 2 === 0 ? placed : paid })),
    )
    for (const key of keys) {
      const own = events.filter((event) => event.key === key)
      const from = async (options: { from: number; types?: string[]; limit: number }) =>
        ids(await read((session) => log.readKey(session, key, options)))
      assert.deepEqual(await from({ from: 1, limit: 100 }), ids(own))
      assert.deepEqual(await from({ from: 4, limit: 2 }), ids(own.slice(3, 5)))
      assert.deepEqual(
        await from({ from: 2, types: [paid], limit: 100 }),
        ids(own.slice(1).filter(({ type }) => type === paid)),
      )
      assert.deepEqual(await from({ from: 9, limit: 100 }), [])
    }
  }),

  rule('previous gives the key’s last event of some types before a sequence', async (process) => {
    const { read, log } = process
    const events = await append(
      process,
      raised({ key: 'a', type: placed }),
      raised({ key: 'b', type: paid }),
      raised({ key: 'a', type: paid }),
      raised({ key: 'a', type: cancelled }),
      raised({ key: 'a', type: paid }),
    )
    const previous = async (before: number, ...types: string[]) => {
      const found = await read((session) => log.previous(session, 'a', before, types))
      assert.ok(found === undefined || 'id' in found)
      return found?.id
    }
    assert.equal(await previous(4, placed, paid), events[2]!.id)
    assert.equal(await previous(4, placed), events[0]!.id)
    assert.equal(await previous(2, placed, paid), events[0]!.id)
    assert.equal(await previous(2, paid), undefined)
    assert.equal(await previous(1, placed, paid, cancelled), undefined)
    assert.equal(await previous(4), undefined)
  }),

  rule('an event is found by its id and at its position', async (process) => {
    const { read, log } = process
    const [first, second] = await fill(process, 2)
    assert.equal((await read((session) => log.byId(session, second!.id)))?.position, 2)
    assert.equal((await read((session) => log.at(session, 1)))?.id, first!.id)
    assert.equal(await read((session) => log.byId(session, 'no-such-id')), undefined)
    for (const position of [0, 3]) assert.equal(await read((session) => log.at(session, position)), undefined)
  }),

  rule('a foreign event is known by its id from where it is entered, before it has a position', async (process) => {
    const { read, write, log } = process
    const [known, other] = [foreignId('urn:acme:erp', '1'), foreignId('urn:acme:erp', '2')]
    const found = async (session: Session) => [...(await log.foreign(session, [known, other]))]
    await write(async (session) => {
      assert.deepEqual(await found(session), [])
      await log.append(session, [raised({ id: known }), raised()])
      assert.deepEqual(await found(session), [known])
    })
    // Not by `read`, which waits for positions.
    assert.deepEqual(await write(found), [known])
    assert.equal((await read((session) => log.byId(session, known)))?.position, 1)
    assert.deepEqual(ids(await read((session) => log.byCorrelation(session, known, 10))), [known])
    assert.equal(await read((session) => log.byId(session, other)), undefined)
    assert.deepEqual([...(await read((session) => log.foreign(session, [])))], [])
  }),

  rule('a correlation is found whole, its first event included', async (process) => {
    const { read, log } = process
    const first = raised({ key: 'a' })
    const caused = [raised({ key: 'b', correlationId: first.id }), raised({ key: 'a', correlationId: first.id })]
    const events = await append(process, raised({ key: 'a' }), first, caused[0]!, raised({ key: 'b' }), caused[1]!)
    const found = async (id: string, limit = 10) => ids(await read((session) => log.byCorrelation(session, id, limit)))
    assert.deepEqual(await found(first.id), ids([first, ...caused]))
    assert.deepEqual(await found(first.id, 2), ids([first, caused[0]!]))
    assert.deepEqual(await found(events[0]!.id), ids([events[0]!]))
    assert.deepEqual(await found('no-such-id'), [])
  }),

  rule('events are counted after a position, up to another, of some types', async (process) => {
    const { read, log } = process
    const events = await fill(process, 100)
    const count = (options: { after: number; through?: number; types?: string[] }) =>
      read((session) => log.count(session, options))
    assert.equal(await count({ after: 0 }), 100)
    assert.equal(await count({ after: 10, through: 30 }), 20)
    assert.equal(await count({ after: 0, types: [cancelled] }), events.filter(({ type }) => type === cancelled).length)
    assert.equal(await count({ after: 36, through: 74, types: [cancelled] }), 2)
    assert.equal(await count({ after: 0, types: [] }), 0)
    assert.equal(await count({ after: 100 }), 0)
    const lane = { lane: 2, lanes: 5 }
    const inLane = events.filter(({ key }) => slotOf(key) % 5 === 2)
    assert.equal(
      await read((session) => log.count(session, { after: 0, types: [paid], lane })),
      inLane.filter(({ type }) => type === paid).length,
    )
  }),

  rule('events after a position are counted by how their keys begin', async (process) => {
    const { read, log } = process
    await append(process, ...['a:1', 'a:2', 'a', 'b:1', 'A:1', 'a:1', '가:1'].map((key) => raised({ key })))
    const count = (options: { prefix?: string; exceptPrefix?: string }) =>
      read((session) => log.count(session, { after: 1, ...options }))
    assert.equal(await count({ prefix: 'a:' }), 2)
    assert.equal(await count({ exceptPrefix: 'a:' }), 4)
    assert.equal(await count({ prefix: 'a', exceptPrefix: 'a:' }), 1)
    assert.equal(await count({ prefix: '가' }), 1)
  }),

  rule(
    'a log knows the types and versions that were declared, once each, until they are forgotten',
    async ({ write, read, log }) => {
      const types = async () =>
        (await read((session) => log.types(session))).map(({ type, version }) => `${type} ${version}`)
      assert.deepEqual(await types(), [])
      const declared = [
        { type: placed, version: 1 },
        { type: paid, version: 1 },
      ]
      await write((session) => log.declareTypes(session, declared))
      await write((session) => log.declareTypes(session, [...declared, { type: placed, version: 2 }]))
      assert.deepEqual((await types()).toSorted(), [`${paid} 1`, `${placed} 1`, `${placed} 2`])
      await write((session) => log.forgetType(session, placed))
      assert.deepEqual(await types(), [`${paid} 1`])
    },
  ),

  rule('a new incarnation is told by the head, of this context alone', async (process) => {
    const { database, write, read, log } = process
    const { log: other } = await database.context('billing')
    const before = await read(async (session) => [await log.head(session), await other.head(session)])
    assert.notEqual(before[0]!.incarnation, before[1]!.incarnation)
    await write((session) => log.newIncarnation(session, 'after-restore'))
    const after = await read(async (session) => [await log.head(session), await other.head(session)])
    assert.equal(after[0]!.incarnation, 'after-restore')
    assert.equal(after[1]!.incarnation, before[1]!.incarnation)
  }),
]

const head = ({ read, log }: Process) => read((session) => log.head(session))
const drop = ({ write, log }: Process, position: number) => write((session) => log.dropThrough(session, position))

export const retentionRules: readonly StoreRule[] = [
  rule('the oldest event is at position 1, and after the head when there is none', async (process) => {
    const { read, log } = process
    const oldest = () => read((session) => log.oldest(session))
    assert.equal(await oldest(), 1)
    await fill(process, 5)
    assert.equal(await oldest(), 1)
    await drop(process, 3)
    assert.equal(await oldest(), 4)
    await drop(process, 5)
    assert.equal(await oldest(), 6)
  }),

  rule('dropThrough drops events up to a position, and tells how many', async (process) => {
    const events = await fill(process, 10)
    assert.equal(await drop(process, 0), 0)
    assert.equal(await drop(process, 4), 4)
    assert.equal(await drop(process, 4), 0)
    assert.equal(await drop(process, 6), 2)
    assert.deepEqual(ids(await readToEnd(process, { limit: 3 })), ids(events.slice(6)))
    assert.equal(await process.read((session) => process.log.at(session, 6)), undefined)
    assert.equal(await process.read((session) => process.log.byId(session, events[5]!.id)), undefined)
  }),

  rule(
    'positions and sequences go on after a drop, even of everything',
    async (process) => {
      await append(process, raised({ key: 'a' }), raised({ key: 'b' }), raised({ key: 'a' }))
      await drop(process, 2)
      const [third] = await append(process, raised({ key: 'a' }))
      assert.deepEqual(pick(third, 'position', 'sequence'), { position: 4, sequence: 3 })
      assert.equal(await drop(process, 100), 2)
      assert.equal((await head(process)).position, 4)
      const [fourth, second, first] = await append(
        process,
        raised({ key: 'a' }),
        raised({ key: 'b' }),
        raised({ key: 'c' }),
      )
      assert.deepEqual(pick(fourth, 'position', 'sequence'), { position: 5, sequence: 4 })
      assert.deepEqual(pick(second, 'position', 'sequence'), { position: 6, sequence: 2 })
      assert.deepEqual(pick(first, 'position', 'sequence'), { position: 7, sequence: 1 })
    },
    'P3',
  ),

  rule('an expected sequence is checked against a key whose events were dropped', async (process) => {
    await append(process, raised({ key: 'a' }), raised({ key: 'a' }))
    await drop(process, 2)
    await assert.rejects(append(process, raised({ key: 'a', expectedSequence: 0 })), {
      code: 'PABAL_SEQUENCE_CONFLICT',
    })
    const [third] = await append(process, raised({ key: 'a', expectedSequence: 2 }))
    assert.equal(third!.sequence, 3)
  }),

  rule('previous gives the bare sequence of an event that was dropped', async (process) => {
    const { read, log } = process
    const events = await append(
      process,
      raised({ key: 'a', type: placed }),
      raised({ key: 'a', type: paid }),
      raised({ key: 'a', type: paid }),
      raised({ key: 'b', type: cancelled }),
      raised({ key: 'a', type: placed }),
    )
    const previous = async (...types: string[]) => {
      const found = await read((session) => log.previous(session, 'a', 9, types))
      return found !== undefined && 'id' in found ? found.id : found?.droppedSequence
    }
    await drop(process, 2)
    assert.deepEqual([await previous(placed), await previous(paid)], [events[4]!.id, events[2]!.id])
    await drop(process, 4)
    assert.deepEqual([await previous(placed), await previous(paid)], [events[4]!.id, 3])
    await drop(process, 5)
    assert.deepEqual([await previous(placed), await previous(paid), await previous(placed, paid)], [4, 3, 4])
    assert.equal(await previous(cancelled), undefined)
  }),
]
