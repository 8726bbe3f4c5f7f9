/**
 * The receiver of a foreign producer's events: they have no place in a stream, so each is known by its source and id, and those of
 * a key are in the order in which the transport brings them. They are entered into the receiving context's own log like all else
 * that is received, and a repetition finds itself there for as long as the log keeps it.
 */

import type { ContextRuntime } from '../context/runtime.ts'
import { PabalError } from '../core/errors.ts'
import { foreignKey, payloadOf, type ReceivedEvent, receivedEvent } from '../event/cloudevents/received-event.ts'
import type { PublicEventDefinition } from '../event/definition.ts'
import { EventRecord } from '../event/envelope.ts'
import { foreignId } from '../event/foreign-id.ts'
import { type ForeignProducer, typesOf } from './foreign.ts'
import { channelOf } from './exchange.ts'
import { typesWanted } from '../subscription/edition.ts'
import { type Identity, type Origination, receivedName, storedKey } from './received-log.ts'
import { takeBatch } from './taking.ts'
import type { Incoming, Take } from './transport.ts'

export interface ForeignReceiverParts extends Origination {
  readonly runtime: ContextRuntime
  /** What each of its transports says of the producer. */
  readonly producers: readonly ForeignProducer[]
  /** Sources of other producers that send over the same channel: passed over. */
  readonly others: ReadonlySet<string>
  /** Public types that handlers of this context want. */
  readonly types: ReadonlySet<string>
}

export class ForeignReceiver {
  readonly #parts: ForeignReceiverParts
  /** By the producer's own types. */
  readonly #definitions: ReadonlyMap<string, PublicEventDefinition>

  constructor(parts: ForeignReceiverParts) {
    this.#parts = parts
    this.#definitions = new Map(parts.producers.flatMap(typesOf).filter(([, { type }]) => parts.types.has(type)))
  }

  /** One transaction for the batch. Rejects when nothing of it was stored, or something of it is for another process. */
  readonly take: Take = async (batch) => {
    let unknown = false
    const taken = await takeBatch(
      batch,
      (incoming) => {
        const record = this.#read(incoming)
        unknown ||= record === 'unknown'
        return record === 'unknown' ? undefined : record
      },
      async (records) => {
        // Before anything is entered: what is left behind may stand in front of it.
        if (unknown) await this.#leaveToNewer()
        unknown = false
        await this.#enter(records)
      },
    )
    if (unknown) await this.#leaveToNewer()
    return taken
  }

  /** What nobody here knows may be what a newer version of a handler wants. Its key is the definition's word, so that must take it. */
  async #leaveToNewer(): Promise<void> {
    const { runtime, source, stream, types } = this.#parts
    const name = receivedName(channelOf(source, stream).context)
    const wanted = await runtime.database.transaction((session) => typesWanted(runtime.contextStore, session, name))
    if (!wanted.isSubsetOf(types))
      throw new PabalError(
        'PABAL_HANDLER_SUPERSEDED',
        `what '${source}' sends may be for a newer version of a handler, which another process runs: it is left to that`,
      )
  }

  /** Undefined: it is another producer's. */
  #read(incoming: Incoming): EventRecord | 'unknown' | undefined {
    const { runtime, producers, others, source: name } = this.#parts
    const { limits, environment } = runtime
    const event = receivedEvent(incoming.decode(limits))
    const { id, source, type, context, hopCount = 0 } = event
    const isTaken = producers.some(({ sources }) => sources === 'any' || sources.includes(source))
    if (!isTaken && others.has(source)) return undefined
    // One of ours that has lost its place does not become foreign by that.
    if (!isTaken || context !== undefined)
      throw new PabalError(
        'PABAL_MESSAGE_INVALID',
        `${type} ${id}: it is of ${JSON.stringify(source)}, which is no source of the foreign producer '${name}'`,
      )
    if (hopCount > limits.hops)
      throw new PabalError('PABAL_HOP_LIMIT', `${type} ${id} is event ${hopCount} of its chain`)
    const definition = this.#definitions.get(type)
    if (definition === undefined) return 'unknown'
    return foreignRecord(definition, this.#parts, event, payloadOf(event, limits), environment.now())
  }

  async #enter(records: readonly EventRecord[]): Promise<void> {
    const { database, contextStore, name } = this.#parts.runtime
    const { log } = contextStore
    const once = new Map<string, EventRecord>()
    for (const record of records) if (!once.has(record.id)) once.set(record.id, record)
    await database.transaction(
      async (session) => {
        const known = await log.foreign(session, [...once.keys()])
        const fresh = [...once.values()].filter(({ id }) => !known.has(id))
        if (fresh.length > 0) await log.append(session, fresh)
      },
      // Whoever asks what is known must see what another process is about to enter, whatever its key.
      { alone: `foreign ${name}` },
    )
  }
}

/** Entered now, whatever it says of its time: retention goes by that. */
const foreignRecord = (
  definition: PublicEventDefinition,
  of: Origination,
  event: ReceivedEvent,
  payload: unknown,
  nowMs: number,
): EventRecord => {
  const { source, timeMs, text, correlationId, causationId, hopCount = 0, traceparent } = event
  const id = foreignId(source, event.id)
  const key = keyOf(definition, event, payload) ?? id
  const identity: Identity = { source, id: event.id, ...(timeMs === undefined ? {} : { timeMs }) }
  const record = new EventRecord(definition, of.source, {
    id,
    key: storedKey(of, key),
    version: definition.version,
    text: text!,
    timeMs: nowMs,
    correlationId: correlationId ?? id,
    causationId,
    hopCount,
    traceparent,
    metadataText: JSON.stringify(identity),
  })
  record.laneKey = key
  return record
}

/**
 * What the definition says of the payload: it is the receiver's word for what belongs together. Of a payload that does not fit, what
 * the producer says, so that it parks the key that it is most likely of.
 */
const keyOf = (
  { '~pabal': definition }: PublicEventDefinition,
  { cloudEvent }: ReceivedEvent,
  payload: unknown,
): string | undefined => {
  try {
    return definition.key(definition.parse(payload))
  } catch {
    return foreignKey(cloudEvent.attributes)
  }
}
