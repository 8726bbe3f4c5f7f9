/** P9 Over a transport that repeats, reorders, delays and forgets: each event once, in the order of its key, and none missing. */

import { describe, expect, onTestFailed, test } from 'vitest'
import { kind, NastyBroker } from '../../../src/testing/nasty-transport.ts'
import { seeded } from '../postgres-workers/seeded.ts'
import { exchangeWorld, ordering, placeAll, producers, wholeWorld, wholesale } from './world.ts'

const random = (): (() => number) => {
  const seed = Number(process.env['PABAL_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
  onTestFailed(() => console.error(`the faults were chosen with PABAL_SEED=${seed}`))
  return seeded(seed)
}

describe('over a nasty transport', () => {
  test.each([false, true])(
    'nothing is lost, doubled or out of order (ordered: %s)',
    { timeout: 60_000 },
    async (ordered) => {
      const broker = new NastyBroker({ random: random(), traits: { ordered } })
      const world = await exchangeWorld(broker.transport)
      const apps = [world.consumer('shipping'), world.consumer('reporting'), world.consumer('notification')]
      const [first, second] = [world.producer(ordering), world.producer(wholesale)]
      await Promise.all([...apps, first, second].map((app) => app.start()))
      await Promise.all([placeAll(first, ordering, 0, 600), placeAll(second, wholesale, 0, 400)])
      await world.settled()
      broker.faults = kind
      expect(world.faults()).toEqual(wholeWorld)
    },
  )

  test('a broker that is down holds nothing up but itself', { timeout: 60_000 }, async () => {
    const broker = new NastyBroker({ random: random() })
    broker.down = true
    const world = await exchangeWorld(broker.transport)
    const first = world.producer(ordering)
    await first.start()
    await placeAll(first, ordering, 0, 100)
    const apps = [world.consumer('shipping'), world.consumer('reporting'), world.consumer('notification')]
    const second = world.producer(wholesale)
    await Promise.all([...apps, second].map((app) => app.start()))
    await placeAll(second, wholesale, 0, 100)
    broker.down = false
    await world.settled()
    expect(world.faults()).toEqual(wholeWorld)
    expect(producers.map((producer) => world.published(producer).length)).toEqual([100, 100])
  })
})
