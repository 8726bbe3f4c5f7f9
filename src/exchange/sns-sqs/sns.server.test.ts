/** SNS alone (emulated): what is published comes to whoever somebody else has subscribed; nothing is received. */

import { describe, expect, test } from 'vitest'
import { eventually } from '../../../test/support/eventually.ts'
import { titled } from '../../../test/support/require-server.ts'
import { bench, messages, ordering } from '../../../test/support/sns-sqs-bench.ts'
import { missing, ownBroker } from '../../../test/support/sns-sqs-suite.ts'
import { defaultLimits } from '../../core/limits.ts'
import { applyRemovals, applySteps, planRemovals, planSteps } from '../topology.ts'
import { fromMessage } from './message.ts'

const topicName = 'pabal-ordering.fifo'

const broker = ownBroker()

describe.skipIf(missing)(titled('SNS alone', missing), { timeout: 60_000 }, () => {
  test('a queue of somebody else gets what is published, as CloudEvents, in the order of each key', async () => {
    const { aws, openSns, send, arnOf, prefix } = bench(broker().url)
    const opened = await openSns()
    const needs = { publishes: [ordering], receives: [] }
    await applySteps('SNS', opened.resources!(needs))
    const QueueName = `${prefix}theirs.fifo`
    const { QueueUrl } = await aws.sqs.createQueue({ QueueName, Attributes: { FifoQueue: 'true' } })
    const { Attributes } = await aws.sqs.getQueueAttributes({ QueueUrl, AttributeNames: ['QueueArn'] })
    await aws.sns.subscribe({
      TopicArn: arnOf(topicName),
      Protocol: 'sqs',
      Endpoint: Attributes!.QueueArn,
      Attributes: { RawMessageDelivery: 'true' },
    })
    await send(
      opened,
      ['a', '주문'].flatMap((key) => messages(key, 1, 12)),
    )
    const got = new Map<string, number[]>()
    await eventually('all are there', async () => {
      const request = { QueueUrl, MaxNumberOfMessages: 10, MessageAttributeNames: ['All'] }
      for (const received of (await aws.sqs.receiveMessage(request)).Messages ?? []) {
        const { attributes, data } = fromMessage(received, defaultLimits)
        const key = String(attributes.get('subject'))
        got.set(key, [...(got.get(key) ?? []), (JSON.parse(String(data)) as { n: number }).n])
        await aws.sqs.deleteMessage({ QueueUrl, ReceiptHandle: received.ReceiptHandle })
      }
      return [...got.values()].flat().length === 24
    })
    const inOrder = Array.from({ length: 12 }, (_, i) => i + 1)
    expect(got).toEqual(new Map(['a', '주문'].map((key) => [key, inOrder])))
    // Theirs keeps the topic.
    expect(await planRemovals(opened.resources!(needs))).toMatchObject([{ action: 'keep', kind: 'topic' }])
  })

  test('needs its topics and nothing else, and receives nothing', async () => {
    const { openSns, prefix } = bench(broker().url)
    const opened = await openSns()
    const resources = opened.resources!({
      publishes: [ordering],
      receives: [{ channel: ordering, subscriber: 'shipping' }],
    })
    expect(await planSteps(resources)).toMatchObject([
      { action: 'create', kind: 'topic', name: `${prefix}${topicName}` },
    ])
    await applySteps('SNS', resources)
    expect(await applyRemovals(resources)).toMatchObject([{ action: 'remove', kind: 'topic' }])
    const receiving = opened.receive(ordering, 'shipping', async () => [])
    await expect(receiving).rejects.toMatchObject({ code: 'PABAL_COMPOSITION_INVALID' })
  })

  test('with provision: false the topic is named', async () => {
    const { openSns, prefix } = bench(broker().url)
    const publishing = (await openSns({ provision: false })).publish(
      ordering,
      messages('a', 1, 1),
      AbortSignal.timeout(5_000),
    )
    await expect(publishing).rejects.toMatchObject({
      code: 'PABAL_TRANSPORT_INVALID',
      message: expect.stringContaining(`${prefix}${topicName} is missing`) as unknown,
    })
  })
})
