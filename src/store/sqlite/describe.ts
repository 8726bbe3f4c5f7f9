/** What stands in a SQLite file: sizes, migrations, and the logs inside of a backup. Reads only. */

import { existsSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { pathToFileURL } from 'node:url'
import { PabalError } from '../../core/errors.ts'
import type { BackedUpLog, Description, MigrationState } from '../store.ts'
import type { Connection } from './connection.ts'
import { storeError } from './errors.ts'
import { checkIsDatabase } from './file.ts'
import { headSqlOf } from './log.ts'
import { appliedMigrations, migrations, prefixOf } from './migrate.ts'

export const ddl = (context: string): string =>
  migrations
    .map(({ version, name, sql }) => `-- migration ${version}: ${name}\n${sql(prefixOf(context)).trim()}\n`)
    .join('\n')

export const describe = (connection: Connection, path: string, contexts: readonly string[]): Description => {
  const pragma = (name: string): number =>
    Number(Object.values(connection.prepare(`PRAGMA ${name}`).get() ?? { n: 0 })[0])
  const wal = `${path}-wal`
  return {
    bytes: pragma('page_count') * pragma('page_size'),
    pendingBytes: existsSync(wal) ? statSync(wal).size : 0,
    migrations: contexts.flatMap((context) => migrationStates(connection, context)),
  }
}

const migrationStates = (connection: Connection, context: string): MigrationState[] => {
  const applied = appliedMigrations(connection, context)
  const missing = migrations.filter(({ version }) => !applied.some((known) => known.version === version))
  return [...applied, ...missing.map(({ version, name }) => ({ version, name, atMs: null }))].map((state) => ({
    context,
    ...state,
  }))
}

/**
 * A backup is one whole file. What still has a write-ahead log beside it is a database in use, or a copy made by hand of which a
 * part is missing. @throws PABAL_STORE_UNREACHABLE, PABAL_STORE_FOREIGN
 */
export const checkIsBackup = (backup: string): void => {
  if (!existsSync(backup)) throw new PabalError('PABAL_STORE_UNREACHABLE', `there is no backup ${backup}`)
  checkIsDatabase(backup)
  const wal = `${backup}-wal`
  if (existsSync(wal) && statSync(wal).size > 0)
    throw new PabalError('PABAL_STORE_FOREIGN', `${backup} has ${wal} beside it: it is a database in use, not a backup`)
}

/** @throws PABAL_STORE_UNREACHABLE, PABAL_STORE_FOREIGN (also when no log is in it) */
export const peek = (backup: string): readonly BackedUpLog[] => {
  checkIsBackup(backup)
  // Immutable: reading leaves no files behind, and needs no right to write.
  const url = pathToFileURL(resolve(backup))
  url.searchParams.set('immutable', '1')
  const db = new DatabaseSync(url, { readOnly: true })
  try {
    const known = db.prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'pabal_migration'").get()
    if (known === undefined) throw new PabalError('PABAL_STORE_FOREIGN', `${backup} holds no log of pabal`)
    const contexts = db.prepare('SELECT DISTINCT context FROM pabal_migration ORDER BY context').all()
    return contexts.map(({ context }) => ({
      context: String(context),
      ...(db.prepare(headSqlOf(prefixOf(String(context)))).get() as unknown as {
        position: number
        incarnation: string
      }),
    }))
  } catch (error) {
    throw storeError(error, backup)
  } finally {
    db.close()
  }
}
