/** P9 over SNS and SQS (emulated): producers and consumers that come and go, and a broker that crashes in the middle. */

import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { snsSqsTransport, type SnsSqsTransportOptions } from '../../../src/exchange/sns-sqs/index.ts'
import { awsClients } from '../../support/aws-clients.ts'
import type { Broker } from '../../../tools/servers/broker.ts'
import { eventually } from '../../support/eventually.ts'
import { titled } from '../../support/require-server.ts'
import { missingSnsSqs, startSnsSqs } from '../../../tools/servers/sns-sqs.ts'
import { exchangeWorld, ordering, placeAll, wholesale, wholeWorld } from './world.ts'

const missing = missingSnsSqs()

describe.skipIf(missing).each([true, false])(titled('over SNS and SQS (fifo: %s)', missing), (fifo) => {
  let broker: Broker
  beforeAll(async () => {
    broker = await startSnsSqs()
  })
  afterAll(() => broker[Symbol.asyncDispose]())

  /** All five at work, over names of their own. */
  const atWork = async (options: Partial<SnsSqsTransportOptions>) => {
    const clients = awsClients(broker.url)
    onTestFinished(() => clients[Symbol.dispose]())
    const { sns, sqs } = clients
    const subscriptions = async () => (await sns.listSubscriptions({})).Subscriptions?.length ?? 0
    const world = await exchangeWorld(snsSqsTransport({ sns, sqs, fifo, waitMs: 1_000, ...options }))
    const before = await subscriptions()
    const consumers = [world.consumer('shipping'), world.consumer('reporting'), world.consumer('notification')]
    await Promise.all(consumers.map((app) => app.start()))
    // A queue that is not subscribed yet would miss what is published before.
    await eventually('all have subscribed', async () => (await subscriptions()) === before + 6)
    const [first, second] = [world.producer(ordering), world.producer(wholesale)]
    await Promise.all([first, second].map((app) => app.start()))
    return { world, consumers, first, second }
  }

  test('nothing is lost, doubled or out of order', { timeout: 180_000 }, async () => {
    const { world, first, second } = await atWork({ prefix: 'short-' })
    await Promise.all([placeAll(first, ordering, 0, 100), placeAll(second, wholesale, 0, 60)])
    await world.settled(60_000)
    expect(world.faults()).toEqual(wholeWorld)
  })

  // The emulator hands out one message of a group at a time, so what a hot key has takes a while.
  test('the same while the broker crashes and consumers come and go', { timeout: 180_000 }, async () => {
    // Shorter than by default, for what was on its way at the crash; a machine that is slow renews it all the same.
    const { world, consumers, first, second } = await atWork({ visibilityMs: 10_000 })
    await Promise.all([placeAll(first, ordering, 0, 150), placeAll(second, wholesale, 0, 100)])
    await eventually('some have come', () => world.ledger('shipping', ordering).length > 30)
    await consumers[0]!.stop()
    await broker.crash()
    await Promise.all([placeAll(first, ordering, 150, 300), placeAll(second, wholesale, 100, 200)])
    await broker.start()
    await world.consumer('shipping').start()
    await consumers[1]!.stop()
    await Promise.all([placeAll(first, ordering, 300, 360), placeAll(second, wholesale, 200, 240)])
    await world.consumer('reporting').start()
    await world.settled(120_000)
    expect(world.faults()).toEqual(wholeWorld)
  })
})
