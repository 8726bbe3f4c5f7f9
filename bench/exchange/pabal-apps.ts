/** pabal on both sides of a broker: `ordering` publishes from its Postgres log, `shipping` receives into its own. */

import { setTimeout } from 'node:timers/promises'
import { Pool } from 'pg'
import { over } from '../../src/exchange/exchange.ts'
import type { Outgoing, Transport } from '../../src/exchange/transport.ts'
import { type App, createApp, defineContext, defineEvent, type Exchange } from '../../src/index.ts'
import { postgres } from '../../src/store/postgres/index.ts'
import { z } from 'zod'
import { type Appender, effectTable, insertEffect } from '../postgres/arm.ts'
import { insertOrder, newOrder, nextNumbers, orderRow, orderTable } from '../postgres/orders.ts'
import { headOf, OrderPlaced, OrderPlacedV1, publishing } from '../postgres/pabal-context.ts'
import { context, subscriber } from './names.ts'

export interface Opened extends AsyncDisposable {
  readonly app: App
}

const connections = 16

const opened = (url: string, make: (pool: Pool) => App): Opened => {
  const pool = new Pool({ connectionString: url, max: connections })
  const app = make(pool)
  return {
    app,
    [Symbol.asyncDispose]: async () => {
      await app.stop()
      await pool.end()
    },
  }
}

/** Its relay works where it has an exchange and is started. */
export const producer = (url: string, exchange?: Exchange): Opened =>
  opened(url, (pool) =>
    createApp({
      onWarning: () => {},
      ...(exchange === undefined ? {} : { exchange }),
      contexts: [publishing.with({ store: postgres(pool), prepare: (tx) => tx.query(orderTable) })],
    }),
  )

const Opened = defineEvent('shipping.shipment-opened', {
  schema: z.object({ number: z.number() }),
  key: ({ number }) => String(number),
})
const shipping = defineContext(subscriber, { store: postgres, events: [Opened] })

/** What the handler does. */
export interface Conduct {
  /** A row for each event. */
  readonly writes?: boolean
  /** After the row's INSERT, before COMMIT. */
  readonly written?: () => void
  /** After COMMIT; costs an event of the context's own. */
  readonly committed?: (number: number) => void
}

export const consumer = (url: string, transport: Transport, { writes = true, written, committed }: Conduct): Opened => {
  const handlers = [
    shipping.consume(OrderPlacedV1, 'open-shipment', async ({ data }, { tx, raise }) => {
      if (writes) await tx.query(insertEffect, [data.number, data.total])
      written?.()
      if (committed !== undefined) raise(Opened, { number: data.number })
    }),
    ...(committed === undefined
      ? []
      : [shipping.on(Opened, 'tell', ({ data }) => committed(data.number), { phase: 'after-commit' })]),
  ]
  return opened(url, (pool) =>
    createApp({
      onWarning: () => {},
      exchange: over(transport, { from: { [context]: [OrderPlacedV1] } }),
      contexts: [shipping.with({ store: postgres(pool), handlers, prepare: (tx) => tx.query(effectTable) })],
    }),
  )
}

/** Events of one key come again and again. */
const keys = 500

/** Adds so many events to the log. */
export const append = async (url: string, events: number): Promise<void> => {
  await using made = producer(url)
  await made.app.start()
  const end = (await headOf(made.app)) + events
  for (let appended = 0; appended < events; appended += 1_000) {
    const first = nextNumbers(1_000)
    await made.app.context(publishing).transaction(({ raise }) => {
      for (let number = first; number < first + Math.min(1_000, events - appended); number++)
        raise(OrderPlaced, newOrder(number, `order-${number % keys}`))
    })
  }
  while ((await headOf(made.app)) < end) await setTimeout(10)
}

/** Publishes all that is in the log and was not yet. */
export const publishAll = async (url: string, transport: Transport): Promise<void> => {
  await using made = producer(url, over(transport))
  await made.app.settle({ withinMs: 120_000 })
}

/** A transport to nowhere, which keeps what it is given. */
export const capturing = (into: Outgoing[]): Transport => ({
  name: 'capturing',
  traits: { ordered: true, delivery: 'at-least-once', messageBytes: 1_048_576 },
  open: async () => ({
    publish: async (_channel, messages) => {
      into.push(...messages)
      return messages.map(() => undefined)
    },
    receive: () => Promise.reject(new Error('nothing comes from there')),
    [Symbol.asyncDispose]: async () => {},
  }),
})

/** An order's row and its event, in a transaction each. */
export const appender = async (url: string, transport: Transport): Promise<Appender> => {
  const made = producer(url, over(transport))
  await made.app.start()
  return {
    one: (order) =>
      made.app.context(publishing).transaction(async ({ tx, raise }) => {
        await tx.query(insertOrder, orderRow(order))
        raise(OrderPlaced, order)
      }),
    settled: () => made.app.settle(),
    [Symbol.asyncDispose]: () => made[Symbol.asyncDispose](),
  }
}
