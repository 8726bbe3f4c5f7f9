/** Reading logs as a person does: the last of them, one event, or what comes. */

import { PabalError } from '../core/errors.ts'
import type { StoredEvent } from '../event/envelope.ts'
import { toCloudEventText } from '../event/cloudevents/to-cloud-event.ts'
import { type LoggedEvent, loggedEvent, recordIn } from './event-record.ts'
import { logsNamed, type Operated, type OperatedLog } from './operated.ts'

export interface LogFilter {
  readonly context?: string | undefined
  /** Names of types, or patterns with `*`. */
  readonly types?: readonly string[] | undefined
  readonly key?: string | undefined
}

export interface LogRange {
  /** Only what is after this position: the first `limit` of it. Positions belong to one log. */
  readonly after?: number | undefined
  /** Only what is before this position. */
  readonly before?: number | undefined
  readonly limit: number
}

/** An event and the log that it is in. */
export interface FoundEvent {
  readonly log: OperatedLog
  readonly row: StoredEvent
}

const perRead = 1_000

/**
 * The last events (or the first ones after a position), in order of position; those of several logs in order of time.
 * @throws PABAL_USAGE for an unknown context or type, and for a position where there are several logs
 */
export const listEvents = async (
  operated: Operated,
  filter: LogFilter,
  { after, before, limit }: LogRange,
): Promise<readonly LoggedEvent[]> => {
  const logs = await selectLogs(operated, filter)
  if (logs.length > 1 && (after !== undefined || before !== undefined))
    throw new PabalError(
      'PABAL_USAGE',
      `a position belongs to one log: add --context (${logs.map(({ log }) => log.context).join(', ')})`,
    )
  const found: LoggedEvent[] = []
  for (const { log, types } of logs) {
    const rows =
      after === undefined
        ? await log.database.read((session) =>
            log.store.log.readBefore(session, { before, types, key: filter.key, limit }),
          )
        : await firstAfter(log, types, filter.key, { after, before, limit })
    found.push(...rows.map((row) => loggedEvent(log, row)))
  }
  const ordered = logs.length === 1 ? found : found.toSorted((one, other) => one.at - other.at)
  return after === undefined ? ordered.slice(-limit) : ordered.slice(0, limit)
}

/** Each log that is asked for, with the types that match in it; logs in which none does are left out. */
const selectLogs = async (operated: Operated, { context, types }: LogFilter) => {
  const selected: { log: OperatedLog; types: readonly string[] | undefined }[] = []
  const known = new Set<string>()
  for (const log of logsNamed(operated, context)) {
    if (types === undefined) {
      selected.push({ log, types })
      continue
    }
    const stored = await log.database.read((session) => log.store.log.types(session))
    const names = new Set([...stored.map(({ type }) => type), ...log.definitions.keys()])
    const matching = [...names].filter((name) => types.some((pattern) => matches(pattern, name)))
    for (const name of names) known.add(name)
    if (matching.length > 0) selected.push({ log, types: matching })
  }
  if (selected.length === 0)
    throw new PabalError(
      'PABAL_USAGE',
      `no event type matches ${types?.join(', ')}; there are ${[...known].toSorted().join(', ')}`,
    )
  return selected
}

const matches = (pattern: string, name: string): boolean =>
  pattern === name ||
  (pattern.includes('*') && new RegExp(`^${pattern.split('*').map(literal).join('.*')}$`).test(name))
const literal = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')

const firstAfter = async (
  log: OperatedLog,
  types: readonly string[] | undefined,
  key: string | undefined,
  { after, before = Number.MAX_SAFE_INTEGER, limit }: LogRange & { readonly after: number },
): Promise<readonly StoredEvent[]> => {
  const found: StoredEvent[] = []
  const read = key === undefined ? pageOfLog(log, types) : pageOfKey(log, types, key)
  for (let from: number | undefined = key === undefined ? after : 0; from !== undefined && found.length < limit; ) {
    if (key === undefined && from >= before) break
    const page: Page = await read(from)
    found.push(...page.events.filter(({ position }) => position > after && position < before))
    from = page.next
  }
  return found.slice(0, limit)
}

interface Page {
  readonly events: readonly StoredEvent[]
  /** Where the next page begins; undefined at the end. */
  readonly next: number | undefined
}

