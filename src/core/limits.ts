/** A limit on everything: its name, its default, its unit. `docs/reference/defaults.md` has the same table. */

export interface Limits {
  /** Bytes (UTF-8) of one payload's JSON text. Default 262,144. */
  readonly payloadBytes: number
  /** Nesting of one payload; a plain object has depth 1. Default 64. */
  readonly payloadDepth: number
  /** Links in a chain of events causing events. Default 32. */
  readonly hops: number
  /** Rounds of before-commit handlers raising events in one unit. Default 16. */
  readonly raiseDepth: number
  /** Events of one key waiting behind a parked one before it is reported. Default 10,000. */
  readonly parkedPerKey: number
  /** Events waiting behind parked ones of one consumer before it is reported. Default 100,000. */
  readonly parkedPerConsumer: number
  /** Headers, or attributes, of one message from outside. Default 100. */
  readonly messageHeaders: number
  /** Bytes of all of them, names and values. Default 65,536. */
  readonly messageHeaderBytes: number
  /** Events of one batch from outside. Default 1,000. */
  readonly batchEvents: number
  /** Bytes of one batch from outside. Default 16,777,216. */
  readonly batchBytes: number
}

export const defaultLimits: Limits = {
  payloadBytes: 262_144,
  payloadDepth: 64,
  hops: 32,
  raiseDepth: 16,
  parkedPerKey: 10_000,
  parkedPerConsumer: 100_000,
  messageHeaders: 100,
  messageHeaderBytes: 65_536,
  batchEvents: 1_000,
  batchBytes: 16_777_216,
}
