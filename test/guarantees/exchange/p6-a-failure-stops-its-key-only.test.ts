/** P6 What was received and cannot be handled stops its key only, shows, and is taken up again by a person: as everything else. */

import {
  consumerNamed,
  findDead,
  findEvent,
  operate,
  planReset,
  reset,
  retryOne,
  skipOne,
  statusOf,
  traceOf,
} from 'pabal/operate'
import { expect, test } from 'vitest'
import { kind, NastyBroker } from '../../../src/testing/nasty-transport.ts'
import { eventually } from '../../support/eventually.ts'
import { exchangeWorld, ordering } from './world.ts'

const operator = { by: 'test', reason: 'to see' }

test('a received event that fails parks its key; retried, skipped, traced and read again from the start', {
  timeout: 180_000,
}, async () => {
  const broker = new NastyBroker({ random: Math.random, traits: { ordered: true }, faults: kind })
  const world = await exchangeWorld(broker.transport)
  const failing = new Set(['a', 'b'])
  const consumer = world.consumer('shipping', {
    at: ({ key }) => {
      if (failing.has(key)) throw new Error('not now')
    },
    retry: 'none',
  })
  const producer = world.producer(ordering)
  await Promise.all([consumer, producer].map((app) => app.start()))
  await producer.context(ordering.context).transaction(({ raise }) => {
    for (const orderId of ['a', 'b', 'c', 'a', 'b', 'c']) raise(ordering.placed, { orderId, n: 1 })
  })
  const shipped = () => world.ledger('shipping', ordering).map(({ key, sequence }) => `${key}${sequence}`)
  const are = (...expected: string[]) =>
    eventually(expected.join(), () => shipped().toSorted().join() === expected.toSorted().join())
  await are('c1', 'c2')

  const operated = await operate(consumer)
  const dead = (key: string) => findDead(operated, undefined, { consumer: 'shipping/ordering', key })
  await eventually('both wait', () => dead('b').catch(() => false))
  expect((await dead('a')).row).toMatchObject({ source: 'received/ordering', key: 'a', sequence: 1, status: 'dead' })
  expect((await statusOf(operated)).concerns.map(({ title }) => title)).toContain('dead letters')

  failing.clear()
  await retryOne(operated, await dead('a'), operator)
  await are('a1', 'a2', 'c1', 'c2')
  await skipOne(operated, await dead('b'), operator)
  await are('a1', 'a2', 'b2', 'c1', 'c2')

  const [first] = world.published(ordering)
  const trace = await traceOf(operated, first!.id)
  const [root] = trace.roots
  expect(root!.events.find(({ id }) => id === first!.id)).toMatchObject({
    key: 'a',
    sequence: 1,
    deliveries: [{ consumer: 'ordering', state: 'handled' }],
  })
  expect(await findEvent(operated, first!.id)).toBeDefined()

  const address = await consumerNamed(operated, 'shipping/ordering')
  await reset(operated, address, await planReset(address, 'beginning'), operator)
  await eventually('all is done again', () => shipped().length === 5 + 6)
})
