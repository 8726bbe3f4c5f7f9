/** What a transport brings that no producer of ours would write, and what waits: neither holds up anything beside it. */

import { createApp, over } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { kind, NastyBroker } from 'pabal/testing'
import { expect, onTestFinished, test } from 'vitest'
import { changed } from '../../test/support/changed-store.ts'
import { eventually } from '../../test/support/eventually.ts'
import { testFolder } from '../../test/support/folder.ts'
import {
  enter,
  ledgerOf,
  OrderPlacedV1,
  order,
  parkedIn,
  prepareLedger,
  rowsOf,
  shipping,
} from '../../test/support/shop.ts'

interface Sent {
  readonly key: string
  readonly sequence: number
  readonly id?: string
  readonly previousId?: string
  readonly incarnation?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

let ids = 0
const newId = (): string => `01900000-0000-7000-8000-${String(++ids).padStart(12, '0')}`

const message = ({ key, sequence, id = newId(), previousId, incarnation = 'first', headers, body }: Sent) => ({
  contentType: undefined,
  headers: {
    'content-type': 'application/json',
    ce_specversion: '1.0',
    ce_id: id,
    ce_source: 'urn:pabal:ordering',
    ce_type: OrderPlacedV1.type,
    ce_time: '2026-01-01T00:00:00.000Z',
    ce_subject: key,
    ce_streamversion: String(sequence),
    ce_previousversion: String(sequence - 1),
    ...(previousId === undefined ? {} : { ce_previousid: previousId }),
    ce_stream: 'public',
    ce_incarnation: incarnation,
    ce_correlationid: id,
    ce_hopcount: '0',
    ...headers,
  },
  body: body ?? JSON.stringify(order(key, sequence)),
})

/** A receiver over an ordered broker, how many early events it has read again, and what was shipped: `key sequence`. */
const bench = async () => {
  const path = `${await testFolder()}/shipping.db`
  const broker = new NastyBroker({ random: Math.random, traits: { ordered: true }, faults: kind })
  const read = { early: 0 }
  const start = async (options: Partial<Parameters<typeof createApp>[0]> = {}) => {
    const store = changed(sqlite(path), ({ early }) => ({
      early: {
        ...early,
        ofKeys: async (...given) => {
          const found = await early.ofKeys(...given)
          read.early += found.length
          return found
        },
      },
    }))
    const handler = shipping.consume(OrderPlacedV1, 'ship', (event, { tx }) => enter(tx, 'ship', event))
    const app = createApp({
      contexts: [shipping.with({ store, prepare: prepareLedger, handlers: [handler] })],
      exchange: over(broker.transport, { from: { ordering: [OrderPlacedV1] } }),
      onWarning: () => {},
      ...options,
    })
    onTestFinished(() => app.stop())
    await app.start()
    return app
  }
  const early = () => rowsOf<{ key: string; sequence: number }>(path, 'SELECT key, sequence FROM pabal_shipping_early')
  return {
    read,
    start,
    send: (...sent: readonly Sent[]) => {
      for (const each of sent) broker.inject({ context: 'ordering' }, each.key, message(each))
    },
    waits: (count: number) => eventually(`${count} wait`, () => early().length === count),
    shipped: async (...expected: readonly string[]) => {
      const all = () => ledgerOf(path).map(({ key, sequence }) => `${key} ${sequence}`)
      await eventually(`${expected.length} are shipped`, () => all().length >= expected.length)
      expect(all()).toEqual(expected)
    },
    shippedIds: () => ledgerOf(path).map(({ event_id }) => event_id),
    parked: () => parkedIn(path, 'shipping').map(({ key }) => key),
  }
}

test('data that is not the JSON that it says it is waits for what is before it, and parks its key', async () => {
  const { start, send, waits, shipped, parked } = await bench()
  await start()
  send({ key: 'broken', sequence: 2, body: '{"orderId":' }, { key: 'whole', sequence: 1 })
  await shipped('whole 1')
  await waits(1)
  send({ key: 'broken', sequence: 1 })
  await shipped('whole 1', 'broken 1')
  await waits(0)
  await eventually('its key is parked', () => parked().join() === 'broken')
})

test('what waits is read again, however long it is written down, and whatever is allowed by then', async () => {
  const { start, send, waits, shipped } = await bench()
  const app = await start()
  const quotes = { ce_note: '"'.repeat(50_000) }
  send({ key: 'long', sequence: 2, headers: quotes })
  await waits(1)
  await app.stop()
  await start({ limits: { messageHeaders: 20, messageHeaderBytes: 1_000 } })
  send({ key: 'long', sequence: 1 }, { key: 'short', sequence: 1 })
  await eventually('all are shipped', () => shipped('long 1', 'long 2', 'short 1').then(() => true))
})

test('of a key that waits nothing is read again before what is missing has come', async () => {
  const { start, send, waits, shipped, read } = await bench()
  await start()
  const sequences = Array.from({ length: 300 }, (_, n) => n + 2)
  send(...sequences.map((sequence) => ({ key: 'waiting', sequence })))
  await waits(300)
  expect(read.early).toBe(0)
  send({ key: 'waiting', sequence: 1 })
  await shipped('waiting 1', ...sequences.map((sequence) => `waiting ${sequence}`))
})

test('two lives of a log may wait at one place: the newer one is not lost behind the older one', async () => {
  const { start, send, waits, shippedIds } = await bench()
  await start()
  const [first, lost, old, second, third, fourth] = Array.from({ length: 6 }, newId) as [
    string,
    string,
    string,
    string,
    string,
    string,
  ]
  send({ key: 'k', sequence: 1, id: first }, { key: 'k', sequence: 3, id: old, previousId: lost })
  await waits(1)
  // The producer was restored to its first event, and goes on; a broker without order brings what is later first.
  const incarnation = 'second'
  send({ key: 'k', sequence: 3, id: third, previousId: second, incarnation })
  await waits(2)
  send({ key: 'k', sequence: 2, id: second, previousId: first, incarnation })
  send({ key: 'k', sequence: 4, id: fourth, previousId: third, incarnation })
  await eventually('the new history is handled', () => shippedIds().length === 4)
  expect(shippedIds()).toEqual([first, second, third, fourth])
  await waits(1)
})
