/**
 * P9 Over Redis, its streams and its Pub/Sub: a server that crashes and comes back, consumers that stop and start, and each event
 * once, in the order of its key. What Pub/Sub has told nobody is read in the producers' logs.
 */

import { Redis } from 'ioredis'
import { describe, expect, test } from 'vitest'
import { redisPubSubTransport } from '../../../src/exchange/redis-pubsub/transport.ts'
import { redisStreamsTransport } from '../../../src/exchange/redis-streams/transport.ts'
import { missingRedis } from '../../../tools/servers/redis.ts'
import { testRedis } from '../../support/redis-streams.ts'
import { titled } from '../../support/require-server.ts'
import { exchangeWorld, ordering, placeAll, wholeWorld, wholesale } from './world.ts'

const over = {
  'Redis Streams': (url: string) =>
    redisStreamsTransport({ client: (settings) => new Redis(url, settings), leaseMs: 1_000, timeoutMs: 2_000 }),
  'Redis Pub/Sub': (url: string) =>
    redisPubSubTransport({ client: (settings) => new Redis(url, settings), timeoutMs: 2_000 }),
}

const missing = missingRedis()
describe.skipIf(missing).each(Object.entries(over))(titled('over %s', missing), (_name, transportAt) => {
  test('nothing is lost, doubled or out of order', { timeout: 180_000 }, async () => {
    const broker = await testRedis()
    const transport = transportAt(broker.url)
    const world = await exchangeWorld(transport)
    const options = transport.traits.delivery === 'at-most-once' ? { carried: { origins: world.origins } } : {}
    const [first, second] = [world.producer(ordering), world.producer(wholesale)]
    const shipping = world.consumer('shipping', options)
    const apps = [shipping, world.consumer('reporting', options), world.consumer('notification', options)]
    await Promise.all([first, second, ...apps].map((app) => app.start()))

    await Promise.all([placeAll(first, ordering, 0, 200), placeAll(second, wholesale, 0, 150)])
    await shipping.stop()
    // Two processes of one context, and one that is away for a while.
    const standby = world.consumer('reporting', options)
    await standby.start()
    await Promise.all([placeAll(first, ordering, 200, 400), placeAll(second, wholesale, 150, 300)])

    await broker.crash()
    await Promise.all([placeAll(first, ordering, 400, 500), placeAll(second, wholesale, 300, 400)])
    await broker.start()
    await world.consumer('shipping', options).start()
    await apps[1]!.stop()
    await placeAll(first, ordering, 500, 600)

    await world.settled(60_000)
    expect(world.faults()).toEqual(wholeWorld)
    expect([ordering, wholesale].map((producer) => world.published(producer).length)).toEqual([600, 400])
  })
})
