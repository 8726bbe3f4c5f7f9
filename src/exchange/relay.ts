/**
 * The relay: a subscription to a context's own log whose effect is to publish. One batch of a key is unconfirmed at a time, and
 * behind one that failed nothing of its key counts as sent; so what arrives has repetitions, and no gaps.
 */

import type { DurableSpec } from '../context/handler.ts'
import { giveUp } from '../context/retry.ts'
import { isPabalError } from '../core/errors.ts'
import { type StreamPlace, toCloudEvent } from '../event/cloudevents/to-cloud-event.ts'
import type { EventRecord } from '../event/envelope.ts'
import type { Publication } from '../event/publication.ts'
import { publicStream } from './exchange.ts'
import type { Channel, OpenTransport, Outgoing } from './transport.ts'

/** Events of one publish, and of one move of the cursor. */
const batch = 1_000

export const relayName = (transport: string, stream: string): string =>
  stream === publicStream ? `relay-${transport}` : `relay-${transport}-${stream}`

export interface RelayOptions {
  readonly channel: Channel
  readonly transport: string
  readonly stream: string
  /** Of the context, in that stream. */
  readonly publications: readonly Publication[]
  readonly opened: () => Promise<OpenTransport>
}

/** The relay of a context as a durable handler with external effects, from the beginning of the log. */
export const relaySpec = ({ channel, transport, stream, publications, opened }: RelayOptions): DurableSpec => {
  const handleBatch: NonNullable<DurableSpec['handleBatch']> = async (events, { signal, incarnation }) =>
    (await opened()).publish(
      channel,
      events.map((event) => outgoing(event, { stream, incarnation, previousId: event.previousId })),
      signal,
    )
  return untilSent({
    name: relayName(transport, stream),
    definitions: publications.map(({ from }) => from),
    handleBatch,
    startAt: 'beginning',
    batch,
    lanes: undefined,
  })
}

/** A durable handler that hands on what is published, and does not give up. */
export const untilSent = (
  own: Pick<DurableSpec, 'name' | 'definitions' | 'startAt' | 'batch' | 'lanes'> &
    Required<Pick<DurableSpec, 'handleBatch'>>,
): DurableSpec => ({
  ...own,
  kind: 'on',
  phase: 'durable',
  title: undefined,
  effects: 'external',
  repeatable: true,
  handler: () => undefined,
  record: undefined,
  // A broker that refuses a message may take it later; what no broker will take waits for a person at once.
  retry: {
    attempts: Number.MAX_SAFE_INTEGER,
    firstMs: 200,
    maxMs: 60_000,
    decide: (error) => (isPabalError(error) && !error.retryable ? giveUp('it cannot be published', error) : undefined),
  },
  onExhausted: 'park',
  withinMs: undefined,
  onLate: undefined,
  concurrency: 1,
  timeoutMs: 30_000,
})

const outgoing = (event: EventRecord, place: StreamPlace): Outgoing => ({
  key: event.key,
  id: event.id,
  event: toCloudEvent(event, { place, ours: true }),
})
