/** A stored event for people: with its title, also when this code does not define its type. */

import { receivedFrom } from '../exchange/received-log.ts'
import type { EntryDefinition } from '../event/definition.ts'
import { type EventRecord, recordOf, type StoredEvent } from '../event/envelope.ts'
import { isOperatorType } from '../event/reserved.ts'
import type { OperatedLog } from './operated.ts'
import { operatorTitle } from './operator-events.ts'

/** One line of a log; never the payload. Points in time (`…At`) in milliseconds since 1970. */
export interface LoggedEvent {
  readonly context: string
  readonly position: number
  readonly id: string
  readonly type: string
  readonly title: string | null
  readonly key: string
  readonly sequence: number
  readonly version: number
  readonly at: number
  readonly correlationId: string
  readonly causationId: string | null
  /** Characters of the payload's JSON text. */
  readonly size: number
  /** What an operator did, not the user's own. */
  readonly operator: boolean
}

export const titleOf = ({ definitions }: OperatedLog, type: string): string | undefined =>
  definitions.get(type)?.title ?? operatorTitle(type)

/** A type that is retired or forgotten still has a name and a payload. */
export const definitionOf = (log: OperatedLog, { type, version }: StoredEvent): EntryDefinition =>
  log.definitions.get(type) ?? {
    type,
    version,
    title: titleOf(log, type),
    '~pabal': { scope: 'private', parse: (input) => input, key: () => undefined, hasKey: false, upcasters: new Map() },
  }

export const recordIn = (log: OperatedLog, row: StoredEvent): EventRecord =>
  recordOf(definitionOf(log, row), log.context, row)

/** As its producer knows it. */
const placeOf = (row: StoredEvent): { readonly key: string; readonly sequence: number } => {
  const { key, sequence } = receivedFrom(row) ?? row
  return { key, sequence }
}

export const loggedEvent = (log: OperatedLog, row: StoredEvent): LoggedEvent => ({
  context: log.context,
  position: row.position,
  id: row.id,
  type: row.type,
  title: titleOf(log, row.type) ?? null,
  ...placeOf(row),
  version: row.version,
  at: row.time_ms,
  correlationId: row.correlation_id ?? row.id,
  causationId: row.causation_id,
  size: row.data.length,
  operator: isOperatorType(row.type),
})
