/** The contract of a transport, kept by SQS alone (emulated), and what is its alone: a queue for one, which is there before anybody reads it. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type AwsClients, awsClients } from '../../../test/support/aws-clients.ts'
import { eventually } from '../../../test/support/eventually.ts'
import { titled } from '../../../test/support/require-server.ts'
import { bench, message, messages, newPrefix, ordering, quick, taking } from '../../../test/support/sns-sqs-bench.ts'
import type { Broker } from '../../../tools/servers/broker.ts'
import { missingSnsSqs, startSnsSqs } from '../../../tools/servers/sns-sqs.ts'
import { systemEnvironment } from '../../core/environment.ts'
import { type Cannot, plan, transportContract, type TransportHarness } from '../../testing/index.ts'
import { applyRemovals, applySteps, planRemovals } from '../topology.ts'
import { namesWith } from './names.ts'
import { sqsTransport } from './sqs.ts'

const withinMs = 60_000
const queueName = 'pabal-ordering.fifo'
const refusedName = 'pabal-ordering--refused.fifo'

const missing = missingSnsSqs()
let broker: Broker
beforeAll(async () => {
  if (missing === undefined) broker = await startSnsSqs()
})
afterAll(() => broker?.[Symbol.asyncDispose]())

const harness = (fifo: boolean): TransportHarness => ({
  create: async () => {
    const prefix = newPrefix()
    const clients: AwsClients[] = []
    return {
      transport: () => {
        const { sqs } = clients[clients.push(awsClients(broker.url)) - 1]!
        return sqsTransport({ sqs, prefix, fifo, ...quick })
      },
      inject: async ({ context }, body) => {
        using foreign = awsClients(broker.url)
        const { QueueUrl } = await foreign.sqs.getQueueUrl({ QueueName: namesWith(prefix, fifo).queue(context) })
        const order = { MessageGroupId: 'foreign', MessageDeduplicationId: systemEnvironment.id() }
        const MessageBody = new TextDecoder().decode(body)
        await foreign.sqs.sendMessage({ QueueUrl, MessageBody, ...(fifo ? order : {}) })
      },
      crash: () => broker.restart({ immediate: true }),
      [Symbol.asyncDispose]: async () => {
        for (const each of clients) each[Symbol.dispose]()
      },
    }
  },
})

const cannot: Cannot = {
  'what is not an event is refused, and holds up nothing':
    'SQS takes neither an empty message nor bytes that are no text; what it does take is tried beside',
}

describe.skipIf(missing).each([true, false])(titled('over SQS alone (fifo: %s)', missing), (fifo) => {
  const planned = plan(transportContract, cannot)
  test.each(planned.filter((rule) => rule.cannot === undefined))('$name', { timeout: withinMs }, ({ run }) =>
    run(harness(fifo)),
  )
  // A declaration that has become untrue fails.
  test.each(planned.filter((rule) => rule.cannot !== undefined))('cannot: $name ($cannot)', async ({ run }) => {
    await expect(run(harness(fifo))).rejects.toBeInstanceOf(Error)
  })
})

describe.skipIf(missing)(titled('SQS alone', missing), { timeout: withinMs }, () => {
  test('what was sent before anybody came waits in the queue that the sender made, with no policy and a dead-letter queue', async () => {
    const { openSqs, send, attributesOf } = bench(broker.url)
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
    const { aws, openSqs, send, urlOf } = bench(broker.url)
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
    const { aws, openSqs, send, urlOf } = bench(broker.url)
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
    const { openSqs, send, prefix } = bench(broker.url)
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
