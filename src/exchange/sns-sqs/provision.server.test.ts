/** What the transport makes on SNS and SQS (emulated), what it leaves alone, and what it says of what is missing. */

import { describe, expect, test } from 'vitest'
import { titled } from '../../../test/support/require-server.ts'
import { bench, messages, names, ordering, taking } from '../../../test/support/sns-sqs-bench.ts'
import { missing, ownBroker } from '../../../test/support/sns-sqs-suite.ts'
import { eventually } from '../../../test/support/eventually.ts'
import { toJson } from '../../event/cloudevents/structured.ts'
import { planSteps } from '../topology.ts'
import type { Needs, Outgoing, Selection } from '../transport.ts'

const broker = ownBroker()

describe.skipIf(missing)(titled('on SNS and SQS', missing), { timeout: 180_000 }, () => {
  test('have a topic of the channel, and of each subscriber a queue that lets exactly this topic send', async () => {
    const { aws, open, arnOf, attributesOf } = bench(broker().url)
    await taking(await open())
    const [topic, queue, refused] = names
    const { Policy, RedrivePolicy, QueueArn, FifoQueue, MessageRetentionPeriod } = await attributesOf(queue)
    const topicArn = arnOf(topic)
    expect(JSON.parse(Policy!)).toMatchObject({
      Statement: [
        {
          Effect: 'Allow',
          Principal: { Service: 'sns.amazonaws.com' },
          Action: 'sqs:SendMessage',
          Resource: QueueArn,
          Condition: { ArnEquals: { 'aws:SourceArn': topicArn } },
        },
      ],
    })
    const { QueueArn: refusedArn, FifoQueue: refusedFifo } = await attributesOf(refused)
    expect(JSON.parse(RedrivePolicy!)).toEqual({ deadLetterTargetArn: refusedArn, maxReceiveCount: 1_000 })
    expect([FifoQueue, refusedFifo, MessageRetentionPeriod]).toEqual(['true', 'true', '1209600'])
    const { Subscriptions } = await aws.sns.listSubscriptionsByTopic({ TopicArn: topicArn })
    expect(Subscriptions).toMatchObject([{ Protocol: 'sqs', Endpoint: QueueArn }])
    const SubscriptionArn = Subscriptions![0]!.SubscriptionArn!
    const { Attributes } = await aws.sns.getSubscriptionAttributes({ SubscriptionArn })
    expect(Attributes!['RawMessageDelivery']).toBe('true')
  })

  test('what is there is left as it is, but for what is missing', async () => {
    const { aws, open, urlOf, attributesOf } = bench(broker().url)
    await (await taking(await open())).receiving[Symbol.asyncDispose]()
    const QueueUrl = await urlOf(names[1])
    const theirs = { Sid: 'theirs', Effect: 'Deny', Principal: '*', Action: 'sqs:PurgeQueue' }
    await aws.sqs.setQueueAttributes({
      QueueUrl,
      Attributes: { Policy: JSON.stringify({ Statement: [theirs] }), MessageRetentionPeriod: '60', RedrivePolicy: '' },
    })
    await taking(await open())
    const { Policy, MessageRetentionPeriod, RedrivePolicy } = await attributesOf(names[1])
    expect(JSON.parse(Policy!)).toMatchObject({ Statement: [theirs, { Sid: 'pabal' }] })
    expect(MessageRetentionPeriod).toBe('60')
    expect(RedrivePolicy).toContain('refused')
  })

  test('what is not provisioned is named, all of it', async () => {
    const { open, send, prefix, aws, urlOf, arnOf } = bench(broker().url)
    const fixed = await open({ provision: false })
    const named = (...parts: readonly string[]): unknown =>
      expect.objectContaining({
        code: 'PABAL_TRANSPORT_INVALID',
        message: expect.stringMatching(new RegExp(parts.map((part) => `(?=.*${part})`).join(''))),
      })
    const all = names.map((name) => `${prefix}${name.replaceAll('.', String.raw`\.`)}`)
    await expect(taking(fixed)).rejects.toThrow(named(...all))
    await expect(fixed.publish(ordering, messages('a', 1, 1), AbortSignal.timeout(5_000))).rejects.toThrow(
      named(all[0]!),
    )

    const made = await open()
    await (await taking(made)).receiving[Symbol.asyncDispose]()
    const { numbers, receiving } = await taking(fixed)
    await send(fixed, messages('a', 1, 3))
    await eventually('they have come', () => numbers.length === 3)
    await receiving[Symbol.asyncDispose]()

    const at = await open({ provision: false, topicsAt: 'arn:aws:sns:eu-west-1:000000000000' })
    await send(at, messages('a', 4, 4))
    const elsewhere = await open({ provision: false, topicsAt: 'arn:aws:sns:eu-west-1:111111111111' })
    await expect(taking(elsewhere)).rejects.toThrow(named(all[0]!))

    await aws.sqs.setQueueAttributes({ QueueUrl: await urlOf(names[1]), Attributes: { Policy: '' } })
    await expect(taking(fixed)).rejects.toThrow(named('lacks a policy that lets the topic'))
    const { Subscriptions } = await aws.sns.listSubscriptionsByTopic({
      TopicArn: arnOf(names[0]),
    })
    await aws.sns.unsubscribe({ SubscriptionArn: Subscriptions![0]!.SubscriptionArn })
    await expect(taking(fixed)).rejects.toThrow(named('lacks a policy', 'the subscription .* is missing'))
  })

  test('a subscription that brings something else, or not all, is refused', async () => {
    const { open, arnOf, aws } = bench(broker().url)
    const opened = await open()
    await (await taking(opened)).receiving[Symbol.asyncDispose]()
    const TopicArn = arnOf(names[0])
    const { Subscriptions } = await aws.sns.listSubscriptionsByTopic({ TopicArn })
    const SubscriptionArn = Subscriptions![0]!.SubscriptionArn!
    const set = (AttributeName: string, AttributeValue: string) =>
      aws.sns.setSubscriptionAttributes({ SubscriptionArn, AttributeName, AttributeValue })
    const invalid = (message: string) => ({
      code: 'PABAL_TRANSPORT_INVALID',
      message: expect.stringContaining(message),
    })
    await set('FilterPolicy', '{"type":["shop.order-placed.v1"]}')
    await expect(taking(opened)).rejects.toMatchObject(invalid('filter policy'))
    await set('FilterPolicy', '')
    await set('RawMessageDelivery', 'false')
    await expect(taking(opened)).rejects.toMatchObject(invalid('RawMessageDelivery'))
  })

  test("a standard topic that is a foreign producer's fills a standard queue, and is left as it is", async () => {
    const { aws, prefix, open, arnOf, attributesOf } = bench(broker().url)
    const name = `${prefix}erp`
    const [{ event }] = messages('a', 1, 1) as [Outgoing]
    const opened = await open({ fifo: false })
    const takingTheirs = () => taking(opened, undefined, 'shipping', undefined, { ...ordering, name })
    await expect(takingTheirs()).rejects.toThrow(`the topic ${name} is missing (not pabal's to make)`)
    await expect(attributesOf('pabal-ordering-shipping')).rejects.toThrow(/does not exist/)
    const TopicArn = arnOf('erp')
    await aws.sns.createTopic({ Name: name })
    const { numbers } = await takingTheirs()
    await aws.sns.publish({ TopicArn, Message: toJson(event) })
    await eventually('it has come', () => numbers.length === 1)
    expect((await attributesOf('pabal-ordering-shipping'))['FifoQueue']).toBeUndefined()
  })

  describe('a subscriber that selects', () => {
    const of = (country: string | undefined, n: number) => {
      const [{ key, id, event }] = messages(`${country}-${n}`, n, n) as [Outgoing]
      const attributes = new Map([
        ...event.attributes,
        ...(country === undefined ? [] : [['country', country] as const]),
      ])
      return { key, id, event: { ...event, attributes } }
    }
    const asia = { country: ['KR', 'JP'] }

    test('gets what it wants, and what says nothing; the rest never reaches its queue', async () => {
      const { open, send, attributesOf } = bench(broker().url)
      const opened = await open()
      // The queue is there, and nobody takes from it.
      await (await opened.receive(ordering, 'shipping', async () => [], asia))[Symbol.asyncDispose]()
      await send(opened, [of('KR', 1), of('US', 2), of(undefined, 3), of('JP', 4), of('\ud55c\uad6d', 5), of('US', 6)])
      const { ApproximateNumberOfMessages } = await attributesOf(names[1])
      expect(ApproximateNumberOfMessages).toBe('4')
      const { numbers } = await taking(opened, undefined, 'shipping', asia)
      await eventually('they have come', () => numbers.length === 4)
      expect(numbers.toSorted((a, b) => a - b)).toEqual([1, 3, 4, 5])
    })

    test('has its policy changed with what it wants; without `provision` it is told so', async () => {
      const { open, aws, arnOf } = bench(broker().url)
      const opened = await open()
      const subscribe = async (selection?: Selection, transport = opened) =>
        (await taking(transport, undefined, 'shipping', selection)).receiving[Symbol.asyncDispose]()
      const policy = async (): Promise<unknown> => {
        const { Subscriptions } = await aws.sns.listSubscriptionsByTopic({ TopicArn: arnOf(names[0]) })
        const SubscriptionArn = Subscriptions![0]!.SubscriptionArn!
        const { Attributes } = await aws.sns.getSubscriptionAttributes({ SubscriptionArn })
        return JSON.parse(Attributes!['FilterPolicy'] ?? '{}')
      }
      await subscribe(asia)
      expect(await policy()).toEqual({ country: ['JP', 'KR', { exists: false }] })
      const wider = { country: ['KR', 'JP', 'US'] }
      const fixed = await open({ provision: false })
      await subscribe(asia, fixed)
      await expect(subscribe(wider, fixed)).rejects.toMatchObject({
        code: 'PABAL_TRANSPORT_INVALID',
        message: expect.stringContaining(
          'lacks the filter policy {"country":["JP","KR","US",{"exists":false}]} instead of',
        ),
      })
      const receives = (selection?: Selection): Needs => ({
        publishes: [],
        receives: [{ channel: ordering, subscriber: 'shipping', selection }],
      })
      const plan = async (selection?: Selection) =>
        (await planSteps(opened.resources!(receives(selection)))).map(({ action, kind }) => `${action} ${kind}`)
      expect(await plan(asia)).toEqual([])
      expect(await plan(wider)).toEqual(['change subscription'])
      expect(await plan()).toEqual(['change subscription'])
      await subscribe(wider)
      expect(await policy()).toEqual({ country: ['JP', 'KR', 'US', { exists: false }] })
      await subscribe()
      expect(await policy()).toEqual({})
      expect(await plan()).toEqual([])
    })
  })

  test('a topic that is deleted is not made anew behind the back of its subscribers', async () => {
    const { open, send, arnOf, aws } = bench(broker().url)
    const opened = await open()
    const { numbers, receiving } = await taking(opened)
    await send(opened, messages('a', 1, 1))
    await eventually('it has come', () => numbers.length === 1)
    await aws.sns.deleteTopic({ TopicArn: arnOf(names[0]) })
    const publishing = opened.publish(ordering, messages('a', 2, 2), AbortSignal.timeout(5_000))
    await expect(publishing).rejects.toMatchObject({ code: 'PABAL_TRANSPORT_INVALID' })
    await receiving[Symbol.asyncDispose]()
    const again = await taking(opened)
    await send(opened, messages('a', 2, 2))
    await eventually('it has come', () => again.numbers.length === 1)
  })
})
