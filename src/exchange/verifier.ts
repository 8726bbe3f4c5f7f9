/**
 * Publish verification, where a consumer can reach the producer's log (`origins`): a subscription to that log whose effect is to
 * enter what a transport has not brought, the last event of a key too. What was brought it passes over.
 */

import type { DurableSpec } from '../context/handler.ts'
import type { Environment } from '../core/environment.ts'
import { receivedEvent, type SequencedEvent } from '../event/cloudevents/received-event.ts'
import { toCloudEvent } from '../event/cloudevents/to-cloud-event.ts'
import type { Publication } from '../event/publication.ts'
import { channelOf } from './exchange.ts'
import type { Receiver } from './receiver.ts'
import { untilSent } from './relay.ts'

/** How long an event is left to its transport. */
const patienceMs = 2_000
const batch = 500

export interface VerifierOptions {
  /** The producing context. */
  readonly source: string
  readonly stream: string
  /** Of that context, in that stream. */
  readonly publications: readonly Publication[]
  readonly receiver: Receiver
  readonly environment: Environment
}

/** The verifier of a stream as a durable handler of the receiving context. */
export const verifierSpec = (options: VerifierOptions): DurableSpec => {
  const { source, stream, publications, receiver, environment } = options
  const handleBatch: NonNullable<DurableSpec['handleBatch']> = async (events, { signal, incarnation }) => {
    // By the producer's clock, which may be ahead.
    const youngForMs = events.at(-1)!.timeMs + patienceMs - environment.now()
    if (youngForMs > 0) await environment.sleep(Math.min(youngForMs, patienceMs), signal)
    signal.throwIfAborted()
    await receiver.enter(
      events.map((event) => {
        const place = { stream, incarnation, previousId: event.previousId }
        return receivedEvent(toCloudEvent(event, { place })) as SequencedEvent
      }),
    )
    return events.map(() => undefined)
  }
  return untilSent({
    name: `verify-${channelOf(source, stream).context}`,
    definitions: publications.map(({ from }) => from),
    handleBatch,
    startAt: receiver.fromFirst ? 'beginning' : 'now',
    batch,
    lanes: 1,
  })
}
