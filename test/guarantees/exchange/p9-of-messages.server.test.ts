/** P9 of messages, over SQS alone (emulated): sent if and only if committed, handled once, in the order of each key, and none missing. */

import { type CarriedOptions, type Exchange, inProcess, routes } from 'pabal'
import { sqs } from 'pabal/sns-sqs'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import type { Broker } from '../../../tools/servers/broker.ts'
import { missingSnsSqs, startSnsSqs } from '../../../tools/servers/sns-sqs.ts'
import { awsClients } from '../../support/aws-clients.ts'
import { startChild } from '../../support/child.ts'
import { eventually } from '../../support/eventually.ts'
import { testFolder } from '../../support/folder.ts'
import { titled } from '../../support/require-server.ts'
import { testApp } from '../../support/shop.ts'
import {
  expectAllHandled,
  handled,
  ordering,
  receiver,
  send,
  sender,
  SendSms,
  sentInAll,
  wholesale,
} from '../../support/sms.ts'

const missing = missingSnsSqs()

describe.skipIf(missing)(titled('messages over SQS alone', missing), { timeout: 120_000 }, () => {
  let broker: Broker
  beforeAll(async () => {
    broker = await startSnsSqs()
  })
  afterAll(() => broker?.[Symbol.asyncDispose]())

  const inQueue = async (QueueName: string): Promise<number> => {
    using aws = awsClients(broker.url)
    const { QueueUrl } = await aws.sqs.getQueueUrl({ QueueName })
    const { Attributes } = await aws.sqs.getQueueAttributes({ QueueUrl, AttributeNames: ['All'] })
    const { ApproximateNumberOfMessages, ApproximateNumberOfMessagesNotVisible } = Attributes!
    return Number(ApproximateNumberOfMessages) + Number(ApproximateNumberOfMessagesNotVisible)
  }
  const from = { ordering: [SendSms], wholesale: [SendSms] }

  /** Two that send and one that receives, each an app of its own; events go nowhere. */
  const world = async (prefix: string) => {
    const folder = await testFolder()
    const exchange = (carried: CarriedOptions = {}): Exchange => {
      const clients = awsClients(broker.url)
      onTestFinished(() => clients[Symbol.dispose]())
      const queue = sqs({ sqs: clients.sqs, prefix, waitMs: 1_000, visibilityMs: 3_000, ...carried })
      return routes(inProcess(), { stream: 'sms', events: [SendSms], over: queue })
    }
    const [first, second] = [ordering, wholesale].map((each) =>
      testApp([sender(folder, each)], { exchange: exchange() }),
    ) as [ReturnType<typeof testApp>, ReturnType<typeof testApp>]
    await Promise.all([first, second].map((app) => app.start()))
    return {
      folder,
      sendAll: (n: number, to: number) => Promise.all([send(first, ordering, n, to), send(second, wholesale, n, to)]),
      receiving: async () => {
        const app = testApp([receiver(folder)], { exchange: exchange({ from }), leaseMs: 1_000 })
        await app.start()
        return app
      },
      allHandled: async () => {
        await eventually('all are handled', () => handled(folder) >= sentInAll(folder), 90_000).catch(() => {})
        expectAllHandled(folder)
      },
    }
  }

  test('also while the broker crashes, and the receiver comes and goes', async () => {
    const { folder, sendAll, receiving, allHandled } = await world('crash-')
    // Nobody has ever received: they wait.
    await sendAll(0, 30)
    const before = await receiving()
    await eventually('some have come', () => handled(folder) > 5)
    await before.stop()
    await broker.crash()
    await sendAll(30, 60)
    await broker.start()
    await receiving()
    await sendAll(60, 80)
    await allHandled()
  })

  test('a receiver that is killed between the effect and the acknowledgement', async () => {
    const prefix = 'killed-'
    const { folder, sendAll, receiving, allHandled } = await world(prefix)
    await sendAll(0, 30)
    const child = startChild({ file: 'test/support/sms-process.ts' }, folder, broker.url, prefix)
    await child.said('taken')
    await eventually('they have had their effect', () => handled(folder) > 0)
    await child.kill()
    // What it had in its hands is there, and comes again.
    expect(await inQueue(`${prefix}pabal-ordering__sms.fifo`)).toBeGreaterThan(0)
    await receiving()
    await allHandled()
  })
})
