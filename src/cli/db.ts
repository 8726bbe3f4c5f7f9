/** `pabal db`: the databases under the app. */

import { existsSync, mkdirSync, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { Command } from 'commander'
import { catalogue, type ErrorCode, PabalError } from '../core/errors.ts'
import {
  type AppDatabase,
  backup,
  backupIn,
  databasesOf,
  type DatabaseStatus,
  databaseStatuses,
  migrate,
  pendingMigrations,
  planRestore,
  restore,
} from '../operate/databases.ts'
import type { Invocation } from './invocation.ts'
import type { Output } from './output/output.ts'
import { line, type Painted, plain } from './output/text.ts'
import { argument, bytes, number } from './output/words.ts'
import type { Act } from './program.ts'

interface ContextOption {
  readonly context?: string
}

export const databaseCommands = (act: Act): Command => {
  const db = new Command('db').description('the databases under the app')
  db.command('status')
    .description('files, sizes, migrations, logs')
    .option('--context <name>', 'only the database of this context')
    .action(act(status))
  db.command('migrate').description('create and migrate all tables, as a start of the app does').action(act(migrateAll))
  db.command('sql')
    .description("the statements that create a context's tables; touches nothing")
    .argument('<context>')
    .action(act(sql))
  db.command('backup')
    .description('write consistent copies while the app goes on')
    .argument('<target>', 'a folder; or a file where there is one database')
    .option('--context <name>', 'only the database of this context')
    .action(act(backupAll))
  db.command('restore')
    .description('replace a database by a backup; the app must be stopped')
    .argument('<backup>', 'a file that `db backup` has written')
    .option('--context <name>', 'the database of this context')
    .action(act(restoreOne))
  return db
}

const status = async (invocation: Invocation, { context }: ContextOption): Promise<number> => {
  const { output } = invocation
  const databases = await databaseStatuses(await invocation.app(), context)
  output.answer({ json: { databases }, rows: databases, text: databases.flatMap((each) => statusLines(output, each)) })
  const failed = databases.find(({ error }) => error !== null)?.error
  return failed === undefined ? 0 : catalogue[(failed?.code ?? 'PABAL_STORE_UNREACHABLE') as ErrorCode].exit
}

const statusLines = (
  output: Output,
  { database, contexts, error, bytes: size, pendingBytes, migrations, logs }: DatabaseStatus,
): Painted[] => {
  const { paint } = output
  const trouble = error === null ? [] : [line`  ${paint.bad('✗')} ${error.message}`, line`    ${error.remedy ?? ''}`]
  if (migrations.length === 0) return [line`${paint.bold(database)}  ${contexts.join(', ')}`, ...trouble, plain('')]
  const pending = pendingBytes === 0 ? '' : `, ${bytes(pendingBytes)} in the write-ahead log`
  return [
    line`${paint.bold(database)}  ${bytes(size)}${pending}`,
    ...trouble,
    ...contexts.flatMap((context) => {
      const log = logs.find((each) => each.context === context)
      const own = migrations.filter((each) => each.context === context)
      const missing = own.filter(({ atMs }) => atMs === null)
      return [
        log === undefined
          ? line`  ${context}: ${paint.bad('cannot be read by this version')}`
          : line`  ${context}: positions ${number(log.oldest)} to ${number(log.head)}, incarnation ${paint.dim(log.incarnation)}`,
        ...own.map(({ version, name, atMs }) =>
          atMs === null
            ? line`    ${paint.bad('✗')} migration ${version} ${name}, not applied`
            : line`    ${paint.good('✓')} migration ${version} ${name}, ${paint.dim(new Date(atMs).toISOString())}`,
        ),
        ...(missing.length === 0 ? [] : [line`    ${output.next('pabal db migrate')}`]),
      ]
    }),
    plain(''),
  ]
}

const migrateAll = async (invocation: Invocation): Promise<void> => {
  const { output } = invocation
  const app = await invocation.app()
  const pending = await pendingMigrations(app)
  const contexts = pending.flatMap((each) => each.contexts)
  if (contexts.length === 0) {
    output.answer({ json: { action: 'migrate', contexts }, text: [line`${output.paint.good('✓')} nothing to migrate`] })
    return
  }
  invocation.confirm({
    json: { pending },
    text: [
      line`would migrate ${contexts.join(', ')}; migrations go forward only`,
      ...pending.map((each) => line`  ${each.database}: ${each.contexts.join(', ')}`),
    ],
    command: 'pabal db migrate --yes',
  })
  await migrate(app, invocation.operator)
  output.answer({
    json: { action: 'migrate', contexts },
    text: [line`${output.paint.good('✓')} migrated ${contexts.join(', ')}`],
  })
}

const sql = async (invocation: Invocation, context: string): Promise<void> => {
  const [database] = databasesOf(await invocation.app(), context)
  const ddl = database!.source.ddl(context)
  invocation.output.answer({ json: { context, sql: ddl }, text: ddl.trimEnd().split('\n').map(plain) })
}

const isFolder = (target: string): boolean =>
  target.endsWith('/') || (existsSync(target) && statSync(target).isDirectory())

const backupAll = async (invocation: Invocation, target: string, { context }: ContextOption): Promise<void> => {
  const { output } = invocation
  const app = await invocation.app()
  const databases = databasesOf(app, context)
  const toFile = databases.length === 1 && !isFolder(target)
  const fileOf = (database: AppDatabase): string => (toFile ? target : backupIn(target, database))
  // Before anything is written: half a set of backups is worse than none.
  for (const file of databases.map(fileOf))
    if (existsSync(file)) throw new PabalError('PABAL_BACKUP_TARGET_EXISTS', `${file} exists already`)
  makeFolder(toFile ? dirname(resolve(target)) : target)
  const backups = await backup(app, databases, fileOf)
  output.answer({
    json: { action: 'backup', backups },
    rows: backups,
    text: [
      ...backups.map(({ database, file }) => line`${output.paint.good('✓')} ${database} → ${file}`),
      ...(backups.length > 1
        ? [output.paint.dim('each is consistent by itself; consumers over several notice where one is behind')]
        : []),
    ],
  })
}

const makeFolder = (folder: string): void => {
  try {
    mkdirSync(folder, { recursive: true })
  } catch (error) {
    throw new PabalError('PABAL_USAGE', `the folder ${folder} cannot be made: ${(error as Error).message}`, {
      cause: error,
    })
  }
}

const restoreOne = async (invocation: Invocation, file: string, { context }: ContextOption): Promise<void> => {
  const { output } = invocation
  const { paint } = output
  const app = await invocation.app()
  const databases = databasesOf(app, context)
  if (databases.length > 1)
    throw new PabalError(
      'PABAL_USAGE',
      `which database? Add --context (${databases.flatMap((each) => each.contexts).join(', ')})`,
    )
  const database = databases[0]!
  const plan = await planRestore(app, database, file)
  invocation.confirm({
    json: plan,
    text: [
      line`would replace ${paint.bold(plan.database)} by ${plan.file}`,
      ...plan.logs.map(({ context: name, head, restoredHead }) => {
        const lost = Math.max(0, (head ?? 0) - restoredHead)
        const change = `from position ${head === null ? '?' : number(head)} to ${number(restoredHead)}`
        return line`  ${name}: ${change}${lost === 0 ? '' : line`, ${paint.bad(`${number(lost)} events are lost`)}`}`
      }),
      line`  every consumer of its log notices, in this and in other contexts; ${paint.dim('a copy of what is there now: pabal db backup')}`,
    ],
    command: `pabal db restore ${argument(file)}${context === undefined ? '' : ` --context ${argument(context)}`} --yes`,
  })
  await restore(app, database, plan, invocation.operator)
  output.answer({
    json: { action: 'restore', ...plan },
    text: [line`${paint.good('✓')} restored ${plan.database}; start the app, then look`, output.next('pabal doctor')],
  })
}
