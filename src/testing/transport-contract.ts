/** The contract of the transport port as plain data: every adapter runs it against its real broker, ours and yours, with any test runner. */

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'
import { systemEnvironment } from '../core/environment.ts'
import { isPabalError } from '../core/errors.ts'
import { defaultLimits } from '../core/limits.ts'
import type { CloudEvent } from '../event/cloudevents/cloud-event.ts'
import type {
  Channel,
  Incoming,
  OpenTransport,
  Outgoing,
  Published,
  Receiving,
  Taken,
  Transport,
} from '../exchange/transport.ts'
import type { ContractTest, Guarantee } from './contract.ts'

/** What an adapter gives to the suite. */
export interface TransportHarness {
  /** A broker, or a part of one, that no other test uses; disposed of at the test's end. */
  create(): Promise<TransportUnderTest>
}

export interface TransportUnderTest extends AsyncDisposable {
  /** As each process has one of its own. */
  transport(): Transport
  /** Puts bytes on a channel as somebody else would, past the adapter: not an event of ours. */
  inject?(channel: Channel, body: Uint8Array): Promise<void>
  /** Ends the broker at once, and starts it with what it had kept. */
  crash?(): Promise<void>
}

export type TransportRule = ContractTest<TransportHarness>

interface Bench {
  readonly under: TransportUnderTest
  readonly channel: Channel
  readonly open: () => Promise<OpenTransport>
}

const waitMs = 20_000

const until = async (what: string, condition: () => boolean): Promise<void> => {
  for (const endMs = Date.now() + waitMs; !condition(); await setTimeout(10))
    assert.ok(Date.now() < endMs, `after ${waitMs} ms still not: ${what}`)
}

/** A message of a key. Ids are new unless given; data is JSON as it was raised, letter for letter. */
const message = (key: string, n: number, { id = randomUUID(), text = `{"n": ${n}}` } = {}): Outgoing => {
  const attributes = new Map<string, string | number>([
    ['specversion', '1.0'],
    ['id', id],
    ['source', 'urn:pabal:ordering'],
    ['type', 'shop.order-placed.v1'],
    ['time', '2010-12-01T08:26:00.000Z'],
    ['datacontenttype', 'application/json'],
    ['subject', key],
    ['partitionkey', key],
    ['streamversion', String(n)],
    ['previousversion', String(n - 1)],
    ['stream', 'public'],
    ['incarnation', 'one'],
    ['correlationid', id],
    ['hopcount', 0],
  ])
  return { key, id, event: { attributes, data: text } }
}

const messages = (key: string, from: number, to: number): Outgoing[] =>
  Array.from({ length: to - from + 1 }, (_, i) => message(key, from + i))

/** What a subscriber was brought, and what it made of it. */
class Subscriber {
  readonly events: CloudEvent[] = []
  readonly batches: number[] = []
  readonly refused: Error[] = []
  /** Rejects so many of the next batches. */
  rejects = 0
  /** Waited for before a batch is taken. */
  gate: Promise<unknown> = Promise.resolve()
  #taking = 0
  overlaps = 0
  readonly #refuses: (event: CloudEvent) => boolean

  constructor(refuses: (event: CloudEvent) => boolean = () => false) {
    this.#refuses = refuses
  }

