/** A log without processes: its SQL by hand, with a guard taken out of the text where a test wants that. */

import type { Client } from 'pg'
import type { EventRecord } from '../../../src/event/envelope.ts'
import { createAppend } from '../../../src/store/postgres/append.ts'
import { JoinedChannel, PostgresSession } from '../../../src/store/postgres/connection.ts'
import { createLog } from '../../../src/store/postgres/log.ts'
import { schemaName } from '../../../src/store/postgres/migrate.ts'
import { log } from '../../../src/store/postgres/migrations/0001-log.ts'
import type { PartitionSizes } from '../../../src/store/postgres/migrations/partitions.ts'
import type { TestDatabase } from '../../support/postgres.ts'
import { connected } from './connected.ts'
import type { Seen } from './workload.ts'

/** A text in the place of another. */
export type Change = readonly [from: string | RegExp, to: string]

/** @throws when there is nothing to change: a proof without a mutant proves nothing. */
export const changed = (text: string, changes: readonly Change[]): string => {
  for (const [from, to] of changes) {
    const after = text.replace(from, to)
    if (after === text) throw new Error(`there is nothing to change at ${String(from)}`)
    text = after
  }
  return text
}

export interface RigOptions {
  /** Changes of the migration. */
  readonly log?: readonly Change[]
  /** Changes a statement that appends: the one for a single event, or the one for many. */
  readonly append?: (sql: string) => string
  readonly sizes?: PartitionSizes
}

/** Events of one tick. */
const most = 20_000

export class Rig {
  readonly #schema: string
  readonly #append: ReturnType<typeof createAppend>
  readonly #change: (sql: string) => string
  readonly #log: ReturnType<typeof createLog>
  readonly #client: Client
  readonly database: TestDatabase
  /** Everything that a reader has seen, as it came. */
  readonly seen: Seen[] = []

  private constructor(database: TestDatabase, schema: string, client: Client, change = (sql: string) => sql) {
    this.database = database
    this.#schema = schema
    this.#client = client
    this.#append = createAppend('rig', schema)
    this.#log = createLog('rig', schema)
    this.#change = change
  }

  /** On a schema of its own. */
  static async create(database: TestDatabase, { log: changes = [], append, sizes }: RigOptions = {}): Promise<Rig> {
    const client = await connected(database.url)
    const schema = schemaName('rig')
    await client.query(`CREATE SCHEMA ${schema.sql}`)
    await client.query(changed(log(schema, sizes), changes))
    await client.query(`SELECT ${schema.sql}.create_partitions()`)
    return new Rig(database, schema.sql, client, append)
  }

  /** On the tables of the processes of this database, who do not hear of what it does. */
  static async beside(database: TestDatabase): Promise<Rig> {
    return new Rig(database, schemaName('pabal_ordering').sql, await connected(database.url))
  }

  get schema(): string {
    return this.#schema
  }

  /** One more connection, ended with the test. */
  connect(): Promise<Client> {
    return connected(this.database.url)
  }

  /** In the client's open transaction, by the store's own statement. */
  append(client: Client, events: readonly EventRecord[]): Promise<void> {
    const own = {
      query: async (sql: string, values: readonly unknown[]) => {
        const { rows, rowCount } = await client.query<Record<string, unknown>>(this.#change(sql), [...values])
        return { rows, rowCount: rowCount ?? 0 }
      },
    }
    return this.#append(new PostgresSession('joined', async () => new JoinedChannel(own, 'rig')), events)
  }

  /** Appends and commits. */
  async commit(client: Client, ...events: EventRecord[]): Promise<void> {
    await client.query('BEGIN')
    await this.append(client, events)
    await client.query('COMMIT')
  }

  #tick(atMost: number): string {
    return `SELECT ${this.#schema}.tick(${atMost}) AS counted`
  }

  /** As a process does it. Gives what the tick has counted. */
  async tick(atMost = most, client = this.#client): Promise<number> {
    try {
      const results = (await client.query(
        `BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; ${this.#tick(atMost)}; COMMIT`,
      )) as unknown as { rows: { counted: string }[] }[]
      return Number(results[1]!.rows[0]!.counted)
    } catch (error) {
      await client.query('ROLLBACK')
      throw error
    }
  }

  /** In whatever transaction the client has open. */
  async tickInside(client: Client, atMost = most): Promise<number> {
    const { rows } = await client.query<{ counted: string }>(this.#tick(atMost))
    return Number(rows[0]!.counted)
  }

  /** Until a tick says that nothing is left. */
  async tickAll(): Promise<void> {
    while ((await this.tick()) === most);
  }

  /** A reader reads on from its cursor. */
  async read(): Promise<void> {
    const session = new PostgresSession('view', async () => new JoinedChannel(ownOf(this.#client), 'rig'))
    for (;;) {
      const after = this.seen.at(-1)?.position ?? 0
      const { events } = await this.#log.readAfter(session, { after, limit: 1_000 })
      for (const { position, id, key, sequence } of events) this.seen.push({ position, id, key, sequence })
      if (events.length < 1_000) return
    }
  }

  async sql<Row extends object>(text: string, values: readonly unknown[] = []): Promise<Row[]> {
    return (await this.#client.query(text, [...values])).rows as Row[]
  }
}

const ownOf = (client: Client) => ({
  query: async (sql: string, values: readonly unknown[]) => {
    const { rows, rowCount } = await client.query<Record<string, unknown>>(sql, [...values])
    return { rows, rowCount: rowCount ?? 0 }
  },
})
