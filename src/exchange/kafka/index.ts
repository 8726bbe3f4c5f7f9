/** `pabal/kafka`: public events over Kafka 3.5 or later, by the caller's own `@platformatic/kafka`. */

import { type Exchange, over } from '../exchange.ts'
import { type KafkaOptions, settingsOf } from './settings.ts'
import { kafkaTransport } from './transport.ts'

export type { KafkaClient, KafkaConnection } from './client.ts'
export type { KafkaOptions } from './settings.ts'

/**
 * An exchange over Kafka: a topic `pabal.<context>` for what a context publishes, a group `pabal.<context>.<subscriber>` for who
 * consumes it. Each event is handled once and in the order of its key (P9), over crashes, rebalances and added partitions.
 * Nothing is connected before the app starts. @throws PABAL_COMPOSITION_INVALID for options that contradict each other
 */
export const kafka = (options: KafkaOptions): Exchange => over(kafkaTransport(settingsOf(options)), options)
