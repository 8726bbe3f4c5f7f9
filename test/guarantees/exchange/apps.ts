/** Two producers and three consumers, each an app of its own over one transport, in the test's process or in others. */

import type { DatabaseSync } from 'node:sqlite'
import {
  type App,
  createApp,
  defineContext,
  defineEvent,
  definePublicEvent,
  type Exchange,
  publish,
  type PublicEventDefinition,
  type Store,
} from 'pabal'
import { type SqliteTx, sqlite } from 'pabal/sqlite'
import { z } from 'zod'
import { over, type CarriedOptions } from '../../../src/exchange/exchange.ts'
import type { Transport } from '../../../src/exchange/transport.ts'
import { enter, prepareLedger } from '../../support/shop.ts'

const Order = z.object({ orderId: z.string(), n: z.int() })
const key = ({ orderId }: { orderId: string }): string => orderId

const producerNamed = (name: string) => {
  const placed = defineEvent(`${name}.order-placed`, { schema: Order, key })
  const noted = defineEvent(`${name}.order-noted`, { schema: Order, key })
  const placedV1 = definePublicEvent(`shop.${name}-placed.v1`, { kind: 'domain', schema: Order, key })
  // Public, and wanted by nobody: it has its place in the stream all the same.
  const notedV1 = definePublicEvent(`shop.${name}-noted.v1`, { kind: 'domain', schema: Order, key })
  const context = defineContext(name, {
    store: sqlite,
    events: [placed, noted],
    publishes: [publish(placed, placedV1, ({ data }) => data), publish(noted, notedV1, ({ data }) => data)],
  })
  return { name, placed, noted, placedV1, context }
}
export const ordering = producerNamed('ordering')
export const wholesale = producerNamed('wholesale')
export const producers = [ordering, wholesale]
export type Producer = (typeof producers)[number]

export const consumers = ['shipping', 'reporting', 'notification'] as const
export type Consumer = (typeof consumers)[number]
const contextOf = Object.fromEntries(
  consumers.map((name) => [name, defineContext(name, { store: sqlite, events: [] })]),
)
const from: Record<string, readonly PublicEventDefinition[]> = Object.fromEntries(
  producers.map(({ name, placedV1 }) => [name, [placedV1]]),
)

/** Where a context's log is. */
export const pathOf = (folder: string, context: string): string => `${folder}/${context}.db`

export type SqliteStore = Store<SqliteTx, DatabaseSync>

type Warn = (what: string, error: unknown) => void

export interface ConsumerOptions {
  /** Wraps the store, to take a guard out. */
  readonly store?: (plain: SqliteStore) => SqliteStore
  readonly carried?: CarriedOptions
  readonly retry?: 'none'
  readonly onWarning?: Warn
  /** Before each event. */
  readonly at?: (event: { readonly id: string; readonly key: string; readonly sequence: number }) => void
}

export const producerApp = (
  folder: string,
  { context, name }: Producer,
  exchange: Exchange,
  onWarning: Warn = () => {},
): App =>
  createApp({
    onWarning,
    leaseMs: 1_000,
    exchange,
    contexts: [context.with({ store: sqlite(pathOf(folder, name)) })],
  })

export const consumerApp = (
  folder: string,
  name: Consumer,
  transport: Transport,
  { carried, at, retry, onWarning = () => {}, store = (plain: SqliteStore) => plain }: ConsumerOptions = {},
): App => {
  const context = contextOf[name]!
  const handlers = producers.map(({ name: of, placedV1 }) =>
    context.consume(
      placedV1,
      of,
      (event, { tx }) => {
        at?.(event)
        enter(tx, of, event)
      },
      retry === undefined ? {} : { retry },
    ),
  )
  return createApp({
    onWarning,
    leaseMs: 1_000,
    exchange: over(transport, { from, ...carried }),
    contexts: [context.with({ store: store(sqlite(pathOf(folder, name))), prepare: prepareLedger, handlers })],
  })
}

type Order = z.infer<typeof Order>

/** In transactions of twenty; between them things happen that are nobody else's business. */
export const place = async (
  app: App,
  { context, placed, noted }: Producer,
  orders: readonly Order[],
): Promise<void> => {
  for (let at = 0; at < orders.length; at += 20)
    await app.context(context).transaction(({ raise }) => {
      for (const order of orders.slice(at, at + 20)) {
        raise(placed, order)
        if (order.n % 3 === 0) raise(noted, order)
      }
    })
}
