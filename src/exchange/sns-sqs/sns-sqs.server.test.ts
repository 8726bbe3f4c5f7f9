/** The contract of a transport, kept by SNS and SQS (emulated), and what is theirs alone. */

import { describe, expect, test } from 'vitest'
import { startChild } from '../../../test/support/child.ts'
import { eventually, gate } from '../../../test/support/eventually.ts'
import { titled } from '../../../test/support/require-server.ts'
import {
  bench,
  message,
  messages,
  names,
  ordering,
  quick,
  type Taking,
  taking,
} from '../../../test/support/sns-sqs-bench.ts'
import { keepsTheContract, missing, ownBroker } from '../../../test/support/sns-sqs-suite.ts'
import { faultProxy } from '../../../test/support/tcp-fault.ts'
import { systemEnvironment } from '../../core/environment.ts'
import { defaultLimits } from '../../core/limits.ts'
import type { Incoming, OpenTransport, Taken } from '../transport.ts'
import { snsSqsTransport } from './transport.ts'

const withinMs = 180_000

const broker = ownBroker()

keepsTheContract('over SNS and SQS', broker, {
  transport: ({ sns, sqs }, options) => snsSqsTransport({ sns, sqs, ...options }),
  inject: ({ sns }, own, context, Message, order) =>
    sns.publish({ TopicArn: `arn:aws:sns:eu-west-1:000000000000:${own.topic({ context })}`, Message, ...order }),
})

