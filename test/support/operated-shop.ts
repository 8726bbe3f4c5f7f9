/**
 * A shop to operate on: real invoices, titles in Korean, and handlers that fail for the keys that stand in `failing.json`, so
 * that a test breaks and mends them while the app runs. As a program it runs the app until it is told 'stop'.
 */

import { appendFileSync, existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { gunzipSync } from 'node:zlib'
import { parse } from 'csv-parse/sync'
import { type App, createApp, defineContext, defineEvent, definePublicEvent, publish } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { z } from 'zod'

const Order = z.object({ orderId: z.string(), country: z.string(), totalPence: z.int() })
export type Order = z.output<typeof Order>
const key = (order: { orderId: string }): string => order.orderId

export const OrderPlacedV1 = definePublicEvent('shop.order-placed.v1', {
  kind: 'domain',
  schema: Order,
  key,
  title: '주문됨',
  attributes: { size: ({ totalPence }) => (totalPence > 1_000_000 ? 'large' : 'small') },
})
export const OrderPlaced = defineEvent('ordering.order-placed', { schema: Order, key, title: '주문됨' })
export const OrderCancelled = defineEvent('ordering.order-cancelled', { schema: Order, key, title: '주문취소됨' })
export const OrderCharged = defineEvent('ordering.order-charged', { schema: Order, key, title: '결제됨' })

export const ordering = defineContext('ordering', {
  store: sqlite,
  title: '주문',
  events: [OrderPlaced, OrderCancelled, OrderCharged],
  publishes: [publish(OrderPlaced, OrderPlacedV1, ({ data }) => data)],
})
export const shipping = defineContext('shipping', { store: sqlite, title: '배송', events: [] })

export const failingFile = (folder: string): string => join(folder, 'failing.json')

/** Throws what the file says for this consumer and key. */
const failIfTold = (folder: string, consumer: string, event: { key: string; data: Order }): void => {
  if (!existsSync(failingFile(folder))) return
  const failing = JSON.parse(readFileSync(failingFile(folder), 'utf8')) as Record<string, Record<string, string>>
  const message = failing[consumer]?.[event.key] ?? failing[consumer]?.['*']
  // A corrected payload is one of another country.
  if (message !== undefined && event.data.country !== 'Corrected') throw new TypeError(message)
}

export interface Options {
  /** Handlers that are left out, as after a deployment that forgot them. */
  readonly without?: readonly string[]
  /** Renamed handlers: old name to new. */
  readonly renamed?: Readonly<Record<string, string>>
  /** Shipments are opened for large orders only. */
  readonly largeOnly?: true
}

export const createOperatedShop = (folder: string, { without = [], renamed = {}, largeOnly }: Options = {}): App => {
  const nameOf = (name: string) => renamed[name] ?? name
  const note = (consumer: string, text: string) => appendFileSync(join(folder, `${consumer}.txt`), `${text}\n`)
  const retry = { attempts: 2, first: 1, max: 2 } as const
  const list = ordering.on(
    [OrderPlaced, OrderCancelled],
    nameOf('order-list'),
    (event, { tx }) => {
      failIfTold(folder, 'order-list', event)
      tx.run(
        'insert into applied (consumer, id, key, sequence, country) values (?, ?, ?, ?, ?)',
        'order-list',
        event.id,
        event.key,
        event.sequence,
        event.data.country,
      )
    },
    { title: '주문 목록', retry },
  )
  const charge = ordering.on(
    OrderPlaced,
    nameOf('charge'),
    (event, { idempotencyKey }) => {
      failIfTold(folder, 'charge', event)
      note('charge', idempotencyKey)
      return event.data
    },
    {
      effects: 'external',
      startAt: 'beginning',
      retry,
      record: (data, _event, { raise }) => raise(OrderCharged, data),
    },
  )
  const open = shipping.consume(
    OrderPlacedV1,
    nameOf('open-shipment'),
    (event, { tx }) => {
      failIfTold(folder, 'open-shipment', event)
      tx.run(
        'insert into applied (consumer, id, key, sequence, country) values (?, ?, ?, ?, ?)',
        'open-shipment',
        event.id,
        event.key,
        event.sequence,
        event.data.country,
      )
    },
    { retry, within: '1 hour', ...(largeOnly === true ? { filter: { size: ['large'] } } : {}) },
  )
  const kept = <H>(name: string, handler: H): H[] => (without.includes(name) ? [] : [handler])
  const prepare = (tx: { run(sql: string): unknown }) =>
    tx.run(
      'create table if not exists applied (n integer primary key, consumer text, id text, key text, sequence integer, country text)',
    )
  return createApp({
    contexts: [
      ordering.with({
        store: sqlite(join(folder, 'ordering.db'), { busyTimeoutMs: 300 }),
        handlers: [...kept('order-list', list), ...kept('charge', charge)],
        prepare,
      }),
      shipping.with({
        store: sqlite(join(folder, 'shipping.db'), { busyTimeoutMs: 300 }),
        handlers: kept('open-shipment', open),
        prepare,
      }),
    ],
    onWarning: () => {},
  })
}

const retail = new URL('../../examples/shop/data/online-retail-2010-12_2011-05.csv.gz', import.meta.url)

/** The first invoices of the real file. */
export const realOrders = (orders: number): readonly Order[] => {
  // Rows are about 90 bytes, invoices about 20 rows.
  const text = gunzipSync(readFileSync(retail))
    .subarray(0, orders * 4_000)
    .toString('utf8')
  const rows = parse(text.slice(0, text.lastIndexOf('\n')), { columns: true, relax_quotes: true }) as Record<
    string,
    string
  >[]
  const totals = new Map<string, Order>()
  for (const { InvoiceNo = '', Country = '', Quantity, UnitPrice } of rows) {
    const order = totals.get(InvoiceNo) ?? { orderId: InvoiceNo, country: Country, totalPence: 0 }
    totals.set(InvoiceNo, {
      ...order,
      totalPence: order.totalPence + Math.round(Number(Quantity) * Number(UnitPrice) * 100),
    })
  }
  return [...totals.values()].filter(({ orderId }) => /^\d/.test(orderId)).slice(0, orders)
}

export const place = (app: App, orders: readonly Order[]): Promise<void> =>
  app.context(ordering).transaction(({ raise }) => {
    for (const order of orders) raise(OrderPlaced, order)
  })

if (import.meta.main) {
  const [folder = '', options = '{}'] = process.argv.slice(2)
  const app = createOperatedShop(folder, JSON.parse(options) as Options)
  await app.start()
  console.log('started')
  for await (const line of createInterface({ input: process.stdin })) {
    if (line === 'stop') break
    if (line.startsWith('place ')) await place(app, JSON.parse(line.slice(6)) as Order[])
  }
  await app.stop()
  console.log('stopped')
  process.exit()
}
