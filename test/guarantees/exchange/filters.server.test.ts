/** A filter over each real broker: the wanted events, once, in order; over SNS and SQS the others never come. */

import { over, systemEnvironment } from 'pabal'
import { describe, expect, onTestFinished, test } from 'vitest'
import { applySteps } from '../../../src/exchange/topology.ts'
import { eventually } from '../../support/eventually.ts'
import {
  asia,
  billing,
  consumerOf,
  countReceived,
  earlyIn,
  filteringBy,
  fromOrdering,
  large,
  pathOf,
  placeAll,
  producerOf,
  shipping,
  wantedOf,
} from '../../support/filtered-shop.ts'
import { testFolder } from '../../support/folder.ts'
import { titled } from '../../support/require-server.ts'
import { ledgerOf, sequencesOf } from '../../support/shop.ts'
import { realOrders } from '../world.ts'
import { eachBroker } from './brokers.ts'
import { transports } from './transports.ts'

describe.each(eachBroker)('a filter', (name, { missing, start }) => {
  // It keeps back whole keys that nobody wants.
  const selects = name === 'sns-sqs'
  describe.skipIf(missing)(titled(`over ${name}`, missing), () => {
    test('holds, and nothing wanted is lost, doubled or out of order', { timeout: 180_000 }, async () => {
      const broker = await start()
      onTestFinished(() => broker[Symbol.asyncDispose]())
      const folder = await testFolder()
      const transport = await transports[name](broker.url)
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
        consumerOf(
          over(transport, { from: fromOrdering }),
          filteringBy(folder, shipping, asia),
          filteringBy(folder, billing, large),
        )
      const producer = producerOf(folder, over(transport))
      const orders = await realOrders(120)
      const first = consuming()
      await first.start()
      await producer.start()
      await placeAll(producer, orders.slice(0, 60))
      const count = (of: string): number => ledgerOf(pathOf(folder, of)).length
      await eventually('some is applied', () => count('shipping') > 0 && count('billing') > 0, 60_000)
      await first.stop({ graceMs: 0 })
      await placeAll(producer, orders.slice(60))
      await consuming().start()
      for (const [of, filter, kept] of [
        ['shipping', asia, asia],
        ['billing', large, { country: ['US'] }],
      ] as const) {
        const comes = wantedOf(folder, selects ? kept : undefined).length
        await eventually(
          `all has come to ${of}`,
          () => countReceived(folder, of) >= comes && count(of) >= wantedOf(folder, filter).length,
          90_000,
        )
        expect(countReceived(folder, of)).toBe(comes)
        expect(sequencesOf(ledgerOf(pathOf(folder, of)))).toEqual(sequencesOf(wantedOf(folder, filter)))
        expect(earlyIn(folder, of)).toEqual([])
      }
    })
  })
})