const pageOfLog =
  ({ database, store }: OperatedLog, types: readonly string[] | undefined) =>
  async (after: number): Promise<Page> => {
    const { events, through } = await database.read((session) =>
      store.log.readAfter(session, { after, types, limit: perRead }),
    )
    return { events, next: through > after ? through : undefined }
  }

const pageOfKey =
  ({ database, store }: OperatedLog, types: readonly string[] | undefined, key: string) =>
  async (after: number): Promise<Page> => {
    const events = await database.read((session) =>
      store.log.readKey(session, key, { from: after + 1, types, limit: perRead }),
    )
    return { events, next: events.length === perRead ? events.at(-1)!.sequence : undefined }
  }

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/**
 * One event by its id, or by its position ('42' where there is one log, 'ordering:42').
 * @throws PABAL_EVENT_UNKNOWN, PABAL_USAGE for what is neither
 */
export const findEvent = async (operated: Operated, reference: string, context?: string): Promise<FoundEvent> => {
  if (uuid.test(reference)) return findById(operated, reference.toLowerCase(), context)
  const [, named = context, digits] = /^(?:([a-z][a-z0-9_]*):)?([1-9][0-9]{0,14})$/.exec(reference) ?? []
  if (digits === undefined)
    throw new PabalError(
      'PABAL_USAGE',
      `'${reference}' is neither an event's id nor a position such as 42 or ordering:42`,
    )
  const logs = logsNamed(operated, named)
  if (logs.length > 1)
    throw new PabalError(
      'PABAL_USAGE',
      `position ${digits} of which log? ${logs.map((log) => `${log.context}:${digits}`).join(', ')}`,
    )
  const log = logs[0]!
  const row = await log.database.read((session) => log.store.log.at(session, Number(digits)))
  if (row === undefined) throw new PabalError('PABAL_EVENT_UNKNOWN', `position ${digits} of '${log.context}'`)
  return { log, row }
}

const findById = async (operated: Operated, id: string, context: string | undefined): Promise<FoundEvent> => {
  for (const log of logsNamed(operated, context)) {
    const row = await log.database.read((session) => log.store.log.byId(session, id))
    if (row !== undefined) return { log, row }
  }
  throw new PabalError('PABAL_EVENT_UNKNOWN', id)
}

/** As a CloudEvent in structured JSON, its payload as it is stored, character by character. */
export const cloudEventOf = ({ log, row }: FoundEvent): string => toCloudEventText(recordIn(log, row))

/** New events as they come, until the signal aborts. The first `recent` are those that are there already. */
export async function* followEvents(
  operated: Operated,
  filter: LogFilter,
  { recent, signal }: { readonly recent: number; readonly signal: AbortSignal },
): AsyncGenerator<LoggedEvent> {
  const logs = await selectLogs(operated, filter)
  const from = new Map<OperatedLog, number>()
  for (const { log } of logs)
    from.set(log, (await log.database.read((session) => log.store.log.head(session))).position)
  if (recent > 0) {
    const there = await listEvents(operated, filter, { limit: recent })
    yield* there.filter((event) =>
      logs.some(({ log }) => log.context === event.context && event.position <= from.get(log)!),
    )
  }
  while (!signal.aborted) {
    // Listen before looking: what commits meanwhile rings.
    const awake = new AbortController()
    const silence = logs.map(({ log }) => log.bell.onRing(() => awake.abort()))
    try {
      let more = false
      for (const { log, types } of logs) {
        const rows = await newRows(log, types, from)
        if (rows.length === perRead) more = true
        for (const row of rows) if (filter.key === undefined || row.key === filter.key) yield loggedEvent(log, row)
      }
      if (!more) await operated.environment.sleep(lookAgainMs, AbortSignal.any([awake.signal, signal]))
    } finally {
      for (const stop of silence) stop()
    }
  }
}

/** A ring may be lost; then it takes so long. */
const lookAgainMs = 1_000

const newRows = async (
  log: OperatedLog,
  types: readonly string[] | undefined,
  from: Map<OperatedLog, number>,
): Promise<readonly StoredEvent[]> => {
  const { events, through } = await log.database.read((session) =>
    log.store.log.readAfter(session, { after: from.get(log)!, types, limit: perRead }),
  )
  from.set(log, through)
  return events
}
