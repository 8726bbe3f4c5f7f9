/** Where the contexts live: a file each, or a schema each in one Postgres database. No context knows which. */

import { join } from 'node:path'
import type { Kysely } from 'kysely'
import { kysely } from 'pabal/kysely'
import { sqlite } from 'pabal/sqlite'
import type { PoolConfig } from 'pg'

export interface Databases extends AsyncDisposable {
  /** A context's own; `create` makes its tables, if it has any, where they are not there yet. */
  of<Tables>(context: string, create?: Create<Tables>): Home<Tables>
  /** How another process gets there; it may hold a password. Undefined: by the folder alone. */
  readonly connection?: PoolConfig
  /** Where it is, if the folder does not say it all and the next command has to. */
  readonly notKept?: string
}

export type Create<Tables> = (tx: Kysely<Tables>) => Promise<void>

/** What `with` gives a context. */
export interface Home<Tables> {
  readonly store: ReturnType<typeof kysely<Tables>>
  readonly prepare?: Create<Tables>
}

export const files = (data: string): Databases => ({
  of: <Tables>(context: string, create?: Create<Tables>) => ({
    store: kysely<Tables>(sqlite(join(data, `${context}.db`))),
    ...(create === undefined ? {} : { prepare: create }),
  }),
  async [Symbol.asyncDispose]() {},
})
