/** Events that came early: stored until what is in front of them has come; and heads that are locked while it is decided. */

import assert from 'node:assert/strict'
import type { EarlyEvent, InboxHead } from '../../store/store.ts'
import { pick, type StoreRule, rule } from './fixture.ts'

const stream = { consumer: ':received', source: 'ordering', stream: 'public' }

const early = (
  key: string,
  sequence: number,
  { sinceMs = 1_000, reason = 'gap', eventId = `event-${sequence}` } = {},
): EarlyEvent => ({
  key,
  sequence,
  eventId,
  reason,
  text: `{"이름":"${key} ${sequence} \\u0000"}`,
  sinceMs,
})

const head = (sequence: number): InboxHead => ({ sequence, eventId: `event-${sequence}`, incarnation: 'one' })

const seen = (events: readonly EarlyEvent[]) =>
  events.map((event) => pick(event, 'key', 'sequence', 'eventId', 'reason', 'text', 'sinceMs'))

export const earlyRules: readonly StoreRule[] = [
  rule(
    'what came early is there, key by key, in order of the sequences',
    async ({ write, read, early: port }) => {
      const put = [early('b', 9), early('주문', 3), early('b', 4), early('c', 1)]
      await write((session) => port.put(session, stream, put))
      assert.deepEqual(seen(await read((session) => port.ofKeys(session, stream, ['주문', 'b', 'none']))), [
        early('b', 4),
        early('b', 9),
        early('주문', 3),
      ])
      assert.deepEqual(await read((session) => port.ofKeys(session, stream, [])), [])
    },
    'P9',
  ),

  rule('what came early twice is there once, as it came first', async ({ write, read, early: port }) => {
    await write((session) => port.put(session, stream, [early('a', 2)]))
    await write((session) => port.put(session, stream, [early('a', 2, { sinceMs: 5_000 }), early('a', 3)]))
    assert.deepEqual(seen(await read((session) => port.ofKeys(session, stream, ['a']))), [early('a', 2), early('a', 3)])
  }),

  rule(
    'two events that came early with one sequence are both there: a log that was restored gives it again',
    async ({ write, read, early: port }) => {
      const both = [early('a', 2, { eventId: 'of-the-first' }), early('a', 2, { eventId: 'of-the-second' })]
      await write((session) => port.put(session, stream, both))
      const found = await read((session) => port.ofKeys(session, stream, ['a']))
      assert.deepEqual(found.map(({ eventId }) => eventId).toSorted(), ['of-the-first', 'of-the-second'])
      await write((session) => port.remove(session, stream, [both[0]!]))
      assert.deepEqual(seen(await read((session) => port.ofKeys(session, stream, ['a']))), [both[1]])
    },
    'P9',
  ),

  rule('what is removed is gone, and nothing else', async ({ write, read, early: port }) => {
    const other = { ...stream, source: 'billing' }
    for (const each of [stream, other])
      await write((session) => port.put(session, each, [early('a', 2), early('a', 3), early('b', 2)]))
    await write((session) =>
      port.remove(session, stream, [
        { key: 'a', sequence: 2, eventId: 'event-2' },
        { key: 'a', sequence: 3, eventId: 'another' },
        { key: 'b', sequence: 3, eventId: 'event-3' },
      ]),
    )
    assert.deepEqual(seen(await read((session) => port.ofKeys(session, stream, ['a', 'b']))), [
      early('a', 3),
      early('b', 2),
    ])
    assert.equal((await read((session) => port.ofKeys(session, other, ['a', 'b']))).length, 3)
  }),

  rule('what waits is counted by its reason', async (process) => {
    const { write, read, early: port } = process
    await write((session) =>
      port.put(session, stream, [
        early('new', 2),
        early('old', 7),
        early('old', 8),
        early('diverged', 2, { reason: 'diverged' }),
      ]),
    )
    const counts = await read((session) => port.count(session, stream))
    assert.deepEqual(
      counts.map((row) => pick(row, 'reason', 'events', 'keys')),
      [
        { reason: 'diverged', events: 1, keys: 1 },
        { reason: 'gap', events: 3, keys: 2 },
      ],
    )
  }),

  rule(
    'who locks heads sees those of whoever had them before, also where there were none',
    async (process, another) => {
      const second = await another()
      const entered: number[] = []
      /** Reads the head of the key, and moves it on by one. */
      const next = ({ write, inbox }: typeof process): Promise<void> =>
        write(async (session) => {
          const heads = await inbox.heads(session, stream, ['a', '주문'], { lock: true })
          const sequence = (heads.get('a')?.sequence ?? 0) + 1
          entered.push(sequence)
          await inbox.advance(session, stream, new Map([['a', head(sequence)]]))
        })
      await Promise.all(Array.from({ length: 20 }, (_, n) => next(n % 2 === 0 ? process : second)))
      assert.deepEqual(
        entered.toSorted((a, b) => a - b),
        Array.from({ length: 20 }, (_, n) => n + 1),
      )
      const heads = await process.read((session) => process.inbox.heads(session, stream, ['a', '주문']))
      assert.deepEqual(
        [...heads].map(([key, { sequence }]) => [key, sequence]),
        [['a', 20]],
      )
    },
    'P9',
  ),
]
