/** The log: what append gives, keeps and refuses. */

import assert from 'node:assert/strict'
import {
  append,
  cancelled,
  type StoreRule,
  ids,
  paid,
  pick,
  placed,
  processOn,
  raised,
  rule,
  Undo,
  undone,
} from './fixture.ts'

const all = { after: 0, limit: 1_000 }

export const appendRules: readonly StoreRule[] = [
  rule('an empty log is at position 0 and has an incarnation', async ({ read, log }) => {
    const { position, incarnation } = await read((session) => log.head(session))
    assert.equal(position, 0)
    assert.ok(typeof incarnation === 'string' && incarnation.length > 0)
  }),

  rule(
    'append gives each key the sequence 1, 2, 3 … without a gap',
    async (process) => {
      const { read, log } = process
      await append(process, raised({ key: 'a' }), raised({ key: 'b' }), raised({ key: 'a' }))
      await append(process, raised({ key: 'b' }), raised({ key: 'a' }), raised({ key: '가' }))
      const { events } = await read((session) => log.readAfter(session, all))
      assert.deepEqual(
        events.map(({ key, sequence }) => [key, sequence]),
        [
          ['a', 1],
          ['b', 1],
          ['a', 2],
          ['b', 2],
          ['a', 3],
          ['가', 1],
        ],
      )
    },
    'P3',
  ),

  rule(
    'append gives the positions 1, 2, 3 … in the given order, over all keys',
    async (process) => {
      const { read, log } = process
      const first = await append(process, raised({ key: 'b' }), raised({ key: 'a' }), raised({ key: 'b' }))
      const second = await append(process, raised({ key: 'a' }))
      const { events, through } = await read((session) => log.readAfter(session, all))
      assert.deepEqual(ids(events), ids([...first, ...second]))
      assert.deepEqual(
        events.map(({ position }) => position),
        [1, 2, 3, 4],
      )
      assert.equal(through, 4)
      assert.equal((await read((session) => log.head(session))).position, 4)
    },
    'P2',
  ),

  rule('append tells each record its place', async (process) => {
    await append(process, raised({ key: 'a' }))
    const records = await append(process, raised({ key: 'a' }), raised({ key: 'b' }))
    assert.deepEqual(
      records.map(({ position, sequence }) => ({ position, sequence })),
      [
        { position: 2, sequence: 2 },
        { position: 3, sequence: 1 },
      ],
    )
  }),

  rule('append of nothing changes nothing', async (process) => {
    await append(process)
    assert.equal((await process.read((session) => process.log.head(session))).position, 0)
  }),

  rule('an event is kept letter for letter', async (process) => {
    const { read, log } = process
    const text = '{ "a" : 1.10, "b":9007199254740993, "한국어":"🐎\\u0000\\ud800", "b":"again" }'
    const [first, second] = await append(
      process,
      raised({
        key: '주문:🛒 42',
        type: paid,
        version: 3,
        text,
        metadataText: '{"actor":"김"}',
        correlationId: 'correlation',
        causationId: 'cause',
        hopCount: 7,
        traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
        timeMs: 1_763_631_000_123,
      }),
      raised({ key: 'b', timeMs: 0 }),
    )
    const columns = [
      'position',
      'id',
      'key',
      'sequence',
      'type',
      'version',
      'data',
      'metadata',
      'correlation_id',
      'causation_id',
      'hops',
      'traceparent',
      'time_ms',
    ] as const
    assert.deepEqual(pick(await read((session) => log.byId(session, first!.id)), ...columns), {
      position: 1,
      id: first!.id,
      key: '주문:🛒 42',
      sequence: 1,
      type: paid,
      version: 3,
      data: text,
      metadata: '{"actor":"김"}',
      correlation_id: 'correlation',
      causation_id: 'cause',
      hops: 7,
      traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
      time_ms: 1_763_631_000_123,
    })
    // The first event of a correlation is its own correlation: nothing is stored for it.
    assert.deepEqual(pick(await read((session) => log.byId(session, second!.id)), ...columns), {
      position: 2,
      id: second!.id,
      key: 'b',
      sequence: 1,
      type: placed,
      version: 1,
      data: '{}',
      metadata: null,
      correlation_id: null,
      causation_id: null,
      hops: 0,
      traceparent: null,
      time_ms: 0,
    })
  }),

  rule('a payload of a million letters is kept', async (process) => {
    const text = JSON.stringify('파발'.repeat(500_000))
    const [event] = await append(process, raised({ text }))
    const stored = await process.read((session) => process.log.byId(session, event!.id))
    assert.ok(stored?.data === text)
  }),

  rule('append takes an event whose key is at the expected sequence', async (process) => {
    await append(process, raised({ key: 'a', expectedSequence: 0 }))
    await append(
      process,
      raised({ key: 'a', expectedSequence: 1 }),
      raised({ key: 'a', expectedSequence: 2 }),
      raised({ key: 'b', expectedSequence: 0 }),
      raised({ key: 'a', expectedSequence: 3 }),
    )
    assert.equal((await process.read((session) => process.log.head(session))).position, 5)
  }),

  rule('append refuses an event whose key has moved on, and its transaction leaves nothing', async (process) => {
    await append(process, raised({ key: 'a' }), raised({ key: 'a' }))
    for (const expectedSequence of [0, 1, 3]) {
      const late = append(process, raised({ key: 'b' }), raised({ key: 'a', expectedSequence }))
      await assert.rejects(late, {
        code: 'PABAL_SEQUENCE_CONFLICT',
        context: { key: 'a', expected: expectedSequence, actual: 2 },
      })
    }
    assert.equal((await process.read((session) => process.log.head(session))).position, 2)
    const [next] = await append(process, raised({ key: 'b' }))
    assert.deepEqual(pick(next, 'position', 'sequence'), { position: 3, sequence: 1 })
  }),

  rule('of two who expect the same sequence one wins', async (process, another) => {
    const other = await another()
    const tries = await Promise.allSettled(
      Array.from({ length: 10 }, (_, n) =>
        append(n % 2 === 0 ? process : other, raised({ key: 'a', expectedSequence: 0 })),
      ),
    )
    assert.equal(tries.filter(({ status }) => status === 'fulfilled').length, 1)
    for (const { reason } of tries.filter((attempt) => attempt.status === 'rejected'))
      assert.equal((reason as { code?: unknown }).code, 'PABAL_SEQUENCE_CONFLICT')
  }),

  rule(
    'a transaction that throws leaves no hole in positions and sequences',
    async (process) => {
      const { write, read, log } = process
      await append(process, raised({ key: 'a' }))
      await undone(
        write(async (session) => {
          await log.append(session, [raised({ key: 'a' }), raised({ key: 'b' })])
          throw new Undo()
        }),
      )
      const [next, other] = await append(process, raised({ key: 'a' }), raised({ key: 'b' }))
      assert.deepEqual(pick(next, 'position', 'sequence'), { position: 2, sequence: 2 })
      assert.deepEqual(pick(other, 'position', 'sequence'), { position: 3, sequence: 1 })
      assert.equal((await read((session) => log.readAfter(session, all))).events.length, 3)
    },
    'P2',
  ),

  rule(
    'a savepoint that throws is undone alone, and leaves no hole',
    async (process) => {
      const { write, read, log } = process
      const kept = [raised({ key: 'a' }), raised({ key: 'a', type: paid }), raised({ key: 'a', type: cancelled })]
      await write(async (session) => {
        await log.append(session, [kept[0]!])
        for (const fail of [
          async () => {
            await log.append(session, [raised({ key: 'a' }), raised({ key: 'b' })])
            throw new Undo()
          },
          // Inside of one that is kept: only the inner one goes.
          async () => {
            await log.append(session, [kept[1]!])
            await undone(
              Promise.resolve(
                session.savepoint(async () => {
                  await log.append(session, [raised({ key: 'a' })])
                  throw new Undo()
                }),
              ),
            )
          },
        ])
          try {
            await session.savepoint(fail)
          } catch (error) {
            if (!(error instanceof Undo)) throw error
          }
        await log.append(session, [kept[2]!])
      })
      const { events } = await read((session) => log.readAfter(session, all))
      assert.deepEqual(ids(events), ids(kept))
      assert.deepEqual(
        events.map(({ position, sequence }) => [position, sequence]),
        [
          [1, 1],
          [2, 2],
          [3, 3],
        ],
      )
    },
    'P2',
  ),

  rule('a savepoint gives the result of its function, at once or later', async ({ write }) => {
    const results = await write(async (session) => [
      await session.savepoint(() => 'at once'),
      await session.savepoint(async () => 'later'),
    ])
    assert.deepEqual(results, ['at once', 'later'])
  }),

  rule('a savepoint lets the very error through that its function throws', async ({ write }) => {
    const error = new Undo('mine')
    await write(async (session) => {
      const seen: unknown[] = []
      for (const fail of [
        () => {
          throw error
        },
        () => Promise.reject(error),
      ])
        try {
          await session.savepoint(fail)
        } catch (caught) {
          seen.push(caught)
        }
      assert.deepEqual(seen, [error, error])
      assert.ok(seen.every((caught) => caught === error))
    })
  }),

  rule('contexts in one database have logs of their own, and share transactions', async (ordering) => {
    const { database } = ordering
    const billing = await processOn(database, 'billing')
    await database.transaction(async (session) => {
      await ordering.log.append(session, [raised({ key: 'a' }), raised({ key: 'a' })])
      await billing.log.append(session, [raised({ key: 'a' })])
    })
    await undone(
      database.transaction(async (session) => {
        await billing.log.append(session, [raised({ key: 'a' })])
        await ordering.log.append(session, [raised({ key: 'a' })])
        throw new Undo()
      }),
    )
    await database.sequence()
    const heads = await database.read(async (session) => [
      await ordering.log.head(session),
      await billing.log.head(session),
    ])
    assert.deepEqual(
      heads.map(({ position }) => position),
      [2, 1],
    )
  }),
]
