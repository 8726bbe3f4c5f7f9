/** `pabal/sqlite`: a context's own database in one SQLite file, on `node:sqlite`. */

import type { DatabaseSync } from 'node:sqlite'
import { realpathSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import type { Session, Store } from '../store.ts'
import type { SqliteSession } from './connection.ts'
import { memory, SqliteDatabase, type SqliteOptions } from './database.ts'
import { ddl, peek } from './describe.ts'
import { checkExists, checkIsDatabase, prepareFolder } from './file.ts'
import { restore } from './restore.ts'
import { GuardedTx, type SqliteTx } from './tx.ts'

export type { SqliteOptions } from './database.ts'
export type { SqliteTx, SqliteValue } from './tx.ts'

const identityOf = (path: string): string => {
  const folder = dirname(resolve(path))
  try {
    return join(realpathSync(folder), basename(path))
  } catch {
    return resolve(path)
  }
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
      open: (environment, { existing = false } = {}) => {
        if (path !== memory) {
          if (existing) checkExists(path)
          else prepareFolder(path)
          checkIsDatabase(path)
        }
        return SqliteDatabase.open(path, environment, { ...options, existing })
      },
      ddl,
      peek: async (backup) => peek(backup),
      restore: async (backup) => restore(path, backup),
    },
    tx,
    reader: tx,
  }
}
