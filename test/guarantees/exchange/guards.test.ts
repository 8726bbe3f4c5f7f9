/** What P9 rests on, taken out piece by piece: with the same faults, something is then lost, doubled or out of order. */

import { expect, test } from 'vitest'
import type { ContextStore } from '../../../src/store/store.ts'
import { NastyBroker, nasty } from '../../../src/testing/nasty-transport.ts'
import { changed } from '../../support/changed-store.ts'
import { seeded } from '../postgres-workers/seeded.ts'
import { exchangeWorld, ordering, placeAll, wholesale, wholeWorld } from './world.ts'

type Change = (context: ContextStore) => Partial<ContextStore>

/** What the world is like in the end. Whoever has not got everything by then never will. */
const after = async (change: Change, startAt: 'beginning' | 'now' = 'beginning'): Promise<unknown> => {
  const broker = new NastyBroker({ random: seeded(7), faults: { ...nasty, delayMsMax: 0 } })
  const world = await exchangeWorld(broker.transport)
  const consumers = (['shipping', 'reporting', 'notification'] as const).map((name) =>
    world.consumer(name, { carried: { startAt }, store: (plain) => changed(plain, change) }),
  )
  const [first, second] = [world.producer(ordering), world.producer(wholesale)]
  await Promise.all([...consumers, first, second].map((app) => app.start()))
  await Promise.all([placeAll(first, ordering, 0, 300), placeAll(second, wholesale, 0, 100)])
  await Promise.all([first.settle(), second.settle()])
  await world.settled(3_000).catch(() => {})
  return world.faults()
}

const guards: readonly [string, Change, 'beginning' | 'now'][] = [
  ['the place of what was received before', ({ inbox }) => ({ inbox: { ...inbox, heads: () => new Map() } }), 'now'],
  ['a place for what comes early', ({ early }) => ({ early: { ...early, put: () => {} } }), 'beginning'],
  ['the head in the transaction of the entries', ({ inbox }) => ({ inbox: { ...inbox, advance: () => {} } }), 'now'],
]

test('with all of them the world is whole', { timeout: 180_000 }, async () => {
  expect(await after(() => ({}))).toEqual(wholeWorld)
})

test.each(guards)('without %s it is not', { timeout: 180_000 }, async (_, change, startAt) => {
  expect(await after(change, startAt)).not.toEqual(wholeWorld)
})
