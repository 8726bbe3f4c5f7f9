/** The databases under an app: what stands in them, migrating, backing up, restoring. */

import { join } from 'node:path'
import type { App } from '../app/app.ts'
import { nameOf } from '../app/composition.ts'
import { isPabalError, PabalError } from '../core/errors.ts'
import type { BackedUpLog, Database, DatabaseSource, MigrationState } from '../store/store.ts'
import { contextNamed, operate, type Operator } from './operated.ts'
import { databaseKey, recordAction } from './operator-events.ts'

/** A database and the contexts of this app that live in it. */
export interface AppDatabase {
  readonly source: DatabaseSource
  readonly contexts: readonly string[]
}

/** @throws PABAL_USAGE for an unknown context */
export const databasesOf = (app: App, context?: string): readonly AppDatabase[] => {
  const databases = new Map<unknown, { source: DatabaseSource; contexts: string[] }>()
  for (const bound of app['~pabal'].composition.contexts) {
    const { database: source } = bound['~pabal'].store
    const known = databases.get(source.identity)
    if (known === undefined) databases.set(source.identity, { source, contexts: [nameOf(bound)] })
    else known.contexts.push(nameOf(bound))
  }
  const all = [...databases.values()]
  if (context === undefined) return all
  const found = all.filter(({ contexts }) => contexts.includes(context))
  if (found.length > 0) return found
  const names = all.flatMap(({ contexts }) => contexts).join(', ')
  throw new PabalError('PABAL_USAGE', `'${context}' is not a context of this app; it has ${names}`)
}

export interface DatabaseLog {
  readonly context: string
  readonly head: number
  readonly oldest: number
  readonly incarnation: string
}

export interface DatabaseStatus {
  readonly database: string
  readonly contexts: readonly string[]
  /** Why it cannot be used as it is; null when it can. */
  readonly error: { readonly code: string | null; readonly message: string; readonly remedy: string | null } | null
  readonly bytes: number
  readonly pendingBytes: number
  readonly migrations: readonly MigrationState[]
  /** Of the contexts whose tables are there. */
  readonly logs: readonly DatabaseLog[]
}

/** Each database by itself, so that one that is broken does not hide the others. Creates and migrates nothing. */
export const databaseStatuses = async (app: App, context?: string): Promise<readonly DatabaseStatus[]> => {
  const statuses: DatabaseStatus[] = []
  for (const database of databasesOf(app, context)) statuses.push(await statusOf(app, database))
  return statuses
}

const statusOf = async (app: App, database: AppDatabase): Promise<DatabaseStatus> => {
  const { source, contexts } = database
  const unknown = { bytes: 0, pendingBytes: 0, migrations: [], logs: [] }
  let found: Omit<DatabaseStatus, 'error'> = { database: source.label, contexts, ...unknown }
  try {
    await withDatabase(app, database, async (open) => {
      found = { ...found, ...(await open.describe(contexts)) }
      const lacking = new Set(found.migrations.filter(({ atMs }) => atMs === null).map(({ context }) => context))
      for (const context of contexts)
        if (!lacking.has(context)) found = { ...found, logs: [...found.logs, await logOf(open, context)] }
    })
    return { ...found, error: null }
  } catch (error) {
    if (!isPabalError(error)) return { ...found, error: { code: null, message: String(error), remedy: null } }
    const { code, message, remedy } = error
    return { ...found, error: { code, message, remedy } }
  }
}

/** Opens a database for a look, and closes it. */
export const withDatabase = async <R>(
  app: App,
  { source }: AppDatabase,
  look: (database: Database) => Promise<R>,
): Promise<R> => {
  const database = await source.open(app['~pabal'].environment, { existing: true })
  try {
    return await look(database)
  } finally {
    await database.close()
  }
}

const logOf = async (database: Database, context: string): Promise<DatabaseLog> => {
  const { log } = await database.context(context, { existing: true })
  return database.read(async (session) => {
    const { position, incarnation } = await log.head(session)
    return { context, head: position, oldest: await log.oldest(session), incarnation }
  })
}

