/** `pabal/redis-streams`: between contexts over Redis Streams, by a client of `ioredis` or `iovalkey`. */

import { type CarriedOptions, type Exchange, over } from '../exchange.ts'
import { type RedisStreamsOptions, redisStreamsTransport } from './transport.ts'

export type { RedisClient, RedisSettings, RedisSource } from './client.ts'
export type { RedisStreamsOptions } from './transport.ts'

/**
 * What the contexts of this app publish goes to streams of a Redis server (6.2 or later, or Valkey), and what they consume of
 * others comes from there, once and in the order of each key (P9):
 *
 *     exchange: redisStreams({ client: redis, from: { ordering: [OrderPlacedV1] } })
 *
 * How safe an event is on its way is the server's to say: see `docs/reference/transports/redis-streams.md`.
 * @throws PABAL_COMPOSITION_INVALID
 */
export const redisStreams = (options: RedisStreamsOptions & CarriedOptions): Exchange =>
  over(redisStreamsTransport(options), options)
