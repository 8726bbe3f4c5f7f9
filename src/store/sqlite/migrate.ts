/** Numbered migrations of one context's tables, forward only, each in the transaction that also records it. */

import { PabalError } from '../../core/errors.ts'
import type { Connection } from './connection.ts'
import { log } from './migrations/0001-log.ts'

/** Applied in order; a version, once released, never changes. */
export const migrations: readonly {
  readonly version: number
  readonly name: string
  readonly sql: (prefix: string) => string
}[] = [{ version: 1, name: 'log', sql: log }]

export const prefixOf = (context: string): string => `pabal_${context}_`

const versionTable =
  'CREATE TABLE IF NOT EXISTS pabal_migration (context TEXT NOT NULL, version INTEGER NOT NULL, name TEXT NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY (context, version)) STRICT, WITHOUT ROWID'

interface Applied {
  readonly version: number
  readonly name: string
  readonly atMs: number
}

export const appliedMigrations = (connection: Connection, context: string): readonly Applied[] => {
  const exists = connection
    .prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'pabal_migration'")
    .get()
  if (exists === undefined) return []
  return connection
    .prepare('SELECT version, name, at_ms AS atMs FROM pabal_migration WHERE context = ? ORDER BY version')
    .all(context) as unknown as Applied[]
}

/** The migrations that a context lacks, without writing. @throws PABAL_STORE_NEWER */
export const pendingMigrations = (connection: Connection, context: string): readonly number[] => {
  const from = appliedMigrations(connection, context).at(-1)?.version ?? 0
  const known = migrations.at(-1)!.version
  if (from > known)
    throw new PabalError(
      'PABAL_STORE_NEWER',
      `the tables of '${context}' have version ${from}, this code knows up to ${known}`,
    )
  return migrations.filter(({ version }) => version > from).map(({ version }) => version)
}

/** Inside a write transaction. @throws PABAL_STORE_NEWER */
export const migrate = (
  connection: Connection,
  context: string,
  options: { nowMs: number; incarnation: string },
): void => {
  connection.exec(versionTable)
  const pending = pendingMigrations(connection, context)
  for (const { version, name, sql } of migrations) {
    if (!pending.includes(version)) continue
    connection.exec(sql(prefixOf(context)))
    connection
      .prepare('INSERT INTO pabal_migration (context, version, name, at_ms) VALUES (?, ?, ?, ?)')
      .run(context, version, name, options.nowMs)
  }
  connection
    .prepare(`INSERT OR IGNORE INTO ${prefixOf(context)}meta (name, value) VALUES ('incarnation', ?)`)
    .run(options.incarnation)
}
