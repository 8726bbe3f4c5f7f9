/** Emmett on Postgres: streams appended with the order row in a hook before its commit, read by a pulling consumer. */

import { load, labelOf } from '../competitors.ts'
import { type Appender, type Arm, drainBy } from './arm.ts'
import { eventType, insertOrder, newOrders, nextNumbers, type Order, orderRow, orderTable } from './orders.ts'
import { withClient } from './server.ts'

interface Event {
  readonly type: string
  readonly data: Order
}
/** What stands behind its pool: a client of `pg`. */
interface Transaction {
  readonly connection: { open(): Promise<{ query(config: object): Promise<unknown> }> }
}
interface DumboPool {
  close(): Promise<void>
}
interface Consumer {
  reactor(options: { processorId: string; eachMessage(event: Event): Promise<void> }): unknown
  start(): Promise<void>
  close(): Promise<void>
}
interface EmmettPostgres {
  readonly getPostgreSQLEventStore: (url: string) => { schema: { migrate(): Promise<unknown> }; close(): Promise<void> }
  readonly appendToStream: (
    pool: DumboPool,
    stream: string,
    streamType: string,
    events: readonly Event[],
    options?: { beforeCommitHook(events: unknown, context: { transaction: Transaction }): Promise<void> },
  ) => Promise<{ success: boolean }>
  readonly postgreSQLEventStoreConsumer: (options: {
    connectionString: string
    pulling?: { batchSize?: number; pullingFrequencyInMs?: number }
  }) => Consumer
}
interface Dumbo {
  readonly dumbo: (options: { connectionString: string; pool?: unknown }) => DumboPool
}

const emmett = () => load<EmmettPostgres>('@event-driven-io/emmett-postgresql')

const setUp = async (url: string): Promise<void> => {
  await withClient(url, (client) => client.query(orderTable))
  const store = (await emmett()).getPostgreSQLEventStore(url)
  await store.schema.migrate()
  await store.close()
}

const eventsOf = (orders: readonly Order[]): readonly Event[] => orders.map((data) => ({ type: eventType, data }))

const append: NonNullable<Arm['append']> = async (url, { connections }): Promise<Appender> => {
  const { appendToStream } = await emmett()
  const { dumbo } = await load<Dumbo>('@event-driven-io/dumbo')
  const { Pool } = await import('pg')
  const pool = new Pool({ connectionString: url, max: connections })
  const dumboPool = dumbo({ connectionString: url, pool })
  const inTransaction = async (orders: readonly Order[]): Promise<void> => {
    const { success } = await appendToStream(dumboPool, orders[0]!.orderId, 'order', eventsOf(orders), {
      beforeCommitHook: async (_events, { transaction }) => {
        const client = await transaction.connection.open()
        await client.query({ name: 'order', text: insertOrder, values: orderRow(orders[0]!) })
      },
    })
    if (!success) throw new Error('Emmett did not append')
  }
  return {
    one: (order) => inTransaction([order]),
    hundred: inTransaction,
    [Symbol.asyncDispose]: async () => {
      await dumboPool.close()
      await pool.end()
    },
  }
}

const fill = async (url: string, events: number): Promise<void> => {
  const { appendToStream } = await emmett()
  const { dumbo } = await load<Dumbo>('@event-driven-io/dumbo')
  const pool = dumbo({ connectionString: url })
  for (let filled = 0; filled < events; filled += 100) {
    const orders = newOrders(nextNumbers(100))
    await appendToStream(pool, orders[0]!.orderId, 'order', eventsOf(orders))
  }
  await pool.close()
}

let processors = 0

const consumer = async (
  url: string,
  pulling: { batchSize?: number; pullingFrequencyInMs?: number },
  handle: (event: Event) => void,
): Promise<Consumer> => {
  const made = (await emmett()).postgreSQLEventStoreConsumer({ connectionString: url, pulling })
  // `eachBatch` is in its types, and not called in this version.
  made.reactor({ processorId: `processor-${++processors}`, eachMessage: async (event) => handle(event) })
  return made
}

const drain: NonNullable<Arm['drain']> = async (url, options) => {
  let failed: unknown
  return drainBy(options, async (countdown) => {
    const made = await consumer(url, { batchSize: 1_000, pullingFrequencyInMs: 1 }, () => countdown.handled())
    const running = made.start().catch((error: unknown) => (failed = error))
    return async () => {
      await made.close()
      await running
      if (failed !== undefined) console.error('Emmett:', failed)
    }
  })
}

const consume: NonNullable<Arm['consume']> = async (url, { topics, handle }) => {
  const made = await Promise.all(
    Array.from({ length: topics }, () => consumer(url, {}, ({ data }) => handle(data.number))),
  )
  const running = made.map((each) => each.start().catch((error: unknown) => console.error('Emmett:', error)))
  return {
    [Symbol.asyncDispose]: async () => {
      for (const each of made) await each.close()
      await Promise.all(running)
    },
  }
}

export const emmettPostgres: Arm = {
  name: labelOf('@event-driven-io/emmett-postgresql'),
  note: '`appendToStream` with the order row in its `beforeCommitHook`; 100 events go into one stream. Read with 1,000 a batch.',
  setUp,
  append,
  fill,
  keeps: true,
  drain,
  consume,
}
