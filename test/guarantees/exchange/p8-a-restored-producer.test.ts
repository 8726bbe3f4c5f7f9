/** P8 and P9 A producer whose log was put back to an older copy: no key is led over the new history, and all others go on. */

import { copyFile, rm } from 'node:fs/promises'
import { type App, systemEnvironment } from 'pabal'
import { operate, statusOf } from 'pabal/operate'
import { sqlite } from 'pabal/sqlite'
import { expect, test } from 'vitest'
import { kind, NastyBroker } from '../../../src/testing/nasty-transport.ts'
import { eventually } from '../../support/eventually.ts'
import { rowsOf } from '../../support/shop.ts'
import { exchangeWorld, ordering } from './world.ts'

const place = (app: App, orderId: string, ...ns: readonly number[]) =>
  app.context(ordering.context).transaction(({ raise }) => {
    for (const n of ns) raise(ordering.placed, { orderId, n })
  })

const backUp = async (path: string): Promise<void> => {
  const database = await sqlite(path).database.open(systemEnvironment)
  await database.backup(`${path}.backup`)
  await database.close()
}

/** By hand it has the incarnation that it had, and what has an older place than the last one received looks like a repetition. */
const byHand = async (path: string): Promise<void> => {
  for (const suffix of ['-wal', '-shm']) await rm(`${path}${suffix}`, { force: true })
  await copyFile(`${path}.backup`, path)
}

test.each([
  ['restored from its backup', (path: string) => sqlite(path).database.restore(`${path}.backup`), [3, 4, 5]],
  ['copied back by hand', byHand, [4, 5]],
] as const)(
  '%s: new events of a key that has lost some wait for a person',
  { timeout: 180_000 },
  async (_, putBack, wait) => {
    const broker = new NastyBroker({ random: Math.random, traits: { ordered: true }, faults: kind })
    const world = await exchangeWorld(broker.transport)
    const path = world.path('ordering')
    const consumer = world.consumer('shipping')
    await consumer.start()
    const shipped = () =>
      world
        .ledger('shipping', ordering)
        .map(({ key, sequence }) => `${key} ${sequence}`)
        .toSorted()
    const early = () =>
      rowsOf(world.path('shipping'), 'SELECT key, sequence, reason FROM pabal_shipping_early ORDER BY 1, 2')

    const first = world.producer(ordering)
    await place(first, 'lost', 1, 2)
    await place(first, 'kept', 1)
    await first.settle()
    await first.stop()
    await backUp(path)
    const second = world.producer(ordering)
    await place(second, 'lost', 3, 4)
    await second.settle()
    await second.stop()
    await eventually('all are shipped', () => shipped().length === 5)

    await putBack(path)
    const again = world.producer(ordering)
    await place(again, 'lost', 30, 40, 50)
    await place(again, 'kept', 2)
    await place(again, 'new', 1)
    await again.settle()
    const expected = ['kept 1', 'kept 2', 'lost 1', 'lost 2', 'lost 3', 'lost 4', 'new 1']
    await eventually('the others go on', () => shipped().length === expected.length && early().length === wait.length)
    expect(shipped()).toEqual(expected)
    expect(early()).toEqual(wait.map((sequence) => ({ key: 'lost', sequence, reason: 'diverged' })))
    const { concerns } = await statusOf(await operate(consumer))
    expect(concerns.map(({ title }) => title)).toContain('another history')
  },
)
