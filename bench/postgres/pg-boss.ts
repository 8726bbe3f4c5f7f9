/** pg-boss: jobs sent in the caller's transaction, fetched in batches. */

import { Pool, type PoolClient } from 'pg'
import { labelOf, load } from '../competitors.ts'
import { type Appender, type Arm, drainBy } from './arm.ts'
import { insertOrder, newOrders, nextNumbers, type Order, orderRow, orderTable, topic } from './orders.ts'
import { withClient } from './server.ts'

interface Database {
  executeSql(text: string, values?: unknown[]): Promise<{ rows: unknown[] }>
}
interface Boss {
  on(event: 'error' | 'warning', listener: (what: unknown) => void): unknown
  start(): Promise<unknown>
  stop(options: { graceful: boolean }): Promise<void>
  createQueue(name: string, options?: { notify?: boolean }): Promise<void>
  insert(name: string, jobs: readonly { data: object }[], options?: { db?: Database }): Promise<unknown>
  work(
    name: string,
    options: { batchSize: number; burstWhenBatchFull?: boolean; pollingIntervalSeconds?: number },
    handler: (jobs: readonly { data: Order }[]) => Promise<void>,
  ): Promise<string>
}
interface PgBoss {
  readonly PgBoss: new (options: object) => Boss
}

const started = async (url: string, options: object = {}): Promise<Boss> => {
  const { PgBoss } = await load<PgBoss>('pg-boss')
  const boss = new PgBoss({ connectionString: url, ...options })
  boss.on('error', (error) => console.error('pg-boss:', error))
  boss.on('warning', () => {})
  await boss.start()
  return boss
}

/** Without its housekeeping, which others do while somebody measures. */
const quiet = { supervise: false, schedule: false }

const setUp =
  (queue: { notify: boolean }) =>
  async (url: string): Promise<void> => {
    await withClient(url, (client) => client.query(orderTable))
    const boss = await started(url, quiet)
    await boss.createQueue(topic, queue)
    await boss.stop({ graceful: false })
  }

const append: NonNullable<Arm['append']> = async (url, { connections }): Promise<Appender> => {
  const pool = new Pool({ connectionString: url, max: connections })
  const boss = await started(url, { ...quiet, max: 1 })
  const inTransaction = async (orders: readonly Order[]): Promise<void> => {
    const client = await pool.connect()
    await client.query('BEGIN')
    await client.query({ name: 'order', text: insertOrder, values: orderRow(orders[0]!) })
    await boss.insert(
      topic,
      orders.map((data) => ({ data })),
      { db: databaseOn(client) },
    )
    await client.query('COMMIT')
    client.release()
  }
  return {
    one: (order) => inTransaction([order]),
    hundred: inTransaction,
    [Symbol.asyncDispose]: async () => {
      await boss.stop({ graceful: false })
      await pool.end()
    },
  }
}

const names = new Map<string, string>()
const nameOf = (text: string): string => {
  const name = names.get(text) ?? `pg-boss-${names.size}`
  names.set(text, name)
  return name
}

/** Prepared: half of the server's work for one job is planning its insert. */
const databaseOn = (client: PoolClient): Database => ({
  executeSql: (text, values = []) => client.query({ name: nameOf(text), text, values }),
})

const fill = async (url: string, events: number): Promise<void> => {
  const boss = await started(url, quiet)
  for (let filled = 0; filled < events; filled += 1_000) {
    const first = nextNumbers(1_000)
    await boss.insert(
      topic,
      Array.from({ length: 10 }, (_, i) => newOrders(first + i * 100))
        .flat()
        .map((data) => ({ data })),
    )
  }
  await boss.stop({ graceful: false })
}

const drain: NonNullable<Arm['drain']> = async (url, options) => {
  const boss = await started(url, quiet)
  return drainBy(options, async (countdown) => {
    await boss.work(topic, { batchSize: 1_000, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5 }, async (jobs) =>
      countdown.handled(jobs.length),
    )
    // The last batch is completed after its handler.
    return () => boss.stop({ graceful: true })
  })
}

const consume =
  (queue: { notify: boolean }): NonNullable<Arm['consume']> =>
  async (url, { topics, handle }) => {
    const boss = await started(url, { useListenNotify: queue.notify })
    for (let n = 0; n < topics; n++) {
      const name = n === 0 ? topic : `${topic}-${n}`
      if (n > 0) await boss.createQueue(name, queue)
      // As many as may have come between two polls.
      await boss.work(name, { batchSize: 1_000 }, async (jobs) => {
        for (const { data } of jobs) handle(data.number)
      })
    }
    return { [Symbol.asyncDispose]: () => boss.stop({ graceful: false }) }
  }

const label = labelOf('pg-boss')

export const pgBoss: Arm = {
  name: label,
  note: '`insert` with `db` on the open transaction, its statement prepared there; `work` with 1,000 a batch and `burstWhenBatchFull`. Installed with rrule-temporal 2.2.7 in place of the 2.2.8 it asks for: schedules alone use it.',
  setUp: setUp({ notify: false }),
  append,
  fill,
  drain,
  consume: consume({ notify: false }),
}

export const pgBossNotified: Arm = {
  name: `${label}, notified`,
  note: 'A queue with `notify`, workers with `useListenNotify`.',
  setUp: setUp({ notify: true }),
  append,
  consume: consume({ notify: true }),
}
