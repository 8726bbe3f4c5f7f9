/** A filter over each real broker: the wanted events, once, in order; over SNS and SQS the others never come. */

import { over, systemEnvironment } from 'pabal'
import { describe, expect, onTestFinished, test } from 'vitest'
import { applySteps } from '../../../src/exchange/topology.ts'
import type { Broker } from '../../../tools/servers/broker.ts'
import { missingKafka, startKafka } from '../../../tools/servers/kafka.ts'
import { missingNats, startNats } from '../../../tools/servers/nats.ts'
import { missingRabbit, startRabbit } from '../../../tools/servers/rabbitmq.ts'
import { missingRedis, startRedis } from '../../../tools/servers/redis.ts'
import { missingSnsSqs, startSnsSqs } from '../../../tools/servers/sns-sqs.ts'
import { eventually } from '../../support/eventually.ts'
import {
  billing,
  consumerOf,
  filteringBy,
  OrderPaid,
  OrderPaidV1,
  OrderPlaced,
  OrderPlacedV1,
  orderOf,
  ordering,
  pathOf,
  producerOf,
  shipping,
  wantedOf,
} from '../../support/filtered-shop.ts'
import { testFolder } from '../../support/folder.ts'
import { titled } from '../../support/require-server.ts'
import { ledgerOf, rowsOf, sequencesOf } from '../../support/shop.ts'
import { realOrders } from '../world.ts'
import { type TransportName, transports } from './transports.ts'

interface Over {
  readonly missing: string | undefined
  readonly start: () => Promise<Broker>
  /** It keeps back whole keys that nobody wants. */
  readonly selects: boolean
}

const brokers: Readonly<Record<TransportName, Over>> = {
  rabbitmq: { missing: missingRabbit(), start: () => startRabbit(), selects: false },
  kafka: { missing: missingKafka(), start: () => startKafka(), selects: false },
  nats: { missing: missingNats(), start: () => startNats(), selects: false },
  'redis-streams': { missing: missingRedis(), start: () => startRedis(), selects: false },
  'sns-sqs': { missing: missingSnsSqs(), start: () => startSnsSqs(), selects: true },
}

const asia = { country: ['KR', 'JP'] }
const large = { country: ['US'], large: ['yes'] }

describe.each(Object.entries(brokers) as [TransportName, Over][])('a filter', (name, { missing, start, selects }) => {
  describe.skipIf(missing)(titled(`over ${name}`, missing), () => {
    test('holds, and nothing wanted is lost, doubled or out of order', { timeout: 180_000 }, async () => {
      const broker = await start()
      onTestFinished(() => broker[Symbol.asyncDispose]())
      const folder = await testFolder()
      const transport = await transports[name](broker.url)
      const exchange = () => over(transport, { from: { ordering: [OrderPlacedV1, OrderPaidV1] } })
      // Before anything is published: SNS and RabbitMQ keep nothing for those who come later.
      const ready = async () => {
        const opened = await transport.open({ environment: systemEnvironment, warn: () => {} })
        const receives = [
          { channel: { context: 'ordering' }, subscriber: 'shipping', selection: { country: ['KR', 'JP'] } },
          { channel: { context: 'ordering' }, subscriber: 'billing', selection: { country: ['US'] } },
        ]
        await applySteps(name, opened.resources!({ publishes: [{ context: 'ordering' }], receives }))
        await opened[Symbol.asyncDispose]()
      }
      await ready()
      const consuming = () =>
        consumerOf(exchange(), filteringBy(folder, shipping, asia), filteringBy(folder, billing, large))
      const producer = producerOf(folder, over(transport))
      const place = async (from: number, to: number): Promise<void> =>
        producer.context(ordering).transaction(({ raise }) => {
          for (const { orderId, n } of orders.slice(from, to))
            raise(n % 3 === 0 ? OrderPaid : OrderPlaced, orderOf(orderId, n))
        })
      const orders = await realOrders(120)
      const first = consuming()
      await first.start()
      await producer.start()
      await place(0, 60)
      const count = (of: string): number => ledgerOf(pathOf(folder, of)).length
      await eventually('some is applied', () => count('shipping') > 0 && count('billing') > 0, 60_000)
      await first.stop({ graceMs: 0 })
      await place(60, 120)
      await consuming().start()
      const received = (of: string): number =>
        rowsOf<{ n: number }>(pathOf(folder, of), `SELECT count(*) AS n FROM pabal_${of}_event`)[0]!.n
      for (const [of, filter, kept] of [
        ['shipping', asia, asia],
        ['billing', large, { country: ['US'] }],
      ] as const) {
        const comes = wantedOf(folder, selects ? kept : undefined).length
        await eventually(
          `all has come to ${of}`,
          () => received(of) >= comes && count(of) >= wantedOf(folder, filter).length,
          90_000,
        )
        expect(received(of)).toBe(comes)
        expect(sequencesOf(ledgerOf(pathOf(folder, of)))).toEqual(sequencesOf(wantedOf(folder, filter)))
        expect(rowsOf(pathOf(folder, of), `SELECT key, sequence, reason FROM pabal_${of}_early`)).toEqual([])
      }
    })
  })
})
