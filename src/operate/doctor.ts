/** Everything that can be found wrong without running a handler, and what to do about it. */

import type { App } from '../app/app.ts'
import { isPabalError } from '../core/errors.ts'
import { nameWarning } from '../event/naming.ts'
import { isOperatorType } from '../event/reserved.ts'
import type { Finding } from '../store/store.ts'
import { type AppDatabase, databasesOf, withDatabase } from './databases.ts'
import { operate, type Operated, type OperatedContext } from './operated.ts'
import { statusOf } from './status.ts'

export interface Diagnosis extends Finding {
  readonly context: string | null
  readonly consumer: string | null
  /** What to type next. */
  readonly command: string | null
}

/** Idempotency keys are kept with their answers; older ones than this are hardly asked for again. */
const oldKeysMs = 30 * 24 * 3_600_000
const oldKeysMax = 100_000

const finding = (of: Finding & { context?: string; consumer?: string; command?: string }): Diagnosis => ({
  context: null,
  consumer: null,
  command: null,
  ...of,
})

/** Databases first, each by itself; then, if all can be read, contexts and consumers. */
export const diagnose = async (app: App): Promise<readonly Diagnosis[]> => {
  const found: Diagnosis[] = []
  for (const database of databasesOf(app)) found.push(...(await diagnoseDatabase(app, database)))
  if (found.some(({ title, level }) => title === 'database' && level === 'problem')) return found
  const operated = await operate(app)
  for (const context of operated.contexts)
    found.push(...(await diagnoseTypes(context)), ...diagnoseNames(context), ...(await diagnoseKeys(operated, context)))
  const { concerns, contexts } = await statusOf(operated)
  found.push(...concerns.map(finding))
  for (const { context, consumers } of contexts)
    if (!concerns.some((concern) => concern.context === context))
      found.push(
        finding({
          level: 'ok',
          title: 'consumers',
          context,
          detail: `${consumers.length} of '${context}', nothing needs a person`,
        }),
      )
  return found
}

const diagnoseDatabase = async (app: App, database: AppDatabase): Promise<readonly Diagnosis[]> => {
  const context = database.contexts.join(', ')
  try {
    return await withDatabase(app, database, async (open) => {
      for (const name of database.contexts) await open.context(name, { existing: true })
      return (await open.diagnose()).map((each) => finding({ ...each, context }))
    })
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error)
    const remedy = isPabalError(error) ? { remedy: error.remedy } : {}
    return [finding({ level: 'problem', title: 'database', context, detail, ...remedy })]
  }
}

/** Events that this code does not know, or not in that version, cannot be handed to a handler. */
const diagnoseTypes = async ({ context, database, store, runtime }: OperatedContext): Promise<readonly Diagnosis[]> => {
  const stored = await database.read((session) => store.log.types(session))
  const found: Diagnosis[] = []
  for (const { type, version } of stored) {
    if (isOperatorType(type) || runtime.facts.retired.includes(type)) continue
    const definition = runtime.entries.get(type)
    if (definition !== undefined && version <= definition.version) continue
    const events = await database.read((session) => store.log.count(session, { after: 0, types: [type] }))
    if (definition === undefined && events > 0)
      found.push(
        finding({
          level: 'problem',
          title: 'unknown type',
          context,
          detail: `the log holds ${events} ${type}, which this code does not define; the app will not start`,
          remedy: `define it again, or list it in the context's \`retired\``,
          command: `pabal log list --context ${context} --type ${type}`,
        }),
      )
    if (definition !== undefined)
      found.push(
        finding({
          level: 'problem',
          title: 'unknown version',
          context,
          detail: `the log may hold ${type} in version ${version}, this code knows up to ${definition.version}`,
          remedy: 'deploy the code that defines this version',
        }),
      )
  }
  return found.length > 0
    ? found
    : [finding({ level: 'ok', title: 'types', context, detail: `every type in the log of '${context}' is defined` })]
}

const diagnoseNames = ({ context, runtime }: OperatedContext): readonly Diagnosis[] =>
  runtime.facts.events.flatMap(({ type }) => {
    const warning = nameWarning(type)
    return warning === undefined ? [] : [finding({ level: 'warning', title: 'name', context, detail: warning })]
  })

const diagnoseKeys = async (
  { environment }: Operated,
  { context, database, store }: OperatedContext,
): Promise<readonly Diagnosis[]> => {
  const old = await database.read((session) => store.units.countBefore(session, environment.now() - oldKeysMs))
  if (old <= oldKeysMax) return []
  return [
    finding({
      level: 'warning',
      title: 'idempotency keys',
      context,
      detail: `${old.toLocaleString('en')} are older than 30 days`,
      remedy: 'they cost space only; a request that comes again after so long would run again without them',
    }),
  ]
}
