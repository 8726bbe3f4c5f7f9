/** P9 of messages, over each broker: sent if and only if committed, handled once, in the order of each key, and none missing. */

import type { Transport } from 'pabal'
import { describe, expect, onTestFinished, test } from 'vitest'
import { defaultLimits } from '../../../src/core/limits.ts'
import { quorumQueueIsKept } from '../../../tools/servers/rabbitmq.ts'
import { startChild } from '../../support/child.ts'
import { eventually } from '../../support/eventually.ts'
import { testFolder } from '../../support/folder.ts'
import { titled } from '../../support/require-server.ts'
import { ledgerOf, testApp } from '../../support/shop.ts'
import {
  expectAllHandled,
  fileOf,
  handled,
  ordering,
  receiver,
  send,
  sender,
  senders,
  sentInAll,
  smsOver,
  wholesale,
} from '../../support/sms.ts'
import { brokers, eachBroker } from './brokers.ts'
import { messageTransports } from './transports.ts'

const withSqs = [...eachBroker, ['sqs', brokers['sns-sqs']] as const]

const withinMs = 90_000

/** Notes the ids that it brings. */
const noting = (plain: Transport, arrived: Set<string>): Transport => ({
  ...plain,
  open: async (options) => {
    const open = await plain.open(options)
    return {
      ...open,
      publish: (...given) => open.publish(...given),
      receive: (channel, subscriber, take) =>
        open.receive(channel, subscriber, (batch) => {
          for (const incoming of batch) arrived.add(String(incoming.decode(defaultLimits).attributes.get('id')))
          return take(batch)
        }),
      [Symbol.asyncDispose]: () => open[Symbol.asyncDispose](),
    }
  },
})

describe.each(withSqs)('messages', (name, { missing, start }) => {
  describe.skipIf(missing)(titled(`over ${name}`, missing), () => {
    // Over a queue there is nothing else.
    test.each(name === 'sqs' ? [true] : [true, false])(
      'nothing is lost, doubled or out of order (in a stream of their own: %s)',
      { timeout: 240_000 },
      async (apart) => {
        const broker = await start()
        onTestFinished(() => broker[Symbol.asyncDispose]())
        const folder = await testFolder()
        const transport = await messageTransports[name](broker.url)
        const arrived = new Set<string>()
        const dying = (role: string) =>
          startChild({ file: 'test/support/sms-process.ts' }, role, folder, name, broker.url, String(apart))
        const [first, second] = [ordering, wholesale].map((each) =>
          testApp([sender(folder, each)], { leaseMs: 1_000, exchange: smsOver(transport, 'send', apart) }),
        ) as [ReturnType<typeof testApp>, ReturnType<typeof testApp>]
        const sendAll = (from: number, to: number) =>
          Promise.all([send(first, ordering, from, to), send(second, wholesale, from, to)])
        const receiving = async () => {
          const exchange = smsOver(noting(transport, arrived), 'receive', apart)
          const app = testApp([receiver(folder)], { leaseMs: 1_000, exchange })
          await app.start()
          return app
        }

        // Nobody has ever received: they wait. Who sends them is killed when they are there, and does not know it.
        await sendAll(0, 30)
        const sending = dying('send')
        await sending.said('published')
        await sending.kill()
        await Promise.all([first, second].map((app) => app.start()))
        await first.settle({ withinMs })

        // Between the effect and the acknowledgement.
        const taking = dying('receive')
        await taking.said('taken')
        await eventually('some have had their effect', () => handled(folder) > 0, withinMs)
        await taking.kill()
        const before = ledgerOf(fileOf(folder, 'notification')).map(({ event_id }) => event_id)

        const away = await receiving()
        await eventually('some more have come', () => handled(folder) > before.length, withinMs)
        await away.stop({ graceMs: 0 })
        if (name === 'rabbitmq')
          for (const each of senders)
            await quorumQueueIsKept(broker, `pabal.${each.name}${apart ? '__sms' : ''}.notification.refused`)
        await broker.crash()
        await sendAll(30, 60)
        await broker.start()
        // Two processes of the receiver.
        await Promise.all([receiving(), receiving()])
        await sendAll(60, 80)
        await eventually('all are handled', () => handled(folder) >= sentInAll(folder), withinMs).catch(() => {})
        expectAllHandled(folder)
        expect(before.some((id) => arrived.has(id))).toBe(true)
      },
    )
  })
})