/** The migrations that are not applied yet; a database that does not exist lacks all. */
export const pendingMigrations = async (
  app: App,
): Promise<readonly { readonly database: string; readonly contexts: readonly string[] }[]> => {
  const pending: { database: string; contexts: string[] }[] = []
  for (const { database, contexts, error, migrations } of await databaseStatuses(app)) {
    if (error !== null && error.code !== 'PABAL_STORE_UNREACHABLE')
      throw new PabalError('PABAL_STORE_UNREACHABLE', error.message)
    const lacks = (context: string) => migrations.some((state) => state.context === context && state.atMs === null)
    const lacking = contexts.filter((context) => error !== null || lacks(context))
    if (lacking.length > 0) pending.push({ database, contexts: lacking })
  }
  return pending
}

/** Creates and migrates every database as a start of the app would, and runs its `prepare`; nothing is started. */
export const migrate = async (app: App, operator: Operator): Promise<readonly string[]> => {
  const migrated = (await pendingMigrations(app)).flatMap(({ contexts }) => contexts)
  await app['~pabal'].open()
  const operated = await operate(app)
  for (const name of migrated) {
    const context = contextNamed(operated, name)
    await context.database.transaction(async (session) =>
      recordAction(operated, context, session, operator, {
        type: 'pabal.database-migrated',
        key: databaseKey,
        what: {},
      }),
    )
  }
  return migrated
}

export interface Backup {
  readonly database: string
  readonly contexts: readonly string[]
  readonly file: string
}

/** Writes one consistent file per database while the app goes on. @throws PABAL_BACKUP_TARGET_EXISTS */
export const backup = async (
  app: App,
  databases: readonly AppDatabase[],
  fileOf: (database: AppDatabase) => string,
): Promise<readonly Backup[]> => {
  const made: Backup[] = []
  for (const database of databases) {
    const file = fileOf(database)
    await withDatabase(app, database, (open) => open.backup(file))
    made.push({ database: database.source.label, contexts: database.contexts, file })
  }
  return made
}

/** The file of a database in a folder of backups. */
export const backupIn = (folder: string, { contexts }: AppDatabase): string => join(folder, `${contexts.join('+')}.db`)

export interface RestorePlan {
  readonly database: string
  readonly file: string
  readonly logs: readonly {
    readonly context: string
    /** Position of the last event now; null when the database cannot be read. */
    readonly head: number | null
    readonly restoredHead: number
  }[]
}

/**
 * What a restore would take back.
 * @throws PABAL_STORE_FOREIGN when the backup is not one of this database's contexts, PABAL_STORE_UNREACHABLE when there is none
 */
export const planRestore = async (app: App, database: AppDatabase, file: string): Promise<RestorePlan> => {
  const backedUp = await database.source.peek(file)
  const now = await statusOf(app, database)
  const logs = database.contexts.map((context) => {
    const restored: BackedUpLog | undefined = backedUp.find((log) => log.context === context)
    if (restored === undefined)
      throw new PabalError(
        'PABAL_STORE_FOREIGN',
        `${file} holds no log of '${context}', but of ${backedUp.map((log) => `'${log.context}'`).join(', ')}`,
      )
    return {
      context,
      head: now.logs.find((log) => log.context === context)?.head ?? null,
      restoredHead: restored.position,
    }
  })
  return { database: database.source.label, file, logs }
}

/** Replaces a database by a backup. Every consumer of its logs notices, here and in other contexts (P8). @throws PABAL_RESTORE_IN_USE */
export const restore = async (
  app: App,
  database: AppDatabase,
  plan: RestorePlan,
  operator: Operator,
): Promise<void> => {
  await database.source.restore(plan.file)
  // As the app would open it: an older backup is migrated.
  const open = await database.source.open(app['~pabal'].environment)
  try {
    for (const { context, head, restoredHead } of plan.logs) {
      const store = await open.context(context)
      const what = { file: plan.file, head, restoredHead }
      await open.transaction(async (session) =>
        recordAction(app['~pabal'], { context, store }, session, operator, {
          type: 'pabal.database-restored',
          key: databaseKey,
          what,
        }),
      )
    }
  } finally {
    await open.close()
  }
}
