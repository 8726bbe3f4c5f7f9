/** One dead letter in full: its error, its payload, what waits behind it, and what a retry will do. */

import { describeError } from '../core/errors.ts'
import type { EventRecord } from '../event/envelope.ts'
import { idempotencyKeyOf } from '../subscription/external-effects.ts'
import { type DeadLetter, deadLetterOf, eventsOf, type FoundDeadLetter, handlerOf } from './dead-letters.ts'

export interface DeadLetterDetail extends DeadLetter {
  readonly stack: string | null
  /** The payload as the handler is given it (the edited one, where a person has edited it); null when it cannot be read. */
  readonly data: unknown
  /** Why it cannot be read. */
  readonly dataError: string | null
  readonly correlationId: string | null
  readonly at: number | null
  /** The next events of the key that the cursor has passed. */
  readonly behind: readonly {
    readonly id: string
    readonly type: string
    readonly sequence: number
    readonly at: number
  }[]
  readonly retry: {
    readonly effects: 'database' | 'external'
    /** Runs that the handler gets after a retry, until its policy is exhausted. */
    readonly attempts: number
    /** What the handler passes to whatever it calls; null for effects in the database. */
    readonly idempotencyKey: string | null
    readonly whenExhausted: 'park' | 'skip' | 'raise an event'
  } | null
}

const behindMax = 10

export const showDead = async (found: FoundDeadLetter): Promise<DeadLetterDetail> => {
  const { context, row, subscription } = found
  const events = subscription === undefined ? [] : await eventsOf(found, behindMax + 1)
  const failing = events.find(({ sequence }) => sequence === row.sequence)
  return {
    ...deadLetterOf(context, row),
    stack: row.error.stack ?? null,
    ...payloadOf(found, failing),
    correlationId: failing?.correlationId ?? null,
    at: failing?.timeMs ?? null,
    behind: events
      .filter((event) => event !== failing)
      .map(({ id, type, sequence, timeMs }) => ({ id, type, sequence, at: timeMs })),
    retry: subscription === undefined ? null : retryOf(found),
  }
}

const payloadOf = (
  { row }: FoundDeadLetter,
  event: EventRecord | undefined,
): Pick<DeadLetterDetail, 'data' | 'dataError'> => {
  if (row.edited !== null) return { data: JSON.parse(row.edited.data), dataError: null }
  if (event === undefined) return { data: null, dataError: 'the event is not in the log' }
  try {
    if (event.failure !== undefined) throw event.failure
    return { data: event.data, dataError: null }
  } catch (error) {
    return { data: null, dataError: describeError(error) }
  }
}

const retryOf = (found: FoundDeadLetter): DeadLetterDetail['retry'] => {
  const { spec, name } = handlerOf(found)
  const { row } = found
  return {
    effects: spec.effects,
    attempts: spec.retry.attempts,
    idempotencyKey:
      spec.effects === 'external'
        ? idempotencyKeyOf(found.context.context, name, row.edited?.id ?? row.event_id)
        : null,
    whenExhausted: typeof spec.onExhausted === 'string' ? spec.onExhausted : 'raise an event',
  }
}
