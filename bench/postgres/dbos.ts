/** DBOS: workflows enqueued in the caller's transaction, run from a queue. */

import { Pool, type PoolClient } from 'pg'
import { labelOf, load } from '../competitors.ts'
import { type Appender, type Arm, type Countdown, drainBy } from './arm.ts'
import { insertOrder, newOrders, nextNumbers, type Order, orderRow, orderTable, topic } from './orders.ts'
import { withClient } from './server.ts'

interface Enqueue {
  readonly queueName: string
  readonly workflowName: string
}
interface Client {
  enqueueInTransaction(client: PoolClient, options: Enqueue, order: Order): Promise<unknown>
  destroy(): Promise<void>
}
interface Sdk {
  readonly DBOS: {
    setConfig(config: object): void
    launch(): Promise<void>
    shutdown(): Promise<void>
    registerWorkflow(workflow: (order: Order) => Promise<void>, options: { name: string }): unknown
    registerQueue(name: string, options?: { minPollingIntervalMs?: number }): Promise<unknown>
  }
  readonly DBOSClient: {
    create(options: { systemDatabaseUrl: string; applicationName?: string; logger?: object }): Promise<Client>
  }
}

const sdk = () => load<Sdk>('@dbos-inc/dbos-sdk')
const application = 'bench'
const silent = {
  info: () => {},
  debug: () => {},
  warn: () => {},
  error: (...what: unknown[]) => console.error('DBOS:', ...what),
}

/** One executor per process; what its workflow does changes from run to run. */
let registered = false
let handle: (order: Order) => void = () => {}

const launched = async (
  url: string,
  pollingMs?: number,
  queues: readonly string[] = [topic],
): Promise<() => Promise<void>> => {
  const { DBOS } = await sdk()
  if (!registered) DBOS.registerWorkflow(async (order) => handle(order), { name: topic })
  registered = true
  DBOS.setConfig({ name: application, systemDatabaseUrl: url, applicationVersion: '1', logger: silent })
  await DBOS.launch()
  for (const queue of queues)
    await DBOS.registerQueue(queue, pollingMs === undefined ? {} : { minPollingIntervalMs: pollingMs })
  return () => DBOS.shutdown()
}

const setUp = async (url: string): Promise<void> => {
  await withClient(url, (client) => client.query(orderTable))
  const shutDown = await launched(url)
  await shutDown()
}

const enqueuing = async (url: string): Promise<Client> => {
  const { DBOSClient } = await sdk()
  return DBOSClient.create({ systemDatabaseUrl: url, applicationName: application, logger: silent })
}
const target: Enqueue = { queueName: topic, workflowName: topic }

const append: NonNullable<Arm['append']> = async (url, { connections }): Promise<Appender> => {
  const dbos = await enqueuing(url)
  const pool = new Pool({ connectionString: url, max: connections })
  const inTransaction = async (orders: readonly Order[]): Promise<void> => {
    const client = await pool.connect()
    await client.query('BEGIN')
    await client.query({ name: 'order', text: insertOrder, values: orderRow(orders[0]!) })
    for (const order of orders) await dbos.enqueueInTransaction(client, target, order)
    await client.query('COMMIT')
    client.release()
  }
  return {
    one: (order) => inTransaction([order]),
    hundred: inTransaction,
    [Symbol.asyncDispose]: async () => {
      await dbos.destroy()
      await pool.end()
    },
  }
}

const fill = async (url: string, events: number): Promise<void> => {
  await using appender = await append(url, { connections: 8 })
  let left = events
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      for (; left > 0; ) {
        left -= 100
        await appender.hundred!(newOrders(nextNumbers(100)))
      }
    }),
  )
}

const drain: NonNullable<Arm['drain']> = async (url, options) =>
  drainBy(options, (countdown: Countdown) => {
    handle = () => countdown.handled()
    return launched(url, 100)
  })

const consume: NonNullable<Arm['consume']> = async (url, { topics, handle: given }) => {
  handle = ({ number }) => given(number)
  const shutDown = await launched(
    url,
    undefined,
    Array.from({ length: topics }, (_, n) => (n === 0 ? topic : `${topic}-${n}`)),
  )
  return { [Symbol.asyncDispose]: shutDown }
}

export const dbos: Arm = {
  name: labelOf('@dbos-inc/dbos-sdk'),
  note: '`enqueueInTransaction`, one call for each event; the queue is looked at every 100 ms where it is drained.',
  setUp,
  append,
  fill,
  drain,
  consume,
}
