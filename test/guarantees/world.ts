/** The world in which the guarantees are tried: real orders, handlers of both kinds, and two contexts in files of their own. */

import { appendFileSync, existsSync, readFileSync } from 'node:fs'
import { type App, createApp, type Store } from 'pabal'
import { type SqliteTx, sqlite } from 'pabal/sqlite'
import type { DatabaseSync } from 'node:sqlite'
import { expect } from 'vitest'
import { groupInvoices } from '../../examples/shop/retail/invoices.ts'
import { readRetailRows } from '../../examples/shop/retail/rows.ts'
import {
  enter,
  type LogRow,
  ledgerOf,
  logOf,
  OrderPaid,
  OrderPaidV1,
  OrderPlaced,
  OrderPlacedV1,
  order,
  ordering,
  prepareLedger,
  rowsOf,
  sequencesOf,
  shipping,
} from '../support/shop.ts'

const rowsFile = 'examples/shop/data/online-retail-2010-12_2011-05.csv.gz'

/** The first real orders: a customer's orders share one key. */
export const realOrders = async (count: number): Promise<{ orderId: string; n: number }[]> => {
  const orders: { orderId: string; n: number }[] = []
  for await (const invoice of groupInvoices(readRetailRows(rowsFile))) {
    if (invoice.kind !== 'invoice' || invoice.customerId === undefined) continue
    orders.push(order(invoice.customerId, Math.abs(invoice.rows.reduce((sum, { quantity }) => sum + quantity, 0))))
    if (orders.length === count) break
  }
  return orders
}

type SqliteStore = Store<SqliteTx, DatabaseSync>

export interface WorldOptions {
  readonly leaseMs?: number
  /** Wraps the stores, to take a guard out or to crash. */
  readonly store?: (store: SqliteStore) => SqliteStore
  /** Fails a run of the shipping handler now and then. */
  readonly failing?: () => boolean
  /** Lanes of the shipping handler. */
  readonly lanes?: number
}

export const paths = (folder: string) => ({
  ordering: `${folder}/ordering.db`,
  shipping: `${folder}/shipping.db`,
  calls: `${folder}/calls.jsonl`,
})

/** `ledger` and `pay` read the own log, `ship` reads the other's; `pay` calls outside and records that it was paid. */
export const openWorld = (folder: string, options: WorldOptions = {}): App => {
  const { leaseMs = 400, store = (plain) => plain, failing = () => false, lanes = 1 } = options
  const { ordering: orderingPath, shipping: shippingPath, calls } = paths(folder)
  const retry = { attempts: 1_000, first: 5, max: 20 }
  return createApp({
    leaseMs,
    onWarning: () => {},
    contexts: [
      ordering.with({
        store: store(sqlite(orderingPath)),
        prepare: (tx) => {
          prepareLedger(tx)
          tx.run('CREATE TABLE IF NOT EXISTS state (request TEXT PRIMARY KEY, id TEXT NOT NULL)')
        },
        handlers: [
          ordering.on([OrderPlaced, OrderPaid], 'ledger', (event, { tx }) => enter(tx, 'ledger', event)),
          ordering.on(
            OrderPlaced,
            'pay',
            ({ id, key, sequence }, { idempotencyKey }) => {
              appendFileSync(calls, `${JSON.stringify({ idempotencyKey, id, key, sequence })}\n`)
              return id
            },
            {
              effects: 'external',
              startAt: 'beginning',
              record: (_id, { data }, { raise }) => raise(OrderPaid, data),
            },
          ),
        ],
      }),
      shipping.with({
        store: store(sqlite(shippingPath)),
        prepare: prepareLedger,
        handlers: [
          shipping.consume(
            [OrderPlacedV1, OrderPaidV1],
            'ship',
            (event, { tx }) => {
              enter(tx, 'ship', event)
              if (failing()) throw new Error('now and then')
            },
            { retry, lanes },
          ),
        ],
      }),
    ],
  })
}

/** One unit: a row of state and its event, once per request. */
export const place = (app: App, request: string, data: { orderId: string; n: number }): Promise<void> =>
  app.context(ordering).transaction(
    ({ tx, raise }) => {
      tx.run('INSERT INTO state (request, id) VALUES (?, ?)', request, data.orderId)
      raise(OrderPlaced, data)
    },
    { idempotencyKey: request },
  )

export const placed = (log: readonly LogRow[]): LogRow[] => log.filter(({ type }) => type === OrderPlaced.type)

/** P1: what the state says, the log says. */
export const expectStateIsLog = (folder: string): void => {
  const { ordering: path } = paths(folder)
  const state = rowsOf<{ id: string }>(path, 'SELECT id FROM state').map(({ id }) => id)
  expect(
    placed(logOf(path))
      .map(({ key }) => key)
      .toSorted(),
  ).toEqual(state.toSorted())
}

/** P2 and P3: positions 1, 2, 3 … and per key sequences 1, 2, 3 … in the same order. */
export const expectGapless = (log: readonly LogRow[]): void => {
  expect(log.map(({ position }) => position)).toEqual(log.map((_, index) => index + 1))
  for (const sequences of Object.values(sequencesOf(log)))
    expect(sequences).toEqual(sequences.map((_, index) => index + 1))
}

/** What is wrong with what a consumer has applied: nothing missing, nothing twice, in order per key (P4, P5). */
export const violations = (
  applied: readonly { event_id: string; key: string; sequence: number }[],
  expected: readonly LogRow[],
) => {
  const counts = new Map<string, number>()
  for (const { event_id } of applied) counts.set(event_id, (counts.get(event_id) ?? 0) + 1)
  const disorder = Object.values(sequencesOf(applied)).filter((sequences) =>
    sequences.some((sequence, index) => index > 0 && sequence <= sequences[index - 1]!),
  )
  return {
    missing: expected.filter(({ id }) => !counts.has(id)).length,
    twice: [...counts.values()].filter((count) => count > 1).length,
    outOfOrder: disorder.length,
  }
}

export const none = { missing: 0, twice: 0, outOfOrder: 0 }

export interface Call {
  readonly idempotencyKey: string
  readonly id: string
  readonly key: string
  readonly sequence: number
}

/** Whole lines only: a killed process may leave half of one. */
export const callsOf = (folder: string): Call[] => {
  const { calls } = paths(folder)
  if (!existsSync(calls)) return []
  return readFileSync(calls, 'utf8')
    .split('\n')
    .flatMap((line) => {
      try {
        return [JSON.parse(line) as Call]
      } catch {
        return []
      }
    })
}

/** Everything that must hold of a settled world, however it came there. */
export const expectWhole = (folder: string): void => {
  const { ordering: path, shipping: shippingPath } = paths(folder)
  const log = logOf(path)
  expectStateIsLog(folder)
  expectGapless(log)
  expect(violations(ledgerOf(path, 'ledger'), log)).toEqual(none)
  expect(violations(ledgerOf(shippingPath, 'ship'), log)).toEqual(none)
  // Outside: at least once, with a key that is the same for every run; inside, its record: exactly once.
  const calls = callsOf(folder)
  expect(new Set(calls.map(({ id }) => id))).toEqual(new Set(placed(log).map(({ id }) => id)))
  for (const { idempotencyKey, id } of calls) expect(idempotencyKey).toBe(`ordering/pay:${id}`)
  const paid = log.filter(({ type }) => type === OrderPaid.type)
  expect(paid.map(({ causation_id }) => String(causation_id)).toSorted()).toEqual(
    placed(log)
      .map(({ id }) => id)
      .toSorted(),
  )
}
