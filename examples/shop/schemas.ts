/** One Postgres database for all contexts: each has a schema of its name for its tables, and pabal's stand in one beside it. */

import { type Kysely, sql, WithSchemaPlugin } from 'kysely'
import { kysely } from 'pabal/kysely'
import { postgres } from 'pabal/postgres'
import { Pool, type PoolConfig, TypeOverrides, types } from 'pg'
import type { Create, Databases } from './databases.ts'

export interface SchemasOptions {
  readonly connection: PoolConfig
  /** False where another process has made the tables: to see that they are there waits for its transactions. Default true. */
  readonly creates?: boolean
  readonly notKept?: string
}

export function schemas({ connection, creates = true, notKept }: SchemasOptions): Databases {
  const pool = new Pool({ ...connection, pipeline: true, types: numbers })
  const store = postgres(pool)
  return {
    of: <Tables>(context: string, create?: Create<Tables>) => ({
      // Every query names the schema: what a context does not own it does not see.
      store: kysely<Tables>(store, { plugins: [new WithSchemaPlugin(context)] }),
      ...(creates && create !== undefined ? { prepare: createIn(context, create) } : {}),
    }),
    connection,
    ...(notKept === undefined ? {} : { notKept }),
    [Symbol.asyncDispose]: () => pool.end(),
  }
}

/** Counts (int8) and sums (numeric), which pg leaves as text: the shop's are far below 2^53. */
const numbers = new TypeOverrides()
for (const type of [types.builtins.INT8, types.builtins.NUMERIC]) numbers.setTypeParser(type, Number)

/** Any number: those who create at the same time take turns, since IF NOT EXISTS alone does not keep them apart. */
const creatingLock = 7_012_011

const createIn =
  <Tables>(context: string, create: Create<Tables>) =>
  async (tx: Kysely<Tables>): Promise<void> => {
    await sql`select pg_advisory_xact_lock(${creatingLock})`.execute(tx)
    await tx.schema.createSchema(context).ifNotExists().execute()
    await create(tx)
  }
