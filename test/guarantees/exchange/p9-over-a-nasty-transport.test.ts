/** P9 Over a transport that repeats, reorders, delays and forgets: each event once, in the order of its key, and none missing. */

import { describe, expect, onTestFailed, test } from 'vitest'
import { kind, nasty, NastyBroker } from '../../../src/testing/nasty-transport.ts'
import { seeded } from '../postgres-workers/seeded.ts'
import { rowsOf } from '../../support/shop.ts'
import { exchangeWorld, ordering, placeAll, producers, wholeWorld, wholesale } from './world.ts'

const random = (): (() => number) => {
  const seed = Number(process.env['PABAL_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
  onTestFailed(() => console.error(`the faults were chosen with PABAL_SEED=${seed}`))
  return seeded(seed)
}

describe('over a nasty transport', () => {
  test.each([false, true])(
    'nothing is lost, doubled or out of order (ordered: %s)',
    { timeout: 180_000 },
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

  test.each([
    ['some', 0.3],
    ['everything', 1],
  ])(
    "that loses %s of what it carries: it is read in the producers' logs, the last event of a key too, and settled means all",
    { timeout: 180_000 },
    async (_, lost) => {
      const traits = { delivery: 'at-most-once', ordered: false } as const
      const broker = new NastyBroker({ random: random(), traits, faults: { ...nasty, lost } })
      const world = await exchangeWorld(broker.transport)
      const carried = { origins: world.origins }
      const apps = [
        world.consumer('shipping', { carried }),
        world.consumer('reporting', { carried }),
        world.consumer('notification', { carried }),
      ]
      const [first, second] = [world.producer(ordering), world.producer(wholesale)]
      await Promise.all([...apps, first, second].map((app) => app.start()))
      await Promise.all([placeAll(first, ordering, 0, 300), placeAll(second, wholesale, 0, 200)])
      await Promise.all(apps.map((app) => app.settle({ withinMs: 30_000 })))
      expect(world.faults()).toEqual(wholeWorld)
      // What is still to be compared is not dropped there.
      await Promise.all(apps.map((app) => app.stop()))
      const readers = rowsOf<{ name: string; position: number }>(
        world.path('ordering'),
        'SELECT name, position FROM pabal_ordering_reader ORDER BY name',
      )
      expect(readers.map(({ name }) => name)).toEqual([
        'notification/verify-ordering',
        'reporting/verify-ordering',
        'shipping/verify-ordering',
      ])
      const through = world.published(ordering).at(-1)!.position
      expect(readers.filter(({ position }) => position < through)).toEqual([])
    },
  )

  test('that has lost what was published before its subscriber looked into the log: nothing is missing', {
    timeout: 180_000,
  }, async () => {
    const traits = { delivery: 'at-most-once' } as const
    const broker = new NastyBroker({ random: random(), traits, faults: { ...kind, lost: 0.5 } })
    const world = await exchangeWorld(broker.transport)
    const [first, second] = [world.producer(ordering), world.producer(wholesale)]
    const blind = ['shipping', 'reporting', 'notification'] as const
    const before = blind.map((name) => world.consumer(name))
    await Promise.all([...before, first, second].map((app) => app.start()))
    await Promise.all([placeAll(first, ordering, 0, 100), placeAll(second, wholesale, 0, 100)])
    await Promise.all([first, second].map((app) => app.settle({ withinMs: 30_000 })))
    await Promise.all(before.map((app) => app.stop()))
    expect(world.faults()).not.toEqual(wholeWorld)
    const after = blind.map((name) => world.consumer(name, { carried: { origins: world.origins } }))
    await Promise.all(after.map((app) => app.settle({ withinMs: 30_000 })))
    expect(world.faults()).toEqual(wholeWorld)
  })

  test('a broker that is down holds nothing up but itself', { timeout: 180_000 }, async () => {
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
