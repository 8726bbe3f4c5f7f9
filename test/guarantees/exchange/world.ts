/** Two producers and three consumers over one transport, each an app of its own; what the consumers applied, held against the logs. */

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
import type { DatabaseSync } from 'node:sqlite'
import { over, type CarriedOptions } from '../../../src/exchange/exchange.ts'
import type { Transport } from '../../../src/exchange/transport.ts'
import { onTestFinished } from 'vitest'
import { z } from 'zod'
import { eventually } from '../../support/eventually.ts'
import { testFolder } from '../../support/folder.ts'
import { enter, type LedgerRow, ledgerOf, type LogRow, prepareLedger, rowsOf } from '../../support/shop.ts'
import { none, realOrders, violations } from '../world.ts'

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
type Producer = (typeof producers)[number]

const consumers = ['shipping', 'reporting', 'notification'] as const
type Consumer = (typeof consumers)[number]
const contextOf = Object.fromEntries(
  consumers.map((name) => [name, defineContext(name, { store: sqlite, events: [] })]),
)

export interface World {
  readonly folder: string
  path(context: string): string
  /** The producers' logs, for consumers that may look there. */
  readonly origins: NonNullable<CarriedOptions['origins']>
  producer(producer: Producer, exchange?: Exchange): App
  consumer(name: Consumer, options?: ConsumerOptions): App
  ledger(name: Consumer, producer: Producer): readonly LedgerRow[]
  published(producer: Producer): readonly LogRow[]
  /** Every consumer has applied all there is, or it says what is missing. */
  settled(withinMs?: number): Promise<void>
  /** Whatever happened, nothing was lost, done twice, or out of order; and nothing is left behind in an inbox. */
  faults(): ReadonlyMap<string, unknown>
}

type SqliteStore = Store<SqliteTx, DatabaseSync>

export interface ConsumerOptions {
  /** Wraps the store, to take a guard out. */
  readonly store?: (plain: SqliteStore) => SqliteStore
  readonly carried?: CarriedOptions
  readonly retry?: 'none'
  /** Before each event. */
  readonly at?: (event: { readonly id: string; readonly key: string; readonly sequence: number }) => void
}

export const wholeWorld: ReadonlyMap<string, unknown> = new Map(
  consumers.flatMap((name): [string, unknown][] => [
    ...producers.map(({ name: of }): [string, unknown] => [`${name} of ${of}`, none]),
    [`${name} early`, []],
  ]),
)

export const exchangeWorld = async (transport: Transport): Promise<World> => {
  const folder = await testFolder()
  const path = (context: string): string => `${folder}/${context}.db`
  const stopped = (app: App): App => {
    onTestFinished(() => app.stop({ graceMs: 100 }))
    return app
  }
  const from: Record<string, readonly PublicEventDefinition[]> = Object.fromEntries(
    producers.map(({ name, placedV1 }) => [name, [placedV1]]),
  )
  const ledger: World['ledger'] = (name, { name: of }) => ledgerOf(path(name), of)
  const published: World['published'] = ({ name }) =>
    rowsOf(path(name), `SELECT * FROM pabal_${name}_event WHERE type = ? ORDER BY position`, `${name}.order-placed`)
  const faults = (): ReadonlyMap<string, unknown> => {
    const found = new Map<string, unknown>()
    for (const name of consumers) {
      for (const producer of producers)
        found.set(`${name} of ${producer.name}`, violations(ledger(name, producer), published(producer)))
      const early = `SELECT source, key, sequence, reason FROM pabal_${name}_early LIMIT 3`
      found.set(`${name} early`, rowsOf(path(name), early))
    }
    return found
  }
  return {
    folder,
    path,
    origins: producers.map(({ context, name }) => context.with({ store: sqlite(path(name)) })),
    producer: ({ context, name }, exchange = over(transport)) =>
      stopped(
        createApp({
          onWarning: () => {},
          leaseMs: 1_000,
          exchange,
          contexts: [context.with({ store: sqlite(path(name)) })],
        }),
      ),
    consumer: (name, { carried, at, retry, store = (plain: SqliteStore) => plain } = {}) => {
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
      const bound = context.with({ store: store(sqlite(path(name))), prepare: prepareLedger, handlers })
      return stopped(
        createApp({
          onWarning: () => {},
          leaseMs: 1_000,
          exchange: over(transport, { from, ...carried }),
          contexts: [bound],
        }),
      )
    },
    ledger,
    published,
    settled: async (withinMs = 30_000) => {
      await eventually(
        'all is applied',
        () =>
          consumers.every((name) =>
            producers.every((producer) => ledger(name, producer).length >= published(producer).length),
          ),
        withinMs,
      )
    },
    faults,
  }
}

/** Real orders, so many; between them things happen that are nobody else's business. */
export const placeAll = async (
  app: App,
  { context, placed, noted }: Producer,
  from: number,
  to: number,
): Promise<void> => {
  const orders = (await realOrders(to)).slice(from)
  for (let at = 0; at < orders.length; at += 20)
    await app.context(context).transaction(({ raise }) => {
      for (const order of orders.slice(at, at + 20)) {
        raise(placed, order)
        if (order.n % 3 === 0) raise(noted, order)
      }
    })
}
