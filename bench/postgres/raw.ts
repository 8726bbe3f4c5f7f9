/** By hand, on `pg` alone: an outbox table as a sensible team writes it, and a loop that reads it and moves a cursor. */

import { setTimeout } from 'node:timers/promises'
import { Client, Pool, type PoolClient, type QueryConfig } from 'pg'
import { type Appender, type Arm, type Drain, type DrainOptions, effectTable, insertEffect } from './arm.ts'
import { eventType, insertOrder, newId, newOrders, nextNumbers, type Order, orderRow, orderTable } from './orders.ts'
import { withClient } from './server.ts'

const tables = `
  ${orderTable};
  ${effectTable};
  CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id uuid NOT NULL,
    aggregate_id text NOT NULL,
    type text NOT NULL,
    payload json NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
  );
  CREATE TABLE version (aggregate_id text PRIMARY KEY, version bigint NOT NULL) WITH (fillfactor = 70);
  CREATE TABLE position (consumer text PRIMARY KEY, position bigint NOT NULL)`

const order = (row: Order): QueryConfig => ({ name: 'order', text: insertOrder, values: orderRow(row) })
const event = (row: Order): QueryConfig => ({
  name: 'event',
  text: 'INSERT INTO outbox (event_id, aggregate_id, type, payload) VALUES ($1, $2, $3, $4)',
  values: [newId(), row.orderId, eventType, JSON.stringify(row)],
})
const events = (rows: readonly Order[]): QueryConfig => ({
  name: 'events',
  text: `INSERT INTO outbox (event_id, aggregate_id, type, payload)
         SELECT event_id, aggregate_id, $3, payload::json FROM unnest($1::uuid[], $2::text[], $4::text[]) AS u (event_id, aggregate_id, payload)`,
  values: [rows.map(newId), rows.map(({ orderId }) => orderId), eventType, rows.map((row) => JSON.stringify(row))],
})
const version = (row: Order): QueryConfig => ({
  name: 'version',
  text: `INSERT INTO version AS v (aggregate_id, version) VALUES ($1, 1)
         ON CONFLICT (aggregate_id) DO UPDATE SET version = v.version + 1 RETURNING version`,
  values: [row.orderId],
})

/** Runs the statements of one transaction, waiting for each, or all at once where the pool pipelines. */
const transaction = async (pool: Pool, statements: readonly QueryConfig[]): Promise<void> => {
  const client = await pool.connect()
  const texts = ['BEGIN', ...statements, 'COMMIT']
  try {
    if (client.pipeline) await Promise.all(texts.map((text) => run(client, text)))
    else for (const text of texts) await run(client, text)
    client.release()
  } catch (error) {
    client.release(true)
    throw error
  }
}
const run = (client: PoolClient, statement: string | QueryConfig) =>
  typeof statement === 'string' ? client.query(statement) : client.query(statement)

interface Writing {
  readonly one?: (row: Order) => readonly QueryConfig[]
  readonly hundred?: (rows: readonly Order[]) => readonly QueryConfig[]
  readonly pipeline?: boolean
  /** Tells readers in other processes after a commit. */
  readonly notify?: boolean
}

const append =
  ({ one, hundred, pipeline = false, notify = false }: Writing) =>
  async (url: string, { connections }: { readonly connections: number }): Promise<Appender> => {
    const pool = new Pool({ connectionString: url, max: connections, pipeline })
    const bell = notify ? await DoorBell.on(url) : undefined
    return {
      ...(one && {
        one: async (row) => {
          await transaction(pool, one(row))
          bell?.ring()
        },
      }),
      ...(hundred && {
        hundred: async (rows) => {
          await transaction(pool, hundred(rows))
          bell?.ring()
        },
      }),
      [Symbol.asyncDispose]: async () => {
        await bell?.close()
        await pool.end()
      },
    }
  }

const notifyEveryMs = 5

