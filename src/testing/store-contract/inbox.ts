/** The inbox: the last event of each key that a consumer has applied over a stream. */

import assert from 'node:assert/strict'
import type { InboxHead } from '../../store/store.ts'
import { type StoreRule, pick, type Process, rule } from './fixture.ts'

const stream = { consumer: 'open-shipment', source: 'ordering', stream: 'shop.order-placed' }
const head = (sequence: number, incarnation = 'one'): InboxHead => ({
  sequence,
  eventId: `event-${sequence}`,
  incarnation,
})

const advance = ({ write, inbox }: Process, heads: Record<string, InboxHead>, of = stream) =>
  write((session) => inbox.advance(session, of, new Map(Object.entries(heads))))

const heads = async ({ read, inbox }: Process, keys: readonly string[], of = stream) => {
  const found = await read((session) => inbox.heads(session, of, keys))
  return Object.fromEntries([...found].map(([key, row]) => [key, pick(row, 'sequence', 'eventId', 'incarnation')]))
}

export const inboxRules: readonly StoreRule[] = [
  rule('a key that nothing was applied of has no head', async (process) => {
    assert.deepEqual(await heads(process, ['a', 'b']), {})
    assert.deepEqual(await heads(process, []), {})
  }),

  rule(
    'the head of a key is what was applied last',
    async (process) => {
      await advance(process, { a: head(1), 주문: head(3) })
      await advance(process, { a: head(2), b: head(1) })
      assert.deepEqual(await heads(process, ['주문', 'a', 'b', 'c']), { 주문: head(3), a: head(2), b: head(1) })
      assert.deepEqual(await heads(process, ['b']), { b: head(1) })
      await advance(process, {})
    },
    'P9',
  ),

  rule('heads are kept apart by consumer, source and stream', async (process) => {
    const others = [
      { ...stream, consumer: 'other' },
      { ...stream, source: 'billing' },
      { ...stream, stream: 'shop.order-paid' },
    ]
    await advance(process, { a: head(9) })
    for (const [n, of] of others.entries()) await advance(process, { a: head(n) }, of)
    assert.deepEqual(await heads(process, ['a']), { a: head(9) })
    for (const [n, of] of others.entries()) assert.deepEqual(await heads(process, ['a'], of), { a: head(n) })
  }),

  rule('thousands of heads are moved and read at once', async (process) => {
    const many = Object.fromEntries(Array.from({ length: 3_000 }, (_, n) => [`key-${n}`, head(n + 1)]))
    await advance(process, many)
    assert.deepEqual(await heads(process, Object.keys(many)), many)
  }),

  rule(
    'heads that are copied to another stream are the same there, and move by themselves',
    async (process) => {
      const other = { ...stream, stream: 'payments' }
      await advance(process, { a: head(4), b: head(2) })
      await advance(process, { a: head(9) }, { ...stream, consumer: 'other' })
      await process.write((session) => process.inbox.copy(session, stream, other))
      assert.deepEqual(await heads(process, ['a', 'b'], other), { a: head(4), b: head(2) })
      await advance(process, { a: head(5) }, other)
      assert.deepEqual(await heads(process, ['a', 'b']), { a: head(4), b: head(2) })
    },
    'P9',
  ),

  rule(
    'a distrusted head keeps its event and loses its incarnation',
    async (process) => {
      const elsewhere = [
        { ...stream, consumer: 'other' },
        { ...stream, source: 'billing' },
      ]
      const otherStream = { ...stream, stream: 'shop.order-paid' }
      for (const each of [stream, otherStream, ...elsewhere]) await advance(process, { a: head(4) }, each)
      await process.write((session) => process.inbox.distrust(session, stream.consumer, stream.source))
      for (const each of [stream, otherStream]) assert.deepEqual(await heads(process, ['a'], each), { a: head(4, '') })
      for (const each of elsewhere) assert.deepEqual(await heads(process, ['a'], each), { a: head(4) })
    },
    'P8',
  ),

  rule('heads that are forgotten are those of one consumer over one source', async (process) => {
    const other = { ...stream, consumer: 'other' }
    const elsewhere = { ...stream, source: 'billing' }
    for (const each of [stream, other, elsewhere]) await advance(process, { a: head(1) }, each)
    await process.write((session) => process.inbox.forget(session, stream.consumer, stream.source))
    assert.deepEqual(await heads(process, ['a']), {})
    for (const each of [other, elsewhere]) assert.deepEqual(await heads(process, ['a'], each), { a: head(1) })
  }),
]
