/** What user code is given: a unit of work, what a handler is told, and a command. */

import type { Awaitable } from '../core/awaitable.ts'
import type { InputOf, MessageDefinition } from '../event/definition.ts'
import type { RaisedOf } from '../event/envelope.ts'

/**
 * One shape everywhere: transaction, join, handler, command, `record`. Dead after the unit (PABAL_UNIT_CLOSED).
 * `Own` are the private events of the context, `Tx` the handle on its database, `Messages` those that it may post.
 */
export interface Unit<Own, Tx, Metadata = unknown, Messages extends MessageDefinition = MessageDefinition> {
  /** The transaction; what is written through it commits or rolls back with the events. */
  readonly tx: Tx
  /** The common metadata of this unit. */
  readonly metadata: Metadata
  /**
   * Raises an event of this context: checked now, appended with all others in one round trip before COMMIT. Synchronous, so it
   * cannot be forgotten to be awaited. `expectedSequence`: the key's last sequence that the decision was based on (0: none).
   * @throws PABAL_PAYLOAD_INVALID, PABAL_UNKNOWN_EVENT_TYPE, PABAL_NO_UNIT_OF_WORK, PABAL_HOP_LIMIT
   */
  readonly raise: <E extends Own>(event: E, data: InputOf<E>, options?: { readonly expectedSequence?: number }) => void
  /**
   * Posts a one-way message of this context, or one that it `sends` to another, with the unit: it goes if and only if the unit
   * commits, and is handled later.
   * @throws PABAL_PAYLOAD_INVALID, PABAL_UNKNOWN_EVENT_TYPE, PABAL_NO_UNIT_OF_WORK, PABAL_HOP_LIMIT
   */
  readonly post: <M extends Messages>(message: M, data: InputOf<M>) => void
  /** Handles an event for this unit only, before COMMIT; gone with the unit. */
  readonly on: <E extends Own>(event: E, handler: (event: RaisedOf<E, Metadata>) => Awaitable<unknown>) => void
}

/** What a durable handler is told besides the event. */
export interface Handling {
  /** 1 for the first try of this event. */
  readonly attempt: number
  /** Aborts when the app stops, the lease is lost, or the handler's time is over. */
  readonly signal: AbortSignal
}

export interface ExternalHandling extends Handling {
  /** Stable over retries and takeovers: `<context>/<consumer>:<event id>`. Pass it to whatever is called. */
  readonly idempotencyKey: string
}

/** What a command handler is given. */
export interface CommandEnvelope<Data> {
  readonly id: string
  readonly data: Data
}

export type RefusalsOf<Command> = Command extends { readonly '~pabal': { readonly refusals?: infer R } }
  ? NonNullable<R>
  : never
