/** P9 On Postgres, where several processes receive for one context at the same time: heads are locked, so a key has one of them. */

import { type App, type Bound, createApp, defineContext, defineEvent, definePublicEvent, publish } from 'pabal'
import { postgres } from 'pabal/postgres'
import { Pool } from 'pg'
import { describe, expect, onTestFailed, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import { type CarriedOptions, over } from '../../../src/exchange/exchange.ts'
import { NastyBroker } from '../../../src/testing/nasty-transport.ts'
import { eventually } from '../../support/eventually.ts'
import { missingPostgres, testDatabase } from '../../support/postgres.ts'
import { titled } from '../../support/require-server.ts'
import { seeded } from '../postgres-workers/seeded.ts'
import { none, realOrders, violations } from '../world.ts'

const Order = z.object({ orderId: z.string(), n: z.int() })
const key = ({ orderId }: { orderId: string }): string => orderId
const OrderPlaced = defineEvent('ordering.order-placed', { schema: Order, key })
const OrderPlacedV1 = definePublicEvent('shop.order-placed.v1', { kind: 'domain', schema: Order, key })
const ordering = defineContext('ordering', {
  store: postgres,
  events: [OrderPlaced],
  publishes: [publish(OrderPlaced, OrderPlacedV1, ({ data }) => data)],
})
const shipping = defineContext('shipping', { store: postgres, events: [] })
const openShipment = shipping.consume(OrderPlacedV1, 'open-shipment', ({ id, key: of, sequence }, { tx }) =>
  tx.query('INSERT INTO ledger (event_id, key, sequence) VALUES ($1, $2, $3)', [id, of, sequence]),
)

const withPool = (url: string): Pool => {
  const made = new Pool({ connectionString: url, max: 6 })
  onTestFinished(() => made.end())
  return made
}
const started = async (app: App): Promise<App> => {
  onTestFinished(() => app.stop({ graceMs: 100 }))
  await app.start()
  return app
}

const bench = async () => {
  const seed = Number(process.env['PABAL_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
  onTestFailed(() => console.error(`the faults were chosen with PABAL_SEED=${seed}`))
  const broker = new NastyBroker({ random: seeded(seed) })
  const { url, sql } = await testDatabase()
  await sql('CREATE TABLE ledger (n bigserial PRIMARY KEY, event_id text, key text, sequence integer)')
  const app = (contexts: readonly Bound[], options: CarriedOptions = {}): App =>
    createApp({ onWarning: () => {}, leaseMs: 1_000, exchange: over(broker.transport, options), contexts })
  const orderingPart = () => ordering.with({ store: postgres(withPool(url)) })
  const shippingPart = () => shipping.with({ store: postgres(withPool(url)), handlers: [openShipment] })
  const ledger = () =>
    sql<{ event_id: string; key: string; sequence: number }>('SELECT event_id, key, sequence FROM ledger ORDER BY n')
  return {
    producer: () => app([orderingPart()]),
    consumer: () => app([shippingPart()], { from: { ordering: [OrderPlacedV1] } }),
    /** Both, where the consumer reads the producer's log itself. */
    monolith: () => app([orderingPart(), shippingPart()]),
    place: async (at: App, orders: Awaited<ReturnType<typeof realOrders>>): Promise<void> => {
      for (let from = 0; from < orders.length; from += 20)
        await at.context(ordering).transaction(({ raise }) => {
          for (const order of orders.slice(from, from + 20)) raise(OrderPlaced, order)
        })
    },
    whole: async (count: number): Promise<void> => {
      await eventually('all are shipped', async () => (await ledger()).length >= count, 60_000)
      const log = await sql<{ id: string; key: string; sequence: number }>(
        'SELECT event_id AS id, key, sequence::integer FROM pabal_ordering.event ORDER BY pabal_ordering.event.id',
      )
      expect(violations(await ledger(), log as never)).toEqual(none)
      // What was applied from the producer's log may still be on its way.
      const early = () => sql('SELECT * FROM pabal_shipping.early')
      await eventually('nothing waits for what is before it', async () => (await early()).length === 0)
    },
  }
}

const missing = missingPostgres()
describe.skipIf(missing)(titled('on Postgres', missing), { timeout: 180_000 }, () => {
  test('several receivers of one context lose nothing, double nothing, and keep order', async () => {
    const { producer, consumer, place, whole } = await bench()
    const sending = await started(producer())
    await Promise.all([started(consumer()), started(consumer()), started(consumer())])
    await place(sending, await realOrders(800))
    await whole(800)
  })

  // One handler, two cursors: on the producer's log, and on what was received.
  test('a context that moves out, and still runs where it was, applies nothing twice', async () => {
    const { monolith, consumer, place, whole } = await bench()
    const sending = await started(monolith())
    await started(consumer())
    await place(sending, await realOrders(800))
    await whole(800)
    await sending.settle()
    await whole(800)
  })
})
