/** `pabal/rabbitmq`: public events over RabbitMQ 3.10 or later, by the caller's amqplib. */

import { type CarriedOptions, type Exchange, over } from '../exchange.ts'
import { rabbitmqTransport, type RabbitTransportOptions } from './transport.ts'

export type {
  RabbitChannel,
  RabbitConfirmChannel,
  RabbitConnection,
  RabbitMessage,
  RabbitProperties,
} from './driver.ts'
export type { RabbitTransportOptions } from './transport.ts'

export interface RabbitOptions extends RabbitTransportOptions, CarriedOptions {}

/**
 * Events between contexts over RabbitMQ, each once and in the order of its key (P9).
 *
 * ```ts
 * exchange: rabbitmq({ connect: () => connect('amqp://localhost?heartbeat=10'), from: { ordering: [OrderPlacedV1] } })
 * ```
 *
 * On the broker a context's events go to the topic exchange `pabal.<context>`, by their type as routing key, and each subscriber
 * has a quorum queue `pabal.<context>.<subscriber>` there. Who has never subscribed has no queue, and nothing is kept for it:
 * name it in the producer's `subscribers`, or start it before its producer; later, give `origins`, or say `startAt: 'now'`.
 * @throws PABAL_COMPOSITION_INVALID
 */
export const rabbitmq = (options: RabbitOptions): Exchange => over(rabbitmqTransport(options), options)
