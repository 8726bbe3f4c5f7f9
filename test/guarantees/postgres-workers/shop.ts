/** `ordering` and `shipping` on Postgres, each on a pool of its own, as they run in every process of these tests. */

import { appendFileSync } from 'node:fs'
import {
  type App,
  type AppOptions,
  createApp,
  defineContext,
  defineEvent,
  definePublicEvent,
  publish,
  type RetryPolicy,
  type Store,
} from 'pabal'
import { type OwnTransaction, type PostgresTx, postgres } from 'pabal/postgres'
import type { Pool } from 'pg'
import { z } from 'zod'

const Order = z.object({ orderId: z.string(), n: z.int() })
export type Order = z.infer<typeof Order>
const keyOf = ({ orderId }: Order): string => orderId

export const OrderPlacedV1 = definePublicEvent('shop.order-placed.v1', { kind: 'domain', schema: Order, key: keyOf })
export const OrderPaidV1 = definePublicEvent('shop.order-paid.v1', { kind: 'domain', schema: Order, key: keyOf })
export const OrderPlaced = defineEvent('ordering.order-placed', { schema: Order, key: keyOf })
export const OrderPaid = defineEvent('ordering.order-paid', { schema: Order, key: keyOf })

export const ordering = defineContext('ordering', {
  store: postgres,
  events: [OrderPlaced, OrderPaid],
  publishes: [
    publish(OrderPlaced, OrderPlacedV1, ({ data }) => data),
    publish(OrderPaid, OrderPaidV1, ({ data }) => data),
  ],
})
export const shipping = defineContext('shipping', { store: postgres, events: [] })

/** What a handler is told of an event, as far as the ledger wants to know it. */
interface Applied {
  readonly id: string
  readonly key: string
  readonly sequence: number
}

export type PostgresStore = Store<PostgresTx, OwnTransaction>

export type Consumer = 'ledger' | 'pay' | 'ship'

/** What may go otherwise than well in a process. */
export interface Conduct {
  /** Names the process in the ledger. */
  readonly by?: string
  /** Throws, or waits, where a handler begins and where it has written; outside of a transaction only in `pay`. */
  readonly at?: (point: 'begin' | 'written', consumer: Consumer, event: Applied) => unknown
  readonly retry?: RetryPolicy
  readonly onExhausted?: 'park' | 'skip'
  readonly lanes?: number
  /** A version of it from before orders were paid: only `pay` is the same. */
  readonly older?: boolean
  /** Each event is also counted in one row of its consumer, which all of its transactions want. */
  readonly counted?: boolean
  /** Wraps the stores, to take a guard out or to hold a process at a point. */
  readonly store?: (store: PostgresStore) => PostgresStore
}

export interface ShopOptions extends Conduct {
  readonly ordering: Pool
  readonly shipping: Pool
  /** Where calls to somebody outside are noted, a line each. */
  readonly calls: string
  readonly queryTimeoutMs?: number
  readonly app?: Omit<AppOptions, 'contexts'>
}

export const tables = `
  CREATE TABLE ledger (
    n bigint GENERATED ALWAYS AS IDENTITY, consumer text NOT NULL, event_id text NOT NULL, key text NOT NULL,
    sequence integer NOT NULL, by text NOT NULL, at_ms bigint NOT NULL DEFAULT extract(epoch FROM clock_timestamp()) * 1000
  );
  CREATE TABLE state (request text PRIMARY KEY, id text NOT NULL);
  CREATE TABLE total (consumer text PRIMARY KEY, events integer NOT NULL);
  INSERT INTO total VALUES ('ledger', 0), ('pay', 0), ('ship', 0)`

/** `ledger` and `pay` read the own log, `ship` reads the other's; `pay` calls outside and records that it was paid. */
export const openShop = (options: ShopOptions): App => {
  /** The effect of every durable handler. No constraint hides a second one. */
  const enter = async (tx: PostgresTx, consumer: Consumer, { id, key, sequence }: Applied): Promise<void> => {
    const values = [consumer, id, key, sequence, by]
    await tx.query('INSERT INTO ledger (consumer, event_id, key, sequence, by) VALUES ($1, $2, $3, $4, $5)', values)
    if (options.counted) await tx.query('UPDATE total SET events = events + 1 WHERE consumer = $1', [consumer])
  }
  const {
    by = 'test',
    at = () => {},
    store = (plain) => plain,
    lanes = 4,
    calls,
    queryTimeoutMs,
    older = false,
  } = options
  const retry = options.retry ?? { attempts: 1_000, first: 5, max: 100 }
  const durable = { retry, lanes, onExhausted: options.onExhausted ?? ('park' as const) }
  const on = (pool: Pool): PostgresStore =>
    store(postgres(pool, queryTimeoutMs === undefined ? {} : { queryTimeoutMs }))
  return createApp({
    onWarning: () => {},
    ...options.app,
    contexts: [
      ordering.with({
        store: on(options.ordering),
        handlers: [
          ordering.on(
            older ? OrderPlaced : [OrderPlaced, OrderPaid],
            'ledger',
            async (event, { tx }) => {
              await at('begin', 'ledger', event)
              await enter(tx, 'ledger', event)
              await at('written', 'ledger', event)
            },
            durable,
          ),
          ordering.on(
            OrderPlaced,
            'pay',
            async (event, { idempotencyKey }) => {
              const { id, key, sequence } = event
              appendFileSync(calls, `${JSON.stringify({ idempotencyKey, id, key, sequence, by })}\n`)
              await at('begin', 'pay', event)
            },
            {
              ...durable,
              effects: 'external',
              startAt: 'beginning',
              record: async (_, event, { tx, raise }) => {
                await enter(tx, 'pay', event)
                raise(OrderPaid, event.data)
              },
            },
          ),
        ],
      }),
      shipping.with({
        store: on(options.shipping),
        handlers: [
          shipping.consume(
            older ? OrderPlacedV1 : [OrderPlacedV1, OrderPaidV1],
            'ship',
            async (event, { tx }) => {
              await at('begin', 'ship', event)
              await enter(tx, 'ship', event)
              await at('written', 'ship', event)
            },
            durable,
          ),
        ],
      }),
    ],
  })
}

/** One unit: a row of state and its event, once per request. */
export const place = (app: App, request: string, data: Order): Promise<string> =>
  app.context(ordering).transaction(
    async ({ tx, raise }) => {
      await tx.query('INSERT INTO state (request, id) VALUES ($1, $2)', [request, data.orderId])
      raise(OrderPlaced, data)
      return request
    },
    { idempotencyKey: request },
  )