describe.skipIf(missing)(titled('SNS and SQS', missing), { timeout: withinMs }, () => {
  test('messages say their type and source to filters, and are ASCII', async () => {
    const { aws, open, send, urlOf } = bench(broker().url)
    const opened = await open()
    await (await taking(opened)).receiving[Symbol.asyncDispose]()
    await send(opened, [message('주문 1', 1)])
    const { Messages } = await aws.sqs.receiveMessage({
      QueueUrl: await urlOf(names[1]),
      MessageAttributeNames: ['All'],
      MessageSystemAttributeNames: ['All'],
    })
    const [{ Body, MessageAttributes, Attributes } = {}] = Messages!
    expect(Body).toMatch(/^[\x20-\x7e]+$/)
    expect(JSON.parse(Body!)).toMatchObject({ subject: '주문 1', data: { n: 1 } })
    expect(MessageAttributes).toMatchObject({
      type: { StringValue: 'shop.order-placed.v1' },
      source: { StringValue: 'urn:pabal:ordering' },
    })
    expect(Attributes!.MessageGroupId).toBe('%EC%A3%BC%EB%AC%B8%201')
  })

  test('what is of no use is set aside with the reason, and holds up nothing', async () => {
    const { aws, open, send, urlOf, arnOf, warnings } = bench(broker().url)
    const opened = await open()
    const { numbers } = await taking(opened)
    const TopicArn = arnOf(names[0])
    await send(opened, [message('a', 1)])
    const bodies = ['hello', '{"specversion":"1.0"}', ' ', '{']
    for (const [n, Message] of bodies.entries())
      await aws.sns.publish({ TopicArn, Message, MessageGroupId: 'a', MessageDeduplicationId: `${n}` })
    await send(opened, [message('a', 2)])
    await eventually('the events have come', () => numbers.includes(2))
    expect(numbers).toEqual([1, 2])
    const QueueUrl = await urlOf(names[2])
    const found: [string, string][] = []
    await eventually('they are there', async () => {
      const request = { QueueUrl, MaxNumberOfMessages: 10, MessageAttributeNames: ['All'] }
      const { Messages = [] } = await aws.sqs.receiveMessage(request)
      for (const { Body, MessageAttributes, ReceiptHandle } of Messages) {
        found.push([Body!, MessageAttributes!['refused']!.StringValue!])
        await aws.sqs.deleteMessage({ QueueUrl, ReceiptHandle })
      }
      return found.length === bodies.length
    })
    expect(found.map(([body]) => body)).toEqual(bodies)
    for (const [, reason] of found) expect(reason).toContain('PABAL_MESSAGE_INVALID')
    expect(warnings.filter((warning) => warning.includes('is of no use'))).toHaveLength(bodies.length)
  })

  test('what was confirmed is there after a crash, and is delivered when somebody comes', async () => {
    const { open, send } = bench(broker().url)
    const opened = await open()
    await (await taking(opened)).receiving[Symbol.asyncDispose]()
    await send(opened, messages('a', 1, 25))
    await broker().restart({ immediate: true })
    const { numbers } = await taking(await open())
    await eventually('all have come', () => numbers.length >= 25)
    expect(numbers).toEqual(messages('a', 1, 25).map((_, i) => i + 1))
  })

  test('an aborted publish ends', async () => {
    const { open } = bench(broker().url)
    const opened = await open()
    const reason = new Error('no more')
    await expect(opened.publish(ordering, messages('a', 1, 3), AbortSignal.abort(reason))).rejects.toBe(reason)
    await using proxy = await faultProxy(broker().port, () => () => [])
    const { open: openFar, send } = bench(broker().url, proxy.url(broker().url))
    const far = await openFar({ requestTimeoutMs: 60_000 })
    // While it looks for the topic, and while it sends.
    for (const known of [false, true]) {
      if (known) await send(far, messages('a', 1, 3))
      proxy.freeze()
      const aborting = new AbortController()
      const publishing = far.publish(ordering, messages('a', 4, 6), aborting.signal)
      await eventually('it has begun', () => proxy.connections > 0)
      aborting.abort(reason)
      await expect(publishing).rejects.toBe(reason)
      proxy.thaw()
    }
  })

  test('a link that is frozen is noticed, and nothing is lost when it thaws', async () => {
    await using proxy = await faultProxy(broker().port, () => () => [])
    const { open, send, warnings } = bench(broker().url, proxy.url(broker().url))
    const opened = await open({ requestTimeoutMs: 1_000 })
    const { numbers } = await taking(opened)
    await send(opened, messages('a', 1, 3))
    await eventually('they have come', () => numbers.length === 3)
    proxy.freeze()
    const publishing = opened.publish(ordering, messages('a', 4, 6), AbortSignal.timeout(20_000))
    await expect(publishing).rejects.toMatchObject({ code: 'PABAL_TRANSPORT_UNREACHABLE' })
    await eventually('it was told', () => warnings.some((warning) => warning.includes('does not come in')))
    proxy.thaw()
    await send(opened, messages('a', 7, 9))
    await eventually('the rest has come', () => numbers.includes(9), 20_000)
    // What was sent into the frozen link may have arrived all the same.
    expect([...new Set(numbers)].filter((n) => n < 4 || n > 6)).toEqual([1, 2, 3, 7, 8, 9])
  })

  test('a link that is cut comes back by itself', async () => {
    await using proxy = await faultProxy(broker().port, () => () => [])
    const { open, send, warnings } = bench(broker().url, proxy.url(broker().url))
    const opened = await open()
    const { numbers } = await taking(opened)
    await send(opened, messages('a', 1, 3))
    await eventually('they have come', () => numbers.length === 3)
    proxy.refuse()
    proxy.reset()
    await expect(opened.publish(ordering, messages('a', 4, 6), AbortSignal.timeout(20_000))).rejects.toMatchObject({
      code: 'PABAL_TRANSPORT_UNREACHABLE',
    })
    await eventually('it was told', () => warnings.some((warning) => warning.includes('does not come in')))
    proxy.heal()
    await send(opened, messages('a', 4, 6))
    await eventually('the rest has come', () => new Set(numbers).size === 6)
    expect([...new Set(numbers)]).toEqual([1, 2, 3, 4, 5, 6])
  })

  test('a consumer that is killed between take and delete leaves its messages to others', async () => {
    const { open, send, prefix } = bench(broker().url)
    const opened = await open()
    const child = startChild(
      {
        text: `
          import { awsClients } from './test/support/aws-clients.ts'
          import { snsSqsTransport } from './src/exchange/sns-sqs/index.ts'
          import { systemEnvironment } from 'pabal'
          const [endpoint, prefix] = process.argv.slice(1).filter((argument) => argument !== '--')
          const { sns, sqs } = awsClients(endpoint)
          const open = await snsSqsTransport({ sns, sqs, prefix, visibilityMs: 3_000 })
            .open({ environment: systemEnvironment, warn: () => {} })
          await open.receive({ context: 'ordering' }, 'shipping', async () => {
            console.log('taken')
            await new Promise(() => {})
          })
          console.log('receiving')`,
      },
      broker().url,
      prefix,
    )
    await child.said('receiving')
    await send(opened, messages('a', 1, 3))
    await child.said('taken')
    const { numbers } = await taking(opened)
    expect(numbers).toEqual([])
    await child.kill()
    await eventually('all have come', () => numbers.length >= 3)
    expect(numbers).toEqual([1, 2, 3])
  })

  test('what a process could not take goes to others when it stops, long before its visibility timeout', async () => {
    const { open, send } = bench(broker().url)
    const hour = { visibilityMs: 3_600_000 }
    const [one, two] = [await open(hour), await open(hour)]
    const met = gate()
    const refusing = await taking(one, () => {
      met.open()
      return Promise.reject(new Error('the database is away'))
    })
    await send(one, messages('a', 1, 3))
    await met.opened
    await refusing.receiving[Symbol.asyncDispose]()
    const { numbers } = await taking(two)
    await eventually('all have come', () => numbers.length >= 3)
    expect(numbers).toEqual([1, 2, 3])
  })

  test('a take that takes long keeps its messages from others', async () => {
    const { open, send } = bench(broker().url)
    const [one, two] = [await open(), await open()]
    const over = gate()
    const slow = await taking(one, () => over.opened)
    await send(one, messages('a', 1, 1))
    const other = await taking(two)
    await systemEnvironment.sleep(2 * quick.visibilityMs)
    over.open()
    await eventually('it was taken', () => slow.numbers.length > 0)
    expect([slow.numbers, other.numbers]).toEqual([[1], []])
  })

  test('two processes of a subscriber get the messages of each key in order', async () => {
    const { open, send } = bench(broker().url)
    const [producer, one, two] = [await open(), await open(), await open()]
    const order: [string, number][] = []
    const noting = async (opened: OpenTransport): Promise<Taking> => {
      const take = async (batch: readonly Incoming[]): Promise<readonly Taken[]> => {
        await systemEnvironment.sleep(Math.random() * 5)
        for (const { attributes, data } of batch.map((incoming) => incoming.decode(defaultLimits)))
          order.push([String(attributes.get('subject')), (JSON.parse(String(data)) as { n: number }).n])
        return batch.map(() => undefined)
      }
      return { receiving: await opened.receive(ordering, 'shipping', take), keys: [], numbers: [] }
    }
    await Promise.all([one, two].map(noting))
    const keys = Array.from({ length: 12 }, (_, n) => `key-${n}`)
    for (let from = 1; from <= 16; from += 5)
      await send(
        producer,
        keys.flatMap((key) => messages(key, from, from + 4)),
      )
    await eventually('all have come', () => order.length >= keys.length * 20)
    for (const key of keys)
      expect(order.filter(([of]) => of === key).map(([, n]) => n)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1))
  })
})
