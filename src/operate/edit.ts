/**
 * Edit and retry: a corrected copy of a dead letter, with an id of its own and the original as its cause, is handled in the
 * original's place by this consumer only. The log keeps the original; the operator's event keeps the copy.
 */

import { PabalError } from '../core/errors.ts'
import type { EntryDefinition } from '../event/definition.ts'
import { decodeJson, encodeJson } from '../event/json.ts'
import { eventsOf, type FoundDeadLetter, handlerOf } from './dead-letters.ts'
import { showDead } from './dead-letter.ts'
import { type Operated, type Operator, ring } from './operated.ts'
import { consumerKey, recordAction } from './operator-events.ts'
import { checkUnchanged } from './retry.ts'

export interface Editor extends Operator {
  readonly reason: string
}

export interface EditPlan {
  readonly before: unknown
  readonly after: unknown
  /** The new payload's exact JSON text, as the schema has left it. */
  readonly text: string
}

/**
 * What the handler will be given. @throws PABAL_PAYLOAD_INVALID (also for another key), PABAL_PAYLOAD_NOT_JSON and the other
 * rules of payloads, PABAL_EVENT_UNKNOWN when there is no event to correct
 */
export const planEdit = async ({ limits }: Operated, found: FoundDeadLetter, json: string): Promise<EditPlan> => {
  const { row } = found
  const definition = definitionOf(found)
  const after = definition['~pabal'].parse(decodeJson(json, limits, `the new payload of ${row.type}`))
  const key = definition['~pabal'].key(after)
  if (key !== row.key)
    throw new PabalError(
      'PABAL_PAYLOAD_INVALID',
      `${row.type}: the new payload has the key ${JSON.stringify(key)}, the event's is ${JSON.stringify(row.key)}`,
    )
  const { data } = await showDead(found)
  return { before: data, after, text: encodeJson(after, limits, row.type) }
}

const definitionOf = (found: FoundDeadLetter): EntryDefinition => {
  const { row } = found
  const definition = handlerOf(found).spec.definitions.find(({ type }) => type === row.type)
  if (definition === undefined)
    throw new PabalError('PABAL_UNKNOWN_EVENT_TYPE', `'${row.consumer}' does not handle ${row.type}`)
  return definition
}

/** Puts the planned copy in place and lets the key be tried at once; its id. @throws PABAL_PLAN_CHANGED */
export const edit = async (
  operated: Operated,
  found: FoundDeadLetter,
  plan: EditPlan,
  operator: Editor,
): Promise<string> => {
  const { context, row } = found
  const [original] = await eventsOf(found, 1)
  if (original?.sequence !== row.sequence)
    throw new PabalError(
      'PABAL_EVENT_UNKNOWN',
      `number ${row.sequence} of key ${JSON.stringify(row.key)} is not in the log`,
    )
  const id = operated.environment.id()
  await context.database.transaction(async (session) => {
    const current = await context.store.parking.get(session, row.consumer, row.source, row.key)
    checkUnchanged(found, current)
    await context.store.parking.put(session, {
      ...current!,
      status: 'retrying',
      attempts: 0,
      next_ms: operated.environment.now(),
      edited: { id, data: plan.text, by: operator.by, reason: operator.reason },
    })
    // The action has the copy's id: what the copy causes is then found below it, and it below the original.
    await recordAction(operated, context, session, operator, {
      id,
      type: 'pabal.dead-letter-edited',
      key: consumerKey(row.consumer),
      what: { consumer: row.consumer, source: row.source, key: row.key, event: row.event_id, data: plan.after },
      cause: original,
    })
  })
  ring(context, row.consumer)
  return id
}
