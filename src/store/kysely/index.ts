/** `pabal/kysely`: Kysely as the handle on a context's transactions, over the context's own store. */

import type { DatabaseSync } from 'node:sqlite'
import { Kysely, type KyselyPlugin } from 'kysely'
import type { OwnTransaction, PostgresTx } from '../postgres/index.ts'
import type { SqliteTx } from '../sqlite/tx.ts'
import type { Session, Store } from '../store.ts'
import { postgresDialect } from './postgres.ts'
import { sqliteDialect } from './sqlite.ts'

export interface KyselyOptions {
  /** Kysely's plugins, in their order; for example `new WithSchemaPlugin('sales')`. Default: none. */
  readonly plugins?: readonly KyselyPlugin[]
}

type OnSqlite = Store<SqliteTx, DatabaseSync>
type OnPostgres = Store<PostgresTx, OwnTransaction>

const isOnPostgres = (base: OnSqlite | OnPostgres): base is OnPostgres => base.database.dialect === 'postgres'

/**
 * The given store with `Kysely<Tables>` as `tx`, so that a context can move between SQLite and Postgres with its queries
 * unchanged. `tx` is bound to its unit: no transactions of its own (PABAL_TRANSACTION_CONTROL), unusable after the unit's end
 * (PABAL_UNIT_CLOSED).
 *
 * Values come as the driver parses them. On Postgres a `bigint`, hence every `count`, and a `numeric`, hence the `sum` of
 * bigints, are strings unless the pool is given parsers of its own (`new pg.Pool({ types })`).
 *
 * A context that is defined with `kysely<Tables>` takes either store, so `join` takes a transaction of either; that of another
 * database is refused when it is called (PABAL_NOT_A_TRANSACTION).
 */
export const kysely = <Tables>(
  base: OnSqlite | OnPostgres,
  { plugins = [] }: KyselyOptions = {},
): Store<Kysely<Tables>, DatabaseSync | OwnTransaction> => {
  const dialectOf = isOnPostgres(base)
    ? (handle: 'tx' | 'reader', session: Session) => postgresDialect(base[handle](session))
    : (handle: 'tx' | 'reader', session: Session) => sqliteDialect(base[handle](session), session)
  const bound = (handle: 'tx' | 'reader') => (session: Session) =>
    new Kysely<Tables>({ dialect: dialectOf(handle, session), plugins: [...plugins] })
  return { '~pabal': {}, database: base.database, tx: bound('tx'), reader: bound('reader') }
}