  readonly take = async (batch: readonly Incoming[]): Promise<readonly Taken[]> => {
    if (++this.#taking > 1) this.overlaps++
    this.batches.push(batch.length)
    try {
      await this.gate
      if (this.rejects > 0) {
        this.rejects--
        throw new Error('not now')
      }
      return batch.map((incoming): Taken => {
        try {
          const event = incoming.decode(defaultLimits)
          this.events.push(event)
          return this.#refuses(event) ? { refused: new Error('of no use') } : undefined
        } catch (error) {
          this.refused.push(error as Error)
          return { refused: error as Error }
        }
      })
    } finally {
      this.#taking--
    }
  }

  get ids(): string[] {
    return this.events.map(({ attributes }) => String(attributes.get('id')))
  }

  numbersOf(key: string): number[] {
    return this.events
      .filter(({ attributes }) => attributes.get('subject') === key)
      .map(({ attributes }) => Number(attributes.get('streamversion')))
  }
}

const idsOf = (of: readonly Outgoing[]): string[] => of.map(({ id }) => id)

/** As the relay does: what failed is published again, with all of its key behind it. */
const publishAll = async (open: OpenTransport, channel: Channel, all: readonly Outgoing[]): Promise<void> => {
  let left = all
  for (const endMs = Date.now() + waitMs; left.length > 0; ) {
    assert.ok(Date.now() < endMs, `after ${waitMs} ms ${left.length} messages are not published`)
    const outcomes = await open
      .publish(channel, left, AbortSignal.timeout(waitMs))
      .catch((error: unknown): readonly Published[] => left.map(() => ({ error })))
    assert.equal(outcomes.length, left.length)
    const failed = new Set(left.filter((_, i) => outcomes[i] !== undefined).map(({ key }) => key))
    left = left.filter(({ key }) => failed.has(key))
    if (left.length > 0) await setTimeout(50)
  }
}

const rule = (name: string, run: (bench: Bench) => Promise<void>, guarantee?: Guarantee): TransportRule => ({
  name,
  ...(guarantee === undefined ? {} : { guarantee }),
  run: async (harness) => {
    await using under = await harness.create()
    const opened: OpenTransport[] = []
    try {
      await run({
        under,
        channel: { context: 'ordering' },
        open: async () => {
          const open = await under.transport().open({ environment: systemEnvironment, warn: () => {} })
          opened.push(open)
          return open
        },
      })
    } finally {
      await Promise.all(opened.map((open) => open[Symbol.asyncDispose]()))
    }
  },
})

const subscribe = async (
  open: OpenTransport,
  channel: Channel,
  name: string,
  subscriber = new Subscriber(),
): Promise<{ readonly subscriber: Subscriber; readonly receiving: Receiving }> => ({
  subscriber,
  receiving: await open.receive(channel, name, subscriber.take),
})

export const transportContract: readonly TransportRule[] = [
  rule('each subscriber is brought what is published', async ({ open, channel, under }) => {
    const producer = await open()
    const names = under.transport().traits.subscribers === 'one' ? ['shipping'] : ['shipping', 'reporting']
    const subscribed = await Promise.all(names.map(async (name) => subscribe(await open(), channel, name)))
    const sent = ['a', 'b', 'c'].flatMap((key) => messages(key, 1, 10))
    await publishAll(producer, channel, sent)
    for (const { subscriber } of subscribed) {
      await until('all have come', () => new Set(subscriber.ids).size === sent.length)
      assert.deepEqual(new Set(subscriber.ids), new Set(idsOf(sent)))
    }
  }),

  rule('an event comes as it went: attributes of any script, data letter for letter', async ({ open, channel }) => {
    const [producer, consumer] = [await open(), await open()]
    const { subscriber } = await subscribe(consumer, channel, 'shipping')
    const text = '{ "이름":"주문 \\u0000 😀", "n" : 1.50,"n2":9007199254740993 }'
    const sent = message('주문 1/가 "%" ✓', 1, { text })
    await publishAll(producer, channel, [sent])
    await until('it has come', () => subscriber.events.length > 0)
    const [event] = subscriber.events
    assert.equal(event!.data, text)
    for (const [name, value] of sent.event.attributes)
      assert.equal(String(event!.attributes.get(name)), String(value), name)
  }),

  rule(
    'messages of a key come in the order in which they were published',
    async ({ open, channel, under }) => {
      if (!under.transport().traits.ordered) return
      const [producer, consumer] = [await open(), await open()]
      const { subscriber } = await subscribe(consumer, channel, 'shipping')
      const keys = Array.from({ length: 20 }, (_, n) => `key-${n}`)
      for (let from = 1; from <= 41; from += 20)
        await publishAll(
          producer,
          channel,
          Array.from({ length: 20 }, (_, i) => from + i).flatMap((n) => keys.map((key) => message(key, n))),
        )
      await until('all have come', () => subscriber.events.length >= keys.length * 60)
      const expected = Array.from({ length: 60 }, (_, i) => i + 1)
      for (const key of keys) {
        // A repetition may come late; first appearances may not.
        assert.deepEqual([...new Set(subscriber.numbersOf(key))], expected, key)
      }
    },
    'P9',
  ),

  rule('a thousand messages go in one call', async ({ open, channel }) => {
    const [producer, consumer] = [await open(), await open()]
    const { subscriber } = await subscribe(consumer, channel, 'shipping')
    const sent = Array.from({ length: 1_000 }, (_, n) => message(`key-${n % 100}`, Math.floor(n / 100) + 1))
    await publishAll(producer, channel, sent)
    await until('all have come', () => new Set(subscriber.ids).size === sent.length)
  }),

  rule('processes of one subscriber share its messages', async ({ open, channel }) => {
    const [producer, one, two] = [await open(), await open(), await open()]
    const first = await subscribe(one, channel, 'shipping')
    const second = await subscribe(two, channel, 'shipping')
    const sent = Array.from({ length: 40 }, (_, n) => n).flatMap((n) => messages(`key-${n}`, 1, 5))
    await publishAll(producer, channel, sent)
    const ids = () => new Set([...first.subscriber.ids, ...second.subscriber.ids])
    await until('all have come', () => ids().size === sent.length)
    assert.deepEqual(ids(), new Set(idsOf(sent)))
  }),

  rule(
    'a batch that was not taken comes again, all of it',
    async ({ open, channel, under }) => {
      if (under.transport().traits.delivery === 'at-most-once') return
      const [producer, consumer] = [await open(), await open()]
      const subscriber = new Subscriber()
      subscriber.rejects = 2
      await subscribe(consumer, channel, 'shipping', subscriber)
      const sent = messages('a', 1, 5)
      await publishAll(producer, channel, sent)
      await until('all have come', () => new Set(subscriber.ids).size === sent.length)
      assert.equal(subscriber.rejects, 0)
    },
    'P9',
  ),

  rule('what was taken or refused does not come again to who subscribes later', async ({ open, channel, under }) => {
    if (under.transport().traits.delivery === 'at-most-once') return
    const [producer, consumer] = [await open(), await open()]
    const first = await subscribe(
      consumer,
      channel,
      'shipping',
      new Subscriber(({ attributes }) => attributes.get('streamversion') === '2'),
    )
    await publishAll(producer, channel, messages('a', 1, 3))
    await until('three have come', () => first.subscriber.events.length >= 3)
    await first.receiving[Symbol.asyncDispose]()
    const later = await subscribe(await open(), channel, 'shipping')
    await publishAll(producer, channel, messages('a', 4, 4))
    await until('the next has come', () => later.subscriber.numbersOf('a').includes(4))
    assert.deepEqual([...new Set(later.subscriber.numbersOf('a'))], [4])
  }),

  rule(
    'a subscriber that was away is brought what was published meanwhile',
    async ({ open, channel, under }) => {
      if (under.transport().traits.delivery === 'at-most-once') return
      const [producer, consumer] = [await open(), await open()]
      const first = await subscribe(consumer, channel, 'shipping')
      await publishAll(producer, channel, messages('a', 1, 1))
      await until('the first has come', () => first.subscriber.events.length > 0)
      await first.receiving[Symbol.asyncDispose]()
      await publishAll(producer, channel, messages('a', 2, 4))
      const again = await subscribe(await open(), channel, 'shipping')
      await until('the rest has come', () => new Set(again.subscriber.numbersOf('a')).size >= 3)
      assert.deepEqual([...new Set(again.subscriber.numbersOf('a'))], [2, 3, 4])
    },
    'P9',
  ),

  rule('channels are kept apart', async ({ open, channel }) => {
    const [producer, consumer] = [await open(), await open()]
    const ours = await subscribe(consumer, channel, 'shipping')
    const other = { context: 'billing' }
    const theirs = await subscribe(consumer, other, 'shipping')
    await publishAll(producer, channel, messages('a', 1, 3))
    await publishAll(producer, other, messages('b', 1, 3))
    await until('both have theirs', () => ours.subscriber.events.length >= 3 && theirs.subscriber.events.length >= 3)
    assert.deepEqual(ours.subscriber.numbersOf('b'), [])
    assert.deepEqual(theirs.subscriber.numbersOf('a'), [])
  }),

  rule('publishing where nobody subscribes succeeds', async ({ open, channel }) => {
    await publishAll(await open(), channel, messages('a', 1, 3))
  }),

  rule('a batch is taken when the last one has been', async ({ open, channel }) => {
    const [producer, consumer] = [await open(), await open()]
    const subscriber = new Subscriber()
    let release: () => void = () => {}
    subscriber.gate = new Promise<void>((resolve) => (release = resolve))
    await subscribe(consumer, channel, 'shipping', subscriber)
    await publishAll(producer, channel, messages('a', 1, 5))
    await until('the first batch is there', () => subscriber.batches.length > 0)
    await publishAll(producer, channel, messages('b', 1, 5))
    await setTimeout(100)
    assert.equal(subscriber.batches.length, 1)
    release()
    await until('all have come', () => new Set(subscriber.ids).size === 10)
    assert.equal(subscriber.overlaps, 0)
  }),

  rule('who stops receiving waits for the batch under way, and is brought no other', async ({ open, channel }) => {
    const [producer, consumer] = [await open(), await open()]
    const subscriber = new Subscriber()
    let release: () => void = () => {}
    subscriber.gate = new Promise<void>((resolve) => (release = resolve))
    const { receiving } = await subscribe(consumer, channel, 'shipping', subscriber)
    await publishAll(producer, channel, messages('a', 1, 3))
    await until('the batch is there', () => subscriber.batches.length > 0)
    let stopped = false
    const stopping = receiving[Symbol.asyncDispose]().then(() => (stopped = true))
    await setTimeout(50)
    assert.equal(stopped, false)
    release()
    await stopping
    const batches = subscriber.batches.length
    await publishAll(producer, channel, messages('a', 4, 6))
    await setTimeout(200)
    assert.equal(subscriber.batches.length, batches)
  }),

  rule('a message that is too large fails alone', async ({ open, channel, under }) => {
    const [producer, consumer] = [await open(), await open()]
    const { subscriber } = await subscribe(consumer, channel, 'shipping')
    const text = JSON.stringify('x'.repeat(under.transport().traits.messageBytes))
    const sent = [message('a', 1), message('b', 1, { text }), message('c', 1)]
    const outcomes = await producer.publish(channel, sent, AbortSignal.timeout(waitMs))
    assert.deepEqual(
      outcomes.map((outcome) => outcome === undefined),
      [true, false, true],
    )
    const error = outcomes[1]?.error
    assert.ok(isPabalError(error) && error.code === 'PABAL_MESSAGE_TOO_LARGE', String(error))
    await until('the others have come', () => subscriber.events.length >= 2)
    assert.deepEqual(new Set(subscriber.ids), new Set([sent[0]!.id, sent[2]!.id]))
  }),

  rule('what is not an event is refused, and holds up nothing', async ({ open, channel, under }) => {
    if (under.inject === undefined) return
    const [producer, consumer] = [await open(), await open()]
    const { subscriber } = await subscribe(consumer, channel, 'shipping')
    await publishAll(producer, channel, messages('a', 1, 1))
    for (const bytes of ['', 'hello', '{"specversion":"1.0"}', '\u0000\u0001'])
      await under.inject(channel, new TextEncoder().encode(bytes))
    await under.inject(channel, new Uint8Array([0xff, 0xfe, 0x7b]))
    await publishAll(producer, channel, messages('a', 2, 2))
    await until('the events have come', () => new Set(subscriber.numbersOf('a')).size === 2)
    await until('the rest was refused', () => subscriber.refused.length >= 5)
    for (const error of subscriber.refused) assert.ok(isPabalError(error), String(error))
  }),

  rule(
    'what was refused is kept with its reason, the oldest first, until it is told to go',
    async ({ open, channel, under }) => {
      const [producer, consumer, looking] = [await open(), await open(), await open()]
      const { delivery, ordered, subscribers = 'many' } = under.transport().traits
      const keeps = delivery === 'at-least-once' && subscribers !== 'none'
      assert.equal(looking.refused !== undefined, keeps, 'whoever delivers at least once keeps what was refused')
      if (!keeps) return
      await looking.refused!(channel, 'shipping', 1, () => assert.fail('nothing is there yet'))
      const refuses = ({ attributes }: CloudEvent) => attributes.get('subject') === 'b'
      const { subscriber } = await subscribe(consumer, channel, 'shipping', new Subscriber(refuses))
      const sent = [...messages('a', 1, 1), ...messages('b', 1, 3), ...messages('a', 2, 2)]
      for (const each of sent) await publishAll(producer, channel, [each])
      const [first, second, third] = messages('b', 1, 3).map(({ event }) => event.data)
      await until('all have come', () => new Set(subscriber.ids).size === sent.length)
      // Twice, where it was delivered twice.
      const look = async (goes: (n: number) => boolean = () => false): Promise<string[]> => {
        const found: string[] = []
        await looking.refused!(channel, 'shipping', 100, async ({ id, reason, incoming, body }) => {
          assert.ok(id.length > 0)
          assert.match(reason ?? '', /of no use|Error/)
          assert.ok(body !== null && body.length > 0)
          const text = String(incoming.decode(defaultLimits).data)
          found.push(text)
          return goes([first, second, third].indexOf(text))
        })
        const distinct = found.filter((text, n) => found.indexOf(text) === n)
        return ordered ? distinct : distinct.toSorted()
      }
      for (const endMs = Date.now() + waitMs; (await look()).length < 3; await setTimeout(50))
        assert.ok(Date.now() < endMs, `after ${waitMs} ms not all that was refused is kept`)
      assert.deepEqual(await look(), [first, second, third])
      await look((n) => n === 0)
      assert.deepEqual(await look(), [second, third])
      await assert.rejects(
        looking.refused!(channel, 'shipping', 1, async () => {
          throw new Error('not now')
        }),
      )
      let seen = 0
      await looking.refused!(channel, 'shipping', 1, async () => ++seen < 0)
      assert.equal(seen, 1)
      await look(() => true)
      assert.deepEqual(await look(), [])
    },
  ),

  rule(
    'a broker that crashes and comes back keeps what was published, and everybody goes on',
    async ({ open, channel, under }) => {
      if (under.crash === undefined || under.transport().traits.delivery === 'at-most-once') return
      const [producer, consumer] = [await open(), await open()]
      const { subscriber } = await subscribe(consumer, channel, 'shipping')
      await publishAll(producer, channel, messages('a', 1, 3))
      await until('the first have come', () => new Set(subscriber.numbersOf('a')).size === 3)
      await under.crash()
      await publishAll(producer, channel, messages('a', 4, 6))
      await until('the rest has come', () => new Set(subscriber.numbersOf('a')).size === 6)
    },
    'P9',
  ),
]
