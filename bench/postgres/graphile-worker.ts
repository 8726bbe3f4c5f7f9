/** graphile-worker: jobs added by SQL in the caller's transaction, run from a local queue. */

import { type ClientBase, Pool, type PoolClient } from 'pg'
import { labelOf, load } from '../competitors.ts'
import { type Appender, type Arm, drainBy } from './arm.ts'
import { insertOrder, newOrders, nextNumbers, type Order, orderRow, orderTable, topic } from './orders.ts'
import { withClient } from './server.ts'

type TaskList = Readonly<Record<string, (payload: Order) => void>>
interface Runner {
  stop(): Promise<void>
}
interface Options {
  readonly connectionString?: string
  readonly pgPool?: Pool
  readonly noHandleSignals?: boolean
  readonly logger?: unknown
  readonly taskList?: TaskList
  readonly preset?: { readonly worker: Readonly<Record<string, unknown>> }
}
interface GraphileWorker {
  readonly Logger: new (factory: () => () => void) => unknown
  readonly run: (options: Options) => Promise<Runner>
  readonly runMigrations: (options: Options) => Promise<void>
}

const worker = async (): Promise<GraphileWorker & { silent: unknown }> => {
  const loaded = await load<GraphileWorker>('graphile-worker')
  return { ...loaded, silent: new loaded.Logger(() => () => {}) }
}

const setUp = async (url: string): Promise<void> => {
  await withClient(url, (client) => client.query(orderTable))
  const { runMigrations, silent } = await worker()
  await runMigrations({ connectionString: url, logger: silent })
}

const addJob = (client: PoolClient, order: Order) =>
  client.query({
    name: 'add-job',
    text: `SELECT graphile_worker.add_job($1, $2::json)`,
    values: [topic, JSON.stringify(order)],
  })

const addJobs = (client: ClientBase, orders: readonly Order[]) =>
  client.query({
    name: 'add-jobs',
    text: `SELECT count(*) FROM graphile_worker.add_jobs(
             array(SELECT json_populate_recordset(NULL::graphile_worker.job_spec, $1::json)), true)`,
    values: [JSON.stringify(orders.map((payload) => ({ identifier: topic, payload })))],
  })

const append: NonNullable<Arm['append']> = async (url, { connections }): Promise<Appender> => {
  const pool = new Pool({ connectionString: url, max: connections })
  const inTransaction = async (order: Order, add: (client: PoolClient) => Promise<unknown>): Promise<void> => {
    const client = await pool.connect()
    await client.query('BEGIN')
    await client.query({ name: 'order', text: insertOrder, values: orderRow(order) })
    await add(client)
    await client.query('COMMIT')
    client.release()
  }
  return {
    one: (order) => inTransaction(order, (client) => addJob(client, order)),
    hundred: (orders) => inTransaction(orders[0]!, (client) => addJobs(client, orders)),
    [Symbol.asyncDispose]: () => pool.end(),
  }
}

const fill = (url: string, events: number): Promise<void> =>
  withClient(url, async (client) => {
    // `add_jobs` knows only names of tasks that were there before.
    await client.query('SELECT graphile_worker.add_job($1)', [topic])
    await client.query('DELETE FROM graphile_worker._private_jobs WHERE payload::text = $1', ['{}'])
    for (let filled = 0; filled < events; filled += 1_000) {
      const first = nextNumbers(1_000)
      await addJobs(client, Array.from({ length: 10 }, (_, i) => newOrders(first + i * 100)).flat())
    }
  })

const drain: NonNullable<Arm['drain']> = async (url, options) => {
  const { run, silent } = await worker()
  return drainBy(options, async (countdown) => {
    const runner = await run({
      connectionString: url,
      noHandleSignals: true,
      logger: silent,
      taskList: { [topic]: () => countdown.handled() },
      preset: {
        worker: {
          concurrentJobs: 100,
          maxPoolSize: 10,
          localQueue: { size: 500 },
          completeJobBatchDelay: 0,
          failJobBatchDelay: 0,
        },
      },
    })
    return () => runner.stop()
  })
}

const consume: NonNullable<Arm['consume']> = async (url, { topics, handle }) => {
  const { run, silent } = await worker()
  const names = Array.from({ length: topics }, (_, n) => (n === 0 ? topic : `${topic}-${n}`))
  const runner = await run({
    connectionString: url,
    noHandleSignals: true,
    logger: silent,
    taskList: Object.fromEntries(names.map((name) => [name, ({ number }) => handle(number)])),
    preset: { worker: { concurrentJobs: 10, maxPoolSize: 10 } },
  })
  return { [Symbol.asyncDispose]: () => runner.stop() }
}

export const graphileWorker: Arm = {
  name: labelOf('graphile-worker'),
  note: '`add_job` and `add_jobs` by SQL; drained with a local queue of 500, 100 jobs at once, completions batched.',
  setUp,
  append,
  fill,
  drain,
  consume,
}