/** Sends a notification at once, and while more come, one in 5 ms. On a connection of its own: none of it in a transaction. */
class DoorBell {
  readonly #client: Client
  #quietUntilMs = 0
  #later: NodeJS.Timeout | undefined
  #sent: Promise<unknown> = Promise.resolve()

  private constructor(client: Client) {
    this.#client = client
  }

  static async on(url: string): Promise<DoorBell> {
    const client = new Client({ connectionString: url })
    await client.connect()
    return new DoorBell(client)
  }

  ring(): void {
    const waitMs = this.#quietUntilMs - performance.now()
    if (waitMs <= 0) this.#send()
    else this.#later ??= globalThis.setTimeout(() => this.#send(), waitMs)
  }

  #send(): void {
    clearTimeout(this.#later)
    this.#later = undefined
    this.#quietUntilMs = performance.now() + notifyEveryMs
    this.#sent = this.#client.query('NOTIFY outbox')
  }

  async close(): Promise<void> {
    if (this.#later !== undefined) this.#send()
    await this.#sent
    await this.#client.end()
  }
}

const setUp = (url: string): Promise<void> => withClient(url, async (client) => void (await client.query(tables)))

const fill = async (url: string, count: number): Promise<void> => {
  await withClient(url, async (client) => {
    for (let filled = 0; filled < count; filled += 1_000) {
      const first = nextNumbers(1_000)
      await client.query(events(Array.from({ length: 10 }, (_, i) => newOrders(first + i * 100)).flat()))
    }
  })
}

interface Row {
  readonly id: string
  readonly payload: Order
}

const perRead = 1_000
const read = (after: string): QueryConfig => ({
  name: 'read',
  text: 'SELECT id, event_id, aggregate_id, type, payload FROM outbox WHERE id > $1 ORDER BY id LIMIT $2',
  values: [after, perRead],
})
const move = (consumer: string, to: string): QueryConfig => ({
  name: 'move',
  text: 'UPDATE position SET position = $1 WHERE consumer = $2',
  values: [to, consumer],
})

let consumers = 0
const newCursor = async (client: Client): Promise<string> => {
  const consumer = `consumer-${process.pid}-${++consumers}`
  await client.query('INSERT INTO position (consumer, position) VALUES ($1, 0)', [consumer])
  return consumer
}

const connected = async (url: string): Promise<Client> => {
  const client = new Client({ connectionString: url })
  await client.connect()
  return client
}

/** The payload was parsed by the driver, so there is nothing left to do for an event. */
const ignore = (_row: Row): void => {}

/** Reads, handles and moves the cursor in one transaction. */
const drain = async (url: string, options: DrainOptions): Promise<Drain> => {
  const client = await connected(url)
  const consumer = await newCursor(client)
  const handle = async (rows: readonly Row[]): Promise<void> => {
    if (options.writes === true)
      for (const { payload } of rows)
        await client.query({ name: 'effect', text: insertEffect, values: [payload.number, payload.total] })
    else for (const row of rows) ignore(row)
  }
  return {
    run: async () => {
      const startMs = performance.now()
      for (let position = '0', handled = 0; ; ) {
        await client.query('BEGIN')
        const { rows } = await client.query<Row>(read(position))
        await handle(rows)
        position = rows.at(-1)?.id ?? position
        await client.query(move(consumer, position))
        await client.query('COMMIT')
        handled += rows.length
        const wallMs = performance.now() - startMs
        if (handled >= options.events || rows.length === 0 || wallMs > options.limitMs)
          return { events: handled, wallMs }
      }
    },
    [Symbol.asyncDispose]: () => client.end(),
  }
}

/** The same with a second connection, which reads the next batch while this one is handled. */
const drainPrefetching = async (url: string, options: DrainOptions): Promise<Drain> => {
  const [reader, client] = [await connected(url), await connected(url)]
  const consumer = await newCursor(client)
  const next = (after: string) => reader.query<Row>(read(after))
  return {
    run: async () => {
      const startMs = performance.now()
      let reading = next('0')
      for (let handled = 0; ; ) {
        const { rows } = await reading
        const last = rows.at(-1)
        const done = last === undefined || handled + rows.length >= options.events
        if (!done) reading = next(last.id)
        if (last !== undefined) {
          await client.query('BEGIN')
          for (const row of rows) ignore(row)
          await client.query(move(consumer, last.id))
          await client.query('COMMIT')
        }
        handled += rows.length
        const wallMs = performance.now() - startMs
        if (done || wallMs > options.limitMs) {
          await reading
          return { events: handled, wallMs }
        }
      }
    },
    [Symbol.asyncDispose]: async () => {
      await reader.end()
      await client.end()
    },
  }
}

/** Woken by a notification, and every second without one. */
const consume: NonNullable<Arm['consume']> = async (url, { handle }) => {
  const client = await connected(url)
  const listener = await connected(url)
  const consumer = await newCursor(client)
  let position = '0'
  const stopping = new AbortController()
  let rung = Promise.withResolvers<void>()
  listener.on('notification', () => rung.resolve())
  await listener.query('LISTEN outbox')
  const loop = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      const silent = new AbortController()
      await Promise.race([rung.promise, setTimeout(1_000, undefined, { signal: silent.signal }).catch(() => {})])
      silent.abort()
      rung = Promise.withResolvers()
      for (;;) {
        await client.query('BEGIN')
        const { rows } = await client.query<Row>(read(position))
        for (const { payload } of rows) handle(payload.number)
        position = rows.at(-1)?.id ?? position
        if (rows.length > 0) await client.query(move(consumer, position))
        await client.query('COMMIT')
        if (rows.length < perRead) break
      }
    }
  }
  const looping = loop()
  return {
    [Symbol.asyncDispose]: async () => {
      stopping.abort()
      rung.resolve()
      await looping
      await client.end()
      await listener.end()
    },
  }
}

