/** `pabal/postgres`: a context's own database on Postgres 14 to 18, over the caller's pool of `pg`. */

import { PabalError } from '../../core/errors.ts'
import type { Session, Store } from '../store.ts'
import type { PostgresSession } from './connection.ts'
import { ownTools, PostgresDatabase, type PostgresOptions } from './database.ts'
import type { PgPool } from './driver.ts'
import type { OwnTransaction } from './join/own-transaction.ts'
import { ddlOf, schemaName } from './migrate.ts'
import { GuardedTx, type PostgresTx } from './tx.ts'

export { type Capture, type CaptureOptions, type CaptureStatus, captureChanges } from './cdc/capture.ts'
export { type LogicalReplicationOptions, logicalReplication, type WakeUps } from './cdc/logical-replication.ts'
export type { Row, RowChange, SourceTransaction, TransactionHeader } from './cdc/source-transaction.ts'
export type { CapturingContext } from './cdc/translation.ts'
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

/** Of the driver's, from 8.12 on: a statement without values that is not sent as a text of several. */
type QueryClass = new (config: object) => { readonly queryMode?: unknown }

/** @throws PABAL_COMPOSITION_INVALID */
const checkPool = (pool: PgPool): void => {
  const takes = 'postgres() takes a Pool of the package pg, 8.17 or later'
  const given = pool as (Partial<PgPool> & { readonly Client?: unknown }) | null | undefined
  if (typeof given?.connect !== 'function' || typeof given.options !== 'object' || typeof given.Client !== 'function')
    throw new PabalError('PABAL_COMPOSITION_INVALID', takes)
  const { Query } = given.Client as { readonly Query?: QueryClass }
  if (typeof Query !== 'function' || new Query({ text: '', queryMode: 'extended' }).queryMode !== 'extended')
    throw new PabalError('PABAL_COMPOSITION_INVALID', `${takes}; this one is older, or its native variant`)
}

/** Host and database of a pool, without a password. */
const labelOf = (pool: PgPool): string => {
  const { connectionString, host, port, database } = pool.options as Readonly<Record<string, string | undefined>>
  if (typeof connectionString === 'string')
    try {
      const { hostname, port: at, pathname } = new URL(connectionString)
      return `postgres://${hostname}${at === '' ? '' : `:${at}`}${pathname}`
    } catch {
      return 'postgres'
    }
  return `postgres://${host ?? 'localhost'}${port === undefined ? '' : `:${port}`}/${database ?? ''}`
}

/**
 * A store in a Postgres database, over a pool that stays the caller's: it is not ended when the app stops. Each context has a
 * schema of its own; contexts over one pool share connections and transactions. One connection more than the pool's is opened
 * with its settings, to number what was committed and to listen. While a unit has a connection it is pipelined, so that appending
 * costs no round trip of its own. @throws PABAL_COMPOSITION_INVALID for what is not a pool
 */
export const postgres = (pool: PgPool, options: PostgresOptions = {}): Store<PostgresTx, OwnTransaction> => {
  checkPool(pool)
  const label = labelOf(pool)
  const tx = (session: Session): PostgresTx => new GuardedTx(session as PostgresSession)
  return {
    '~pabal': {},
    database: {
      identity: pool,
      label,
      dialect: 'postgres',
      open: async (environment, { warn } = {}) => {
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
