/** `pabal/sqlite`: a context's own database in one SQLite file, on `node:sqlite`. */

import type { DatabaseSync } from 'node:sqlite'
import { realpathSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { PabalError } from '../../core/errors.ts'
import type { Session, Store } from '../store.ts'
import type { SqliteSession } from './connection.ts'
import { memory, SqliteDatabase, type SqliteOptions } from './database.ts'
import { ddl, peek } from './describe.ts'
import { checkExists, checkIsDatabase, checkWritable, prepareFolder } from './file.ts'
import { restore } from './restore.ts'
import { GuardedTx, type SqliteTx } from './tx.ts'

export type { SqliteOptions } from './database.ts'
export type { SqliteTx, SqliteValue } from './tx.ts'

/** One file has one identity, over whatever links it is named, and before it is there. */
const identityOf = (path: string): string => {
  const full = resolve(path)
  for (const [known, rest] of [
    [full, ''],
    [dirname(full), basename(full)],
  ] as const)
    try {
      return join(realpathSync(known), rest)
    } catch {
      // Not there yet.
    }
  return full
}

/**
 * A store in one SQLite file; ':memory:' for tests (every call is a database of its own, gone when its app stops).
 * WAL, `synchronous=FULL`: what is committed survives kill -9 and power loss. Several processes of one host may use the file;
 * network file systems are refused. A file may hold several contexts, which then share transactions.
 */
export const sqlite = (path: string, options: SqliteOptions = {}): Store<SqliteTx, DatabaseSync> => {
  const tx = (session: Session): SqliteTx => new GuardedTx(session as SqliteSession)
  return {
    '~pabal': {},
    database: {
      identity: path === memory ? {} : identityOf(path),
      label: path,
      dialect: 'sqlite',
      open: (environment, { existing = false } = {}) => {
        if (path !== memory) {
          if (existing) checkExists(path)
          else prepareFolder(path)
          checkIsDatabase(path)
          checkWritable(path)
        }
        return SqliteDatabase.open(path, environment, { ...options, existing })
      },
      ddl,
      peek: async (backup) => peek(backup),
      restore: async (backup) => {
        if (path === memory) throw new PabalError('PABAL_STORE_UNREACHABLE', 'a database in memory cannot be restored')
        restore(path, backup)
      },
    },
    tx,
    reader: tx,
  }
}