const outbox: Writing = {
  one: (row) => [order(row), event(row)],
  hundred: (rows) => [order(rows[0]!), ...rows.map(event)],
}

export const baseline = 'outbox by hand'

export const withoutEvents: Arm = {
  name: 'no events, by hand',
  setUp,
  append: append({ one: (row) => [order(row)] }),
}

export const byHand: Arm = {
  name: baseline,
  note: 'BEGIN, order, outbox row, COMMIT: named statements, four round trips. No order per key is promised, and reading `id > last` loses what commits out of order.',
  setUp,
  append: append(outbox),
  fill,
  keeps: true,
  drain,
}

export const pipelined: Arm = {
  name: 'outbox by hand, pipelined',
  note: 'The same statements sent without waiting: `new Pool({ pipeline: true })`.',
  setUp,
  append: append({ ...outbox, pipeline: true }),
}

export const unnest: Arm = {
  name: 'outbox by hand, unnest',
  note: 'All events of a transaction in one statement.',
  setUp,
  append: append({ hundred: (rows) => [order(rows[0]!), events(rows)] }),
}

export const unnestPipelined: Arm = {
  name: 'outbox by hand, unnest, pipelined',
  setUp,
  append: append({ hundred: (rows) => [order(rows[0]!), events(rows)], pipeline: true }),
}

export const versioned: Arm = {
  name: 'outbox by hand, a version row per key',
  note: 'Locks and counts a row of the key first: what an order per key costs at least in this form.',
  setUp,
  append: append({ one: (row) => [order(row), version(row), event(row)] }),
}

export const prefetching: Arm = {
  name: 'read by hand, next batch prefetched',
  setUp,
  fill,
  keeps: true,
  drain: drainPrefetching,
}

export const notified: Arm = {
  name: 'by hand, notified',
  note: 'A notification after the commit, on a connection of its own: at once, then one in 5 ms.',
  setUp,
  append: append({ ...outbox, notify: true }),
  consume,
}
