/** A small shop for tests: `ordering` raises and publishes, `shipping` consumes, and handlers keep a ledger of what they applied. */

import { DatabaseSync } from 'node:sqlite'
import {
  type App,
  type Bound,
  createApp,
  defineCommand,
  defineContext,
  defineEvent,
  definePublicEvent,
  type DurableOptions,
  type Environment,
  type EventDefinition,
  publish,
  systemEnvironment,
  type Unit,
} from 'pabal'
import { type SqliteTx, sqlite } from 'pabal/sqlite'
import { expect, onTestFinished } from 'vitest'
import { z } from 'zod'
import { testFolder } from './folder.ts'

const Order = z.object({ orderId: z.string(), n: z.int() })
const keyOf = (order: { orderId: string }): string => order.orderId

export const OrderPlacedV1 = definePublicEvent('shop.order-placed.v1', { kind: 'domain', schema: Order, key: keyOf })
export const OrderPaidV1 = definePublicEvent('shop.order-paid.v1', { kind: 'domain', schema: Order, key: keyOf })

export const OrderPlaced = defineEvent('ordering.order-placed', { schema: Order, key: keyOf })
export const OrderPaid = defineEvent('ordering.order-paid', { schema: Order, key: keyOf })
export const OrderCancelled = defineEvent('ordering.order-cancelled', { schema: Order, key: keyOf })
export const PlaceOrder = defineCommand('ordering.place-order', {
  schema: Order,
  refusals: { 'over-limit': z.object({ limit: z.int() }) },
})

/** A paid event with a negative `n` is nobody else's business. */
export const ordering = defineContext('ordering', {
  store: sqlite,
  events: [OrderPlaced, OrderPaid, OrderCancelled],
  publishes: [
    publish(OrderPlaced, OrderPlacedV1, ({ data }) => data),
    publish(OrderPaid, OrderPaidV1, ({ data }) => (data.n < 0 ? null : data)),
  ],
})

export const ShipmentOpened = defineEvent('shipping.shipment-opened', { schema: Order, key: keyOf })
export const shipping = defineContext('shipping', { store: sqlite, events: [ShipmentOpened] })

/** Options of a durable handler of `OrderPlaced`. */
export type DurableOrderOptions = DurableOptions<
  typeof OrderPlaced,
  Unit<EventDefinition<`ordering.${string}`>, SqliteTx>,
  unknown
>

export const order = (orderId: string, n = 0): { orderId: string; n: number } => ({ orderId, n })

/** What a handler is told of an event, as far as the ledger wants to know it. */
interface Applied {
  readonly id: string
  readonly key: string
  readonly sequence: number
}

export interface LedgerRow {
  /** In the order of application. */
  readonly n: number
  readonly consumer: string
  readonly event_id: string
  readonly key: string
  readonly sequence: number
}

export const prepareLedger = (tx: SqliteTx): unknown =>
  tx.run(
    'CREATE TABLE IF NOT EXISTS ledger (n INTEGER PRIMARY KEY AUTOINCREMENT, consumer TEXT NOT NULL, event_id TEXT NOT NULL, key TEXT NOT NULL, sequence INTEGER NOT NULL)',
  )

/** The effect that every durable handler of the tests has. No constraint hides a second one. */
export const enter = (tx: SqliteTx, consumer: string, { id, key, sequence }: Applied): unknown =>
  tx.run('INSERT INTO ledger (consumer, event_id, key, sequence) VALUES (?, ?, ?, ?)', consumer, id, key, sequence)

const query = <Row>(path: string, sql: string, ...values: (string | number)[]): Row[] => {
  const db = new DatabaseSync(path, { readOnly: true, timeout: 5_000 })
  try {
    return db.prepare(sql).all(...values) as Row[]
  } finally {
    db.close()
  }
}

/** Any rows, read by a connection of its own. */
export const rowsOf = query

export const ledgerOf = (path: string, consumer?: string): LedgerRow[] =>
  consumer === undefined
    ? query(path, 'SELECT * FROM ledger ORDER BY n')
    : query(path, 'SELECT * FROM ledger WHERE consumer = ? ORDER BY n', consumer)

export interface LogRow {
  readonly position: number
  readonly id: string
  readonly key: string
  readonly sequence: number
  readonly type: string
  readonly data: string
  readonly correlation_id: string | null
  readonly causation_id: string | null
  readonly hops: number
}

export const logOf = (path: string, context = 'ordering'): LogRow[] =>
  query(path, `SELECT * FROM pabal_${context}_event ORDER BY position`)

export interface ParkedRow {
  readonly consumer: string
  readonly key: string
  readonly status: 'retrying' | 'dead'
  readonly sequence: number
  readonly attempts: number
  readonly next_ms: number
  readonly error: string
  readonly waiting: number
}

export const parkedIn = (path: string, context = 'ordering'): ParkedRow[] =>
  query(path, `SELECT * FROM pabal_${context}_parked ORDER BY key`)

/** Per key, what was applied, in the order of application: 1, 2, 3 … when all is well. */
export const sequencesOf = (
  rows: readonly { readonly key: string; readonly sequence: number }[],
): Record<string, number[]> => {
  const byKey: Record<string, number[]> = {}
  for (const { key, sequence } of rows) (byKey[key] ??= []).push(sequence)
  return byKey
}

/** Sleeps at most so long at a time: what normally looks again after seconds does so at once. */
export const impatient = (sleepMsMax = 20): Environment => ({
  ...systemEnvironment,
  sleep: (ms, signal) => systemEnvironment.sleep(Math.min(ms, sleepMsMax), signal),
})

/** An app that stops with the test and collects its warnings. */
export const testApp = (
  contexts: readonly Bound[],
  options: Omit<Parameters<typeof createApp>[0], 'contexts' | 'onWarning'> = {},
): App & { readonly warnings: readonly string[] } => {
  const warnings: string[] = []
  const app = createApp({
    ...options,
    contexts,
    onWarning: (what, error) => warnings.push(`${what}: ${error instanceof Error ? error.message : String(error)}`),
  })
  onTestFinished(() => app.stop())
  return Object.assign(app, { warnings })
}

type OrderingOptions = Parameters<typeof ordering.with>[0]

/** `ordering` alone on a new file, with the ledger and a table `state`. */
export const openOrdering = async (
  handlers: NonNullable<OrderingOptions['handlers']> = [],
  options: Parameters<typeof testApp>[1] & { path?: string; prepare?: NonNullable<OrderingOptions['prepare']> } = {},
) => {
  const { path = `${await testFolder()}/ordering.db`, prepare, ...rest } = options
  const tables = (tx: SqliteTx): unknown => {
    prepareLedger(tx)
    tx.run('CREATE TABLE IF NOT EXISTS state (id TEXT)')
    return prepare?.(tx)
  }
  const app = testApp([ordering.with({ store: sqlite(path), handlers, prepare: tables })], rest)
  const context = app.context(ordering)
  /** One order of each id, in one unit. */
  const place = (...ids: readonly string[]): Promise<void> =>
    context.transaction(({ raise }) => {
      for (const id of ids) raise(OrderPlaced, order(id))
    })
  return { path, app, context, place }
}

/** An error of pabal with this code, for `toEqual`. */
export const withCode = (code: string, message = /^/): unknown =>
  expect.objectContaining({ code, message: expect.stringMatching(message) as unknown })
