/** P9 Over NATS JetStream, whose server is killed and comes back, while consumers come and go. */

import { describe, expect, test } from 'vitest'
import { natsAt } from '../../support/nats-bench.ts'
import { missingNats, startNats } from '../../../tools/servers/nats.ts'
import { titled } from '../../support/require-server.ts'
import { exchangeWorld, ordering, placeAll, producers, wholeWorld, wholesale } from './world.ts'
import { eventually } from '../../support/eventually.ts'

const missing = missingNats()

describe.skipIf(missing)(titled('over NATS', missing), () => {
  test('nothing is lost, doubled or out of order', { timeout: 180_000 }, async () => {
    await using server = await startNats()
    const world = await exchangeWorld(natsAt(server.url, { ackWait: 2_000 }))
    const [first, second] = [world.producer(ordering), world.producer(wholesale)]
    const [shipping, reporting] = [world.consumer('shipping'), world.consumer('reporting')]
    await Promise.all([first, second, shipping, reporting].map((app) => app.start()))
    await Promise.all([placeAll(first, ordering, 0, 200), placeAll(second, wholesale, 0, 150)])
    await eventually('some have come', () => world.ledger('shipping', ordering).length > 0)
    await shipping.stop({ graceMs: 1_000 })

    await server.crash()
    await Promise.all([placeAll(first, ordering, 200, 400), placeAll(second, wholesale, 150, 300)])
    await server.start()
    // Another process of the one that was stopped, a second of one that runs, and one that comes late.
    const more = [world.consumer('shipping'), world.consumer('reporting'), world.consumer('notification')]
    await Promise.all(more.map((app) => app.start()))
    await Promise.all([placeAll(first, ordering, 400, 600), placeAll(second, wholesale, 300, 400)])
    await reporting.stop({ graceMs: 1_000 })
    await world.settled()
    expect(world.faults()).toEqual(wholeWorld)
    expect(producers.map((producer) => world.published(producer).length)).toEqual([600, 400])
  })
})
