/** `pabal/nats`: what is between contexts goes over NATS JetStream, server 2.9 or later. */

import { type Exchange, over } from '../exchange.ts'
import type { NatsConnection } from './driver.ts'
import { type NatsOptions, settingsOf } from './options.ts'
import { natsTransport } from './transport.ts'

export type { JetStream, JetStreamManager, MessageHeaders, NatsClient, NatsConnection } from './driver.ts'
export type { NatsOptions } from './options.ts'

/**
 * An exchange over NATS JetStream: a stream `pabal-<context>` for each context that publishes, a durable pull consumer
 * `pabal-<context>-<subscriber>` for each that receives.
 *
 * ```ts
 * import { jetstream } from '@nats-io/jetstream'
 * import { connect, headers } from '@nats-io/transport-node'
 *
 * nats({ connect: () => connect({ servers: 'nats://localhost:4222' }), jetstream, headers, from: { ordering: [OrderPlacedV1] } })
 * ```
 *
 * Delivery is at least once and in the order of each key (`traits.ordered`), with any number of processes of a subscriber: one of
 * them receives at a time. What breaks the order: a process that is frozen for longer than `ackWait` and goes on, a stream that
 * has lost what it had confirmed, and messages that were published again after others of their key had been accepted. Each event
 * once and in the order of its key (P9) is the work of pabal behind it, then as ever.
 *
 * The server confirms what it has written, not what is on its disk (`sync_interval`, two minutes): a power cut may lose confirmed
 * messages unless other servers have copies of them (`replicas`). `origins` reads those from the producer's log.
 *
 * @throws PABAL_COMPOSITION_INVALID for options that are none. The app's start rejects with PABAL_TRANSPORT_UNREACHABLE, and with
 * PABAL_TRANSPORT_INVALID where what is on the broker is of another kind, or with `provision: false` not there.
 */
export const nats = <C extends NatsConnection>(options: NatsOptions<C>): Exchange =>
  over(natsTransport(options, settingsOf(options)), options)
