/** P9 Over Kafka: each event once, in the order of its key, and none missing, while brokers crash and consumers come and go. */

import * as client from '@platformatic/kafka'
import { kafka } from 'pabal/kafka'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import type { Broker } from '../../support/broker.ts'
import { missingKafka, startKafka } from '../../support/kafka-server.ts'
import { titled } from '../../support/require-server.ts'
import { exchangeWorld, ordering, placeAll, wholeWorld, wholesale } from './world.ts'

const startMs = 180_000
const loadMs = 120_000

let broker: Broker

const transport = (prefix: string) => {
  const connection = { bootstrapBrokers: [broker.url] }
  const options = { client, connection, prefix, sessionTimeoutMs: 6_000, requestTimeoutMs: 5_000 }
  return kafka(options)['~pabal'].carried!.transport
}

const missing = missingKafka()
describe.skipIf(missing)(titled('over Kafka', missing), () => {
  beforeAll(async () => {
    broker = await startKafka()
  }, startMs)
  afterAll(() => broker?.[Symbol.asyncDispose]())

  test('nothing is lost, doubled or out of order while the broker crashes', { timeout: loadMs }, async () => {
    const world = await exchangeWorld(transport('crash.'))
    const producers = [world.producer(ordering), world.producer(wholesale)]
    const consumers = [world.consumer('shipping'), world.consumer('reporting'), world.consumer('notification')]
    await Promise.all([...producers, ...consumers].map((app) => app.start()))
    const [first, second] = producers
    await Promise.all([placeAll(first!, ordering, 0, 300), placeAll(second!, wholesale, 0, 200)])
    await consumers[0]!.stop()
    const restarting = broker.restart({ immediate: true })
    await Promise.all([placeAll(first!, ordering, 300, 600), placeAll(second!, wholesale, 200, 400)])
    await restarting
    await world.consumer('shipping').start()
    await world.settled(loadMs)
    expect(world.faults()).toEqual(wholeWorld)
  })

  test('partitions that are added in the middle move keys, and break nothing', { timeout: loadMs }, async () => {
    const world = await exchangeWorld(transport('growth.'))
    const producers = [world.producer(ordering), world.producer(wholesale)]
    const consumers = [world.consumer('shipping'), world.consumer('reporting'), world.consumer('notification')]
    const another = world.consumer('shipping')
    await Promise.all([...producers, ...consumers, another].map((app) => app.start()))
    const [first, second] = producers
    await Promise.all([placeAll(first!, ordering, 0, 300), placeAll(second!, wholesale, 0, 100)])
    const admin = new client.Admin({ clientId: 'test', bootstrapBrokers: [broker.url] })
    onTestFinished(() => admin.close())
    await admin.createPartitions({ topics: [{ name: 'growth.pabal.ordering', count: 11, assignments: null }] })
    await Promise.all([placeAll(first!, ordering, 300, 600), placeAll(second!, wholesale, 100, 200)])
    await world.settled(loadMs)
    expect(world.faults()).toEqual(wholeWorld)
  })
})
