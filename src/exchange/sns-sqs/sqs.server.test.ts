/** The contract of a transport, kept by SQS alone (emulated), and what is its alone: a queue for one, which is there before anybody reads it. */

import { describe, expect, test } from 'vitest'
import { eventually } from '../../../test/support/eventually.ts'
import { titled } from '../../../test/support/require-server.ts'
import { bench, message, messages, ordering, taking } from '../../../test/support/sns-sqs-bench.ts'
import { keepsTheContract, missing, ownBroker } from '../../../test/support/sns-sqs-suite.ts'
import { applyRemovals, applySteps, planRemovals } from '../topology.ts'
import { sqsTransport } from './sqs.ts'

const withinMs = 60_000
const queueName = 'pabal-ordering.fifo'
const refusedName = 'pabal-ordering--refused.fifo'

const broker = ownBroker()

keepsTheContract('over SQS alone', broker, {
  transport: ({ sqs }, options) => sqsTransport({ sqs, ...options }),
  inject: async ({ sqs }, names, context, MessageBody, order) => {
    const { QueueUrl } = await sqs.getQueueUrl({ QueueName: names.queue(context) })
    await sqs.sendMessage({ QueueUrl, MessageBody, ...order })
  },
})

describe.skipIf(missing)(titled('SQS alone', missing), { timeout: withinMs }, () => {
  test('what was sent before anybody came waits in the queue that the sender made, with no policy and a dead-letter queue', async () => {
    const { openSqs, send, attributesOf } = bench(broker().url)
    await send(await openSqs(), messages('a', 1, 3))
    const { Policy, RedrivePolicy, FifoQueue, MessageRetentionPeriod } = await attributesOf(queueName)
    const { QueueArn } = await attributesOf(refusedName)
    expect([Policy, FifoQueue, MessageRetentionPeriod]).toEqual([undefined, 'true', '1209600'])
    expect(JSON.parse(RedrivePolicy!)).toEqual({ deadLetterTargetArn: QueueArn, maxReceiveCount: 1_000 })
    const { numbers } = await taking(await openSqs())
    await eventually('they have come', () => numbers.length >= 3)
    expect(numbers).toEqual([1, 2, 3])
  })

  test('what is of no use is set aside with the reason, and holds up nothing', async () => {
    const { aws, openSqs, send, urlOf } = bench(broker().url)
    const opened = await openSqs()
    await send(opened, [message('a', 1)])
    const order = { MessageGroupId: 'a', MessageDeduplicationId: 'foreign' }
    await aws.sqs.sendMessage({ QueueUrl: await urlOf(queueName), MessageBody: 'hello', ...order })
    await send(opened, [message('a', 2)])
    const { numbers } = await taking(await openSqs())
    await eventually('the events have come', () => numbers.includes(2))
    expect(numbers).toEqual([1, 2])
    const request = { QueueUrl: await urlOf(refusedName), MessageAttributeNames: ['All'] }
    const refused = await eventually('it is there', async () => (await aws.sqs.receiveMessage(request)).Messages?.[0])
    expect(refused.Body).toBe('hello')
    expect(refused.MessageAttributes!['refused']!.StringValue).toContain('PABAL_MESSAGE_INVALID')
  })

  test('a queue that is deleted is made anew by who sends', async () => {
    const { aws, openSqs, send, urlOf } = bench(broker().url)
    const opened = await openSqs()
    await send(opened, messages('a', 1, 1))
    await aws.sqs.deleteQueue({ QueueUrl: await urlOf(queueName) })
    await expect(opened.publish(ordering, messages('a', 2, 2), AbortSignal.timeout(5_000))).rejects.toThrow(/is gone/)
    await send(opened, messages('a', 2, 2))
    const { numbers } = await taking(await openSqs())
    await eventually('it has come', () => numbers.length > 0)
    expect(numbers).toEqual([2])
  })

  test('removed is the queue by who receives from it, and how many messages go with it is said before', async () => {
    const { openSqs, send, prefix } = bench(broker().url)
    const opened = await openSqs()
    const sending = opened.resources!({ publishes: [ordering], receives: [] })
    const receiving = opened.resources!({ publishes: [], receives: [{ channel: ordering, subscriber: 'shipping' }] })
    await applySteps('SQS', receiving)
    await send(opened, messages('a', 1, 3))
    expect(await planRemovals(sending)).toMatchObject([
      { action: 'keep', name: `${prefix}${queueName}` },
      { action: 'keep', name: `${prefix}${refusedName}` },
    ])
    await eventually('they wait', async () => (await planRemovals(receiving))[0]!.messages === 3)
    await expect(applyRemovals(receiving, 2)).rejects.toMatchObject({ code: 'PABAL_PLAN_CHANGED' })
    expect(await applyRemovals(receiving)).toMatchObject([
      { action: 'remove', name: `${prefix}${queueName}`, messages: 3 },
      { action: 'remove', name: `${prefix}${refusedName}` },
    ])
    expect(await planRemovals(receiving)).toEqual([])
  })
})
