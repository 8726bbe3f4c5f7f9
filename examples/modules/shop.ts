/** Who runs with whom, in which phase, on which file: the only place that knows. */

import { type App, createApp } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import * as deliveryModule from './delivery.ts'
import * as logisticsModule from './logistics.ts'
import { completeOrder, purchase, tables } from './purchase.ts'

const { delivery } = deliveryModule
const { logistics } = logisticsModule

export type Phase = 'before-commit' | 'durable'

/** `before-commit` needs one file for all three; `durable` does not care. */
export const createShop = (phase: Phase, fileOf: (module: string) => string): App =>
  createApp({
    contexts: [
      purchase.with({ store: sqlite(fileOf('purchase')), handlers: [completeOrder], prepare: tables }),
      logistics.with({
        store: sqlite(fileOf('logistics')),
        handlers: logisticsModule.handlers[phase],
        prepare: logisticsModule.tables,
      }),
      delivery.with({
        store: sqlite(fileOf('delivery')),
        handlers: deliveryModule.handlers[phase],
        prepare: deliveryModule.tables,
      }),
    ],
  })

/** The orders that each module has taken note of. */
export type Taken = Readonly<Record<'purchase' | 'logistics' | 'delivery', readonly string[]>>

export const taken = async (app: App): Promise<Taken> => ({
  purchase: await app.context(purchase).read(({ tx }) => orderIds(tx.all('select order_id from purchase'))),
  logistics: await app.context(logistics).read(({ tx }) => orderIds(tx.all('select order_id from picking'))),
  delivery: await app.context(delivery).read(({ tx }) => orderIds(tx.all('select order_id from booking'))),
})

const orderIds = (rows: readonly Record<string, unknown>[]): string[] =>
  rows.map((row) => String(row['order_id'])).toSorted()
