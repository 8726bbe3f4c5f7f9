/** Replaces a database file by a backup. The restored logs are new incarnations, so that every cursor notices (P8). */

import { copyFileSync, existsSync, renameSync, rmSync } from 'node:fs'
import { resolve } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { systemEnvironment } from '../../core/environment.ts'
import { PabalError } from '../../core/errors.ts'
import { peek } from './describe.ts'
import { isBusy, isCorrupt, storeError } from './errors.ts'
import { checkIsDatabase } from './file.ts'
import { prefixOf } from './migrate.ts'

/** Leaving WAL needs the file alone: the one sure sign that no other process has it open. */
const checkUnused = (path: string): void => {
  if (!existsSync(path)) return
  // Only a database gives way to a backup, not whatever else has that name.
  checkIsDatabase(path)
  const db = new DatabaseSync(path, { timeout: 0 })
  try {
    const mode = db.prepare('PRAGMA journal_mode = DELETE').get()?.['journal_mode']
    if (mode !== 'delete') throw new PabalError('PABAL_RESTORE_IN_USE', `${path} stays in journal mode ${String(mode)}`)
  } catch (error) {
    if (isBusy(error))
      throw new PabalError('PABAL_RESTORE_IN_USE', `${path} is open in another process`, { cause: error })
    // A broken database is what a backup is for.
    if (!isCorrupt(error)) throw storeError(error, path)
  } finally {
    db.close()
  }
}

/** @throws PABAL_RESTORE_IN_USE, PABAL_STORE_UNREACHABLE (no such backup), PABAL_STORE_FOREIGN, PABAL_STORE_FULL */
export const restore = (path: string, backup: string): void => {
  // Looked at before anything is touched: a file of something else must not take the place of the logs.
  peek(backup)
  if (resolve(backup) === resolve(path)) throw new PabalError('PABAL_STORE_FOREIGN', `${backup} is the database itself`)
  const next = `${path}.restoring`
  try {
    rmSync(next, { force: true })
    copyFileSync(backup, next)
    startIncarnations(next)
    checkUnused(path)
  } catch (error) {
    for (const suffix of ['', '-wal', '-shm']) rmSync(next + suffix, { force: true })
    throw isFull(error)
      ? new PabalError('PABAL_STORE_FULL', `${next}: no space left`, { cause: error })
      : storeError(error, next)
  }
  for (const suffix of ['-wal', '-shm']) rmSync(path + suffix, { force: true })
  renameSync(next, path)
}

const isFull = (error: unknown): boolean => (error as { code?: unknown }).code === 'ENOSPC'

const startIncarnations = (path: string): void => {
  const db = new DatabaseSync(path)
  try {
    const contexts = db.prepare('SELECT DISTINCT context FROM pabal_migration').all()
    for (const { context } of contexts)
      db.prepare(`UPDATE ${prefixOf(String(context))}meta SET value = ? WHERE name = 'incarnation'`).run(
        systemEnvironment.id(),
      )
    // Leases of the time of the backup mean nothing; epochs go on, so that a worker of that time stays fenced out.
    for (const { context } of contexts)
      db.prepare(
        `UPDATE ${prefixOf(String(context))}cursor SET owner = NULL, until_ms = 0, epoch = epoch + 1000000`,
      ).run()
  } finally {
    db.close()
  }
}
