/** What is measured of pabal: a context as a user writes it, on a pool of the user's. */

import { Pool, type PoolConfig } from 'pg'
import {
  type App,
  type Bound,
  createApp,
  defineContext,
  defineEvent,
  definePublicEvent,
  type Handler,
  publish,
} from '../../src/index.ts'
import { postgres } from '../../src/store/postgres/index.ts'
import { effectTable } from './arm.ts'
import { eventType, orderSchema, orderTable } from './orders.ts'

const placed = {
  schema: orderSchema,
  key: ({ orderId }: { orderId: string }) => orderId,
}
export const OrderPlaced = defineEvent(eventType, placed)
export const OrderPlacedV1 = definePublicEvent('shop.order-placed.v1', { kind: 'domain', ...placed })

export const ordering = defineContext('ordering', { store: postgres, events: [OrderPlaced] })

/** The same context, where others are told of its events. */
export const publishing = defineContext('ordering', {
  store: postgres,
  events: [OrderPlaced],
  publishes: [publish(OrderPlaced, OrderPlacedV1, ({ data }) => data)],
})

export interface Opened extends AsyncDisposable {
  readonly app: App
  readonly pool: Pool
}

/** The app on a pool of its own, which goes with it. Consumers of earlier turns are named as orphans. */
export const opened = (
  url: string,
  options: PoolConfig,
  handlers: readonly Handler<'ordering'>[] = [],
  others: (pool: Pool) => readonly Bound[] = () => [],
): Opened => {
  const pool = new Pool({ connectionString: url, ...options })
  const app = createApp({
    contexts: [
      ordering.with({
        store: postgres(pool),
        handlers,
        prepare: async (tx) => {
          await tx.query(orderTable)
          await tx.query(effectTable)
        },
      }),
      ...others(pool),
    ],
    onWarning: () => {},
  })
  return {
    app,
    pool,
    [Symbol.asyncDispose]: async () => {
      await app.stop()
      await pool.end()
    },
  }
}

/** Position of the log's last event that readers see. */
export const headOf = async (app: App): Promise<number> => {
  const { logs } = await app['~pabal'].open()
  const [log] = logs.values()
  return (await log!.database.read((session) => log!.store.log.head(session))).position
}
