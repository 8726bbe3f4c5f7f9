import { isDeepStrictEqual } from 'node:util'
import * as kafkaClient from '@platformatic/kafka'
import { connect } from 'amqplib'
import { Redis } from 'ioredis'
import { type Exchange, over, type Transport } from 'pabal'
import { kafka } from 'pabal/kafka'
import { rabbitmq } from 'pabal/rabbitmq'
import { redisStreams } from 'pabal/redis-streams'
import { describe, expect, it, onTestFinished } from 'vitest'
import { eventually } from '../../test/support/eventually.ts'
import { missingKafka, startKafka } from '../../test/support/kafka-server.ts'
import { natsAt } from '../../test/support/nats-bench.ts'
import { missingNats, startNats } from '../../test/support/nats-server.ts'
import { missingRabbit, startRabbit } from '../../test/support/rabbitmq-server.ts'
import { missingRedis, startRedis } from '../../test/support/redis-server.ts'
import { titled } from '../../test/support/require-server.ts'
import { createShop } from './app.ts'
import type { published } from './published.ts'
import { collectFigures } from './figures.ts'
import { openOrderFile } from './import-orders.ts'
import { halfYearFile } from './retail/testing.ts'
import { firstWeekOfShop, lastDayOfFirstWeek } from './testing/ledger.ts'
import { newFolder } from './testing/test-shop.ts'

/** What runs in each of two processes. */
const front = ['ordering', 'payment', 'warehouse']
const back = ['delivery', 'notification', 'reporting']

type ExchangeOf = (from: typeof published) => Exchange

interface OverBroker {
  readonly name: string
  readonly missing: string | undefined
  start(): Promise<ExchangeOf>
}

const kept = <B extends AsyncDisposable>(broker: B): B => {
  onTestFinished(() => broker[Symbol.asyncDispose]())
  return broker
}

const brokers: readonly OverBroker[] = [
  {
    name: 'RabbitMQ',
    missing: missingRabbit(),
    start: async () => {
      const { url } = kept(await startRabbit())
      // An exchange keeps nothing for a queue that is not there yet.
      const subscribers = { ordering: back, payment: back, delivery: front }
      return (from) => rabbitmq({ connect: () => connect(url), from, subscribers })
    },
  },
  {
    name: 'NATS JetStream',
    missing: missingNats(),
    start: async () => {
      const { url } = kept(await startNats())
      const transport: Transport = natsAt(url)
      return (from) => over(transport, { from })
    },
  },
  {
    name: 'Redis Streams',
    missing: missingRedis(),
    start: async () => {
      const { url } = kept(await startRedis())
      return (from) => redisStreams({ client: (settings) => new Redis(url, settings), from })
    },
  },
  {
    name: 'Kafka',
    missing: missingKafka(),
    start: async () => {
      const { url } = kept(await startKafka())
      return (from) => kafka({ client: kafkaClient, connection: { bootstrapBrokers: [url] }, from })
    },
  },
]

for (const broker of brokers)
  describe.skipIf(broker.missing)(titled(`the shop in two parts over ${broker.name}`, broker.missing), () => {
    it('comes to the figures of the shop in one piece', { timeout: 180_000 }, async () => {
      const exchange = await broker.start()
      const data = await newFolder()
      const open = (contexts?: readonly string[]) =>
        createShop({ data, onWarning: () => {}, ...(contexts && { contexts, exchange }) })
      await using taking = open(front)
      await using giving = open(back)
      await Promise.all([giving.app.start(), taking.app.start()])
      const file = await openOrderFile(halfYearFile, { lastDay: lastDayOfFirstWeek })
      await file.receive(taking.app)

      await using whole = open()
      const isWeek = async () => isDeepStrictEqual(await collectFigures(whole), firstWeekOfShop)
      await eventually('the figures are those of the week', isWeek, 120_000).catch(() => {})
      expect(await collectFigures(whole)).toEqual(firstWeekOfShop)
    })
  })
