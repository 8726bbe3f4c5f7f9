/** `pabal/postgres`: a context's own database on Postgres 14 to 18, over the caller's pool of `pg`. */

import { PabalError } from '../../core/errors.ts'
import type { Session, Store } from '../store.ts'
import { type PostgresSession } from './connection.ts'
import { ownTools, PostgresDatabase, type PostgresOptions } from './database.ts'
import type { PgPool } from './driver.ts'
import type { OwnTransaction } from './join/own-transaction.ts'
import { ddlOf, schemaName } from './migrate.ts'
import { GuardedTx, type PostgresTx } from './tx.ts'

export { type LogicalReplicationOptions, logicalReplication, type WakeUps } from './cdc/logical-replication.ts'
export type { PostgresOptions } from './database.ts'
export type { PgPool } from './driver.ts'
export { fromDrizzle } from './join/from-drizzle.ts'
export { fromKnex } from './join/from-knex.ts'
export { fromKysely } from './join/from-kysely.ts'
export { fromMikroOrm } from './join/from-mikro-orm.ts'
export { fromPg } from './join/from-pg.ts'
export { fromPostgresJs } from './join/from-postgres-js.ts'
export { fromPrisma } from './join/from-prisma.ts'
export { fromTypeOrm } from './join/from-type-orm.ts'
export type { OwnTransaction } from './join/own-transaction.ts'
export type { PostgresTx } from './tx.ts'

/** Host and database of a pool, without a password. */
const labelOf = (pool: PgPool): string => {
  const { connectionString, host, port, database } = pool.options as Record<string, unknown>
  if (typeof connectionString === 'string')
    try {
      const { hostname, port: at, pathname } = new URL(connectionString)
      return `postgres://${hostname}${at === '' ? '' : `:${at}`}${pathname}`
    } catch {
      return 'postgres'
    }
  return `postgres://${String(host ?? 'localhost')}${port === undefined ? '' : `:${String(port)}`}/${String(database ?? '')}`
}

/**
 * A store in a Postgres database, over a pool that stays the caller's: it is not ended when the app stops. Each context has a
 * schema of its own; contexts over one pool share connections and transactions. One connection more than the pool's is opened
 * with its settings, to number what was committed and to listen. Build the pool with `pipeline: true`, and appending costs no
 * round trip of its own.
 */
export const postgres = (pool: PgPool, options: PostgresOptions = {}): Store<PostgresTx, OwnTransaction> => {
  const label = labelOf(pool)
  const tx = (session: Session): PostgresTx => new GuardedTx(session as PostgresSession)
  return {
    '~pabal': {},
    database: {
      identity: pool,
      label,
      dialect: 'postgres',
      open: async (environment, { warn } = {}) => {
        if (typeof pool.connect !== 'function' || typeof pool.options !== 'object')
          throw new PabalError('PABAL_COMPOSITION_INVALID', 'postgres() takes a Pool of the package pg')
        // What an idle connection says when it breaks would end the process: the pool has replaced it by then.
        pool.on('error', () => {})
        const database = new PostgresDatabase(pool, label, environment, {
          ...options,
          ...(warn === undefined ? {} : { warn }),
        })
        await database.check()
        return database
      },
      ddl: (context) => ddlOf(schemaName(options.schema?.(context) ?? `pabal_${context}`)),
      peek: () => Promise.reject(ownTools()),
      restore: () => Promise.reject(ownTools()),
    },
    tx,
    reader: tx,
  }
}
