/** P9 Over Kafka: each event once, in the order of its key, and none missing, while brokers crash and consumers come and go. */

import * as client from '@platformatic/kafka'
import { kafka } from 'pabal/kafka'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { defaultLimits } from '../../../src/core/limits.ts'
import type { Incoming, OpenTransport, Transport, TransportOptions } from '../../../src/exchange/transport.ts'
import type { Broker } from '../../../tools/servers/broker.ts'
import { eventually } from '../../support/eventually.ts'
import { missingKafka, startKafka } from '../../../tools/servers/kafka.ts'
import { titled } from '../../support/require-server.ts'
import { rowsOf } from '../../support/shop.ts'
import { exchangeWorld, ordering, placeAll, wholeWorld, wholesale } from './world.ts'

const startMs = 180_000
const loadMs = 120_000

let broker: Broker

const transport = (prefix: string): Transport => {
  const connection = { bootstrapBrokers: [broker.url] }
  const options = { client, connection, prefix, sessionTimeoutMs: 6_000, requestTimeoutMs: 5_000 }
  return kafka(options)['~pabal'].carried[0]!.transport
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
    await expect.poll(() => world.faults(), { timeout: 10_000 }).toEqual(wholeWorld)
  })

  test('partitions that are added in the middle move keys, and break nothing', { timeout: loadMs }, async () => {
    const topic = 'growth.pabal.ordering'
    const arrived = new Arrivals()
    const world = await exchangeWorld(arrived.of(transport('growth.')))
    const inLog = () => rowsOf(world.path('ordering'), 'SELECT id FROM pabal_ordering_event').length
    const [before, other] = [world.producer(ordering), world.producer(wholesale)]
    const consumers = [world.consumer('shipping'), world.consumer('reporting'), world.consumer('notification')]
    await Promise.all([before, other, ...consumers].map((app) => app.start()))
    await Promise.all([placeAll(before, ordering, 0, 300), placeAll(other, wholesale, 0, 200)])
    await world.settled(loadMs)

    // With nobody there to read, the old and the new place of a key fill up both.
    await Promise.all(consumers.map((app) => app.stop()))
    await placeAll(before, ordering, 300, 500)
    const admin = new client.Admin({ clientId: 'test', bootstrapBrokers: [broker.url] })
    onTestFinished(() => admin.close())
    await eventually('they are published', async () => sum(await endsOf(admin, topic, 6)) >= inLog())
    await before.stop()
    await admin.createPartitions({ topics: [{ name: topic, count: 11, assignments: null }] })
    const after = world.producer(ordering)
    await after.start()
    await placeAll(after, ordering, 500, 800)
    await eventually('they are published too', async () => sum(await endsOf(admin, topic, 11)) >= inLog())
    expect((await endsOf(admin, topic, 11)).slice(6).every((end) => end > 0)).toBe(true)

    const again = [world.consumer('shipping'), world.consumer('shipping'), world.consumer('reporting')]
    await Promise.all([...again, world.consumer('notification')].map((app) => app.start()))
    await world.settled(loadMs)
    await expect.poll(() => world.faults(), { timeout: 10_000 }).toEqual(wholeWorld)
    expect(arrived.early).toBeGreaterThan(0)
  })
})

/** How many events Kafka brought before one of their key that was published earlier. */
class Arrivals {
  early = 0
  readonly #last = new Map<string, number>()

  of(plain: Transport): Transport {
    const open = async (options: TransportOptions): Promise<OpenTransport> => {
      const opened = await plain.open(options)
      return {
        publish: (...given) => opened.publish(...given),
        receive: (channel, subscriber, take) =>
          opened.receive(channel, subscriber, (batch) => {
            for (const incoming of batch) this.#note(subscriber, incoming)
            return take(batch)
          }),
        [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose](),
      }
    }
    return { ...plain, open }
  }

  #note(subscriber: string, incoming: Incoming): void {
    const { attributes } = incoming.decode(defaultLimits)
    const key = [subscriber, attributes.get('source'), attributes.get('subject')].join(' ')
    const previous = Number(attributes.get('previousversion') ?? 0)
    const known = this.#last.get(key) ?? 0
    if (previous > known) this.early++
    this.#last.set(key, Math.max(known, Number(attributes.get('streamversion'))))
  }
}

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0)

const endsOf = async (admin: client.Admin, name: string, count: number): Promise<number[]> => {
  const partitions = Array.from({ length: count }, (_, partitionIndex) => ({ partitionIndex, timestamp: -1n }))
  const [found] = await admin.listOffsets({ topics: [{ name, partitions }] })
  return found!.partitions.toSorted((a, b) => a.partitionIndex - b.partitionIndex).map(({ offset }) => Number(offset))
}
