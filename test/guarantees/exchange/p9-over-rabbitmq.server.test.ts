/** P9 Over a real RabbitMQ that crashes, to consumers that come and go: each event once, in the order of its key, and none missing. */

import { connect } from 'amqplib'
import { describe, expect, onTestFinished, test } from 'vitest'
import { rabbitmqTransport } from '../../../src/exchange/rabbitmq/transport.ts'
import { eventually } from '../../support/eventually.ts'
import { missingRabbit, quorumQueueIsKept, startRabbit } from '../../../tools/servers/rabbitmq.ts'
import { titled } from '../../support/require-server.ts'
import { exchangeWorld, ordering, placeAll, producers, wholesale, wholeWorld } from './world.ts'

const missing = missingRabbit()
const consumers = ['shipping', 'reporting', 'notification'] as const

describe.skipIf(missing)(titled('over RabbitMQ', missing), () => {
  test('nothing is lost, doubled or out of order', { timeout: 120_000 }, async () => {
    const broker = await startRabbit()
    onTestFinished(() => broker[Symbol.asyncDispose]())
    const world = await exchangeWorld(
      rabbitmqTransport({
        connect: () => connect(broker.url),
        subscribers: Object.fromEntries(producers.map(({ name }) => [name, consumers])),
      }),
    )
    const [first, second] = [world.producer(ordering), world.producer(wholesale)]
    const [shipping, reporting, notification] = consumers.map((name) => world.consumer(name))
    await Promise.all([first, second, shipping!, reporting!].map((app) => app.start()))
    const applied = (name: (typeof consumers)[number]): number =>
      producers.reduce((sum, producer) => sum + world.ledger(name, producer).length, 0)

    await Promise.all([placeAll(first, ordering, 0, 300), placeAll(second, wholesale, 0, 200)])
    await eventually('some of it is applied', () => applied('shipping') > 100 && applied('reporting') > 0)
    for (const { name } of producers)
      for (const consumer of consumers) await quorumQueueIsKept(broker, `pabal.${name}.${consumer}.refused`)

    await shipping!.stop({ graceMs: 100 })
    await broker.crash()
    await Promise.all([placeAll(first, ordering, 300, 600), placeAll(second, wholesale, 200, 400)])
    // One that was away from the beginning, and one that comes back, while the broker is down.
    await notification!.start()
    await world.consumer('shipping').start()
    await broker.start()

    await eventually('it goes on', () => applied('shipping') > 500)
    await reporting!.stop({ graceMs: 100 })
    await world.consumer('reporting').start()
    await world.settled(60_000)
    expect(world.faults()).toEqual(wholeWorld)
    expect(producers.map((producer) => world.published(producer).length)).toEqual([600, 400])
  })
})
