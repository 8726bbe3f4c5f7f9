/** P9 On Postgres, where several processes receive for one context at the same time: heads are locked, so a key has one of them. */

import { createApp, defineContext, defineEvent, definePublicEvent, publish } from 'pabal'
import { postgres } from 'pabal/postgres'
import { Pool } from 'pg'
import { describe, expect, onTestFailed, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import { over } from '../../../src/exchange/exchange.ts'
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

const missing = missingPostgres()
describe.skipIf(missing)(titled('several receivers of one context on Postgres', missing), { retry: 2 }, () => {
  test('lose nothing, double nothing, and keep order', { timeout: 90_000 }, async () => {
    const seed = Number(process.env['PABAL_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
    onTestFailed(() => console.error(`the faults were chosen with PABAL_SEED=${seed}`))
    const broker = new NastyBroker({ random: seeded(seed) })
    const { url, sql } = await testDatabase()
    await sql('CREATE TABLE ledger (n bigserial PRIMARY KEY, event_id text, key text, sequence integer)')
    const pool = (): Pool => {
      const made = new Pool({ connectionString: url, max: 6 })
      onTestFinished(() => void made.end())
      return made
    }
    const started = async (app: ReturnType<typeof createApp>) => {
      onTestFinished(() => app.stop({ graceMs: 100 }))
      await app.start()
      return app
    }
    const consumer = () =>
      createApp({
        onWarning: () => {},
        exchange: over(broker.transport, { from: { ordering: [OrderPlacedV1] } }),
        contexts: [shipping.with({ store: postgres(pool()), handlers: [openShipment] })],
      })
    const producer = await started(
      createApp({
        onWarning: () => {},
        exchange: over(broker.transport),
        contexts: [ordering.with({ store: postgres(pool()) })],
      }),
    )
    await Promise.all([started(consumer()), started(consumer()), started(consumer())])
    const orders = await realOrders(800)
    for (let at = 0; at < orders.length; at += 20)
      await producer.context(ordering).transaction(({ raise }) => {
        for (const order of orders.slice(at, at + 20)) raise(OrderPlaced, order)
      })
    const ledger = () =>
      sql<{ event_id: string; key: string; sequence: number }>('SELECT event_id, key, sequence FROM ledger ORDER BY n')
    await eventually('all are shipped', async () => (await ledger()).length >= orders.length, 60_000)
    const log = await sql<{ id: string; key: string; sequence: number }>(
      'SELECT event_id AS id, key, sequence::integer FROM pabal_ordering.event ORDER BY pabal_ordering.event.id',
    )
    expect(violations(await ledger(), log as never)).toEqual(none)
    expect(await sql('SELECT * FROM pabal_shipping.early')).toEqual([])
  })
})
