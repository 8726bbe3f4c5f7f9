/** `pabal/redis-pubsub`: between contexts over Redis Pub/Sub, where what is lost on the way is read in the producer's log. */

import { type CarriedOptions, type Exchange, over } from '../exchange.ts'
import { type RedisPubSubOptions, redisPubSubTransport } from './transport.ts'

export type { SubscriberClient } from './subscription.ts'
export type { RedisPubSubOptions } from './transport.ts'

/**
 * What the contexts of this app publish is told to whoever listens at the moment, and kept by nobody. Of use beside `origins`: an
 * event that was missed is read in the producer's log, some seconds later. Without, its key waits for ever.
 * @throws PABAL_COMPOSITION_INVALID
 */
export const redisPubSub = (options: RedisPubSubOptions & CarriedOptions): Exchange =>
  over(redisPubSubTransport(options), options)
