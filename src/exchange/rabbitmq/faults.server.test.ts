import { afterAll, beforeAll, describe, expect, onTestFailed, test } from 'vitest'
import { seeded } from '../../../test/guarantees/postgres-workers/seeded.ts'
import type { Broker } from '../../../tools/servers/broker.ts'
import { startChild } from '../../../test/support/child.ts'
import { eventually } from '../../../test/support/eventually.ts'
import { missingRabbit, startRabbit } from '../../../tools/servers/rabbitmq.ts'
import {
  channel,
  collecting,
  idsOf,
  message,
  messages,
  rabbitTools,
  signal,
} from '../../../test/support/rabbitmq-transport.ts'
import { titled } from '../../../test/support/require-server.ts'

const missing = missingRabbit()

let broker: Broker
const { nextPrefix, opened, proxied } = rabbitTools(() => broker)

const chance = (): (() => number) => {
  const seed = Number(process.env['PABAL_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
  onTestFailed(() => console.error(`the faults were chosen with PABAL_SEED=${seed}`))
  return seeded(seed)
}

describe.skipIf(missing)(titled('RabbitMQ under faults', missing), { timeout: 180_000 }, () => {
  beforeAll(async () => {
    broker = await startRabbit()
  }, 120_000)
  afterAll(() => broker[Symbol.asyncDispose]())

  describe('published', () => {
    test('over a link that brings no answers is not told as published, and goes over a new one', async () => {
      const { proxy, url } = await proxied(60)
      const { open, warnings } = await opened(nextPrefix(), { url, timeoutMs: 300 })
      await open.publish(channel, messages('a', 1, 1), signal)
      proxy.cutReplies()
      await expect(open.publish(channel, messages('a', 2, 3), signal)).rejects.toMatchObject({
        code: 'PABAL_TRANSPORT_UNREACHABLE',
        retryable: true,
      })
      proxy.heal()
      expect(await open.publish(channel, messages('a', 2, 3), signal)).toEqual([undefined, undefined])
      expect(warnings.join()).toMatch(/the connection for publishing was lost/)
    })

    test('to a broker that is reset in between goes over a new connection', async () => {
      const { proxy, url } = await proxied(60)
      const { open } = await opened(nextPrefix(), { url })
      for (let n = 1; n <= 5; n++) {
        await eventually('it is published', () =>
          open.publish(channel, messages('a', n, n), signal).then(
            ([outcome]) => outcome === undefined,
            () => false,
          ),
        )
        proxy.reset()
      }
    })

    test('is given up when the caller does, and no later', async () => {
      const { proxy, url } = await proxied(60)
      const { open } = await opened(nextPrefix(), { url, timeoutMs: 60_000 })
      await open.publish(channel, messages('a', 1, 1), signal)
      proxy.freeze()
      const abort = new AbortController()
      const publishing = open.publish(channel, messages('a', 2, 2), abort.signal)
      abort.abort()
      await expect(publishing).rejects.toBeInstanceOf(Error)
      proxy.thaw()
    })

    test('to a host that says nothing is given up as soon as is allowed', async () => {
      const { proxy, url } = await proxied(60)
      proxy.freeze()
      const { open } = await opened(nextPrefix(), { url, timeoutMs: 200 })
      const away = { code: 'PABAL_TRANSPORT_UNREACHABLE' }
      await expect(open.publish(channel, messages('a', 1, 1), signal)).rejects.toMatchObject(away)
      await expect(open.receive(channel, 'shipping', collecting([]))).rejects.toMatchObject(away)
      proxy.heal()
    })
  })

  describe('received', () => {
    test('over a link that has frozen: it is noticed by its heartbeat, and all comes over a new one', async () => {
      const prefix = nextPrefix()
      const { proxy, url } = await proxied(1)
      const ids: string[] = []
      const consumer = await opened(prefix, { url, timeoutMs: 500 })
      await consumer.open.receive(channel, 'shipping', collecting(ids))
      const { open } = await opened(prefix)
      await open.publish(channel, messages('a', 1, 3), signal)
      await eventually('the first have come', () => ids.length === 3)
      proxy.freeze()
      await open.publish(channel, messages('a', 4, 6), signal)
      await eventually('it is noticed', () => consumer.warnings.some((each) => each.includes('receiving was lost')))
      proxy.heal()
      await eventually('the rest has come', () => new Set(ids).size === 6)
      expect([...new Set(ids)]).toEqual(idsOf(messages('a', 1, 6)))
    })

    test('by a process that is killed between taking and acknowledging comes again, to another', async () => {
      const prefix = nextPrefix()
      const child = startChild(
        {
          text: `
            import { connect } from 'amqplib'
            import { systemEnvironment } from './src/core/environment.ts'
            import { rabbitmqTransport } from './src/exchange/rabbitmq/transport.ts'
            const [, url, prefix] = process.argv
            const open = await rabbitmqTransport({ connect: () => connect(url), prefix })
              .open({ environment: systemEnvironment, warn: () => {} })
            await open.receive({ context: 'ordering' }, 'shipping', () => {
              console.log('taken')
              return new Promise(() => {})
            })
            console.log('ready')`,
        },
        broker.url,
        prefix,
      )
      await child.said('ready')
      const ids: string[] = []
      const { open } = await opened(prefix)
      await open.receive(channel, 'shipping', collecting(ids))
      await open.publish(channel, messages('a', 1, 5), signal)
      await child.said('taken')
      expect(ids).toEqual([])
      await child.kill()
      await eventually('all have come', () => ids.length >= 5)
      expect(ids).toEqual(idsOf(messages('a', 1, 5)))
    })

    test('over links that break again and again: what arrives late is repetitions', async () => {
      const random = chance()
      const prefix = nextPrefix()
      const [out, back] = [await proxied(60), await proxied(60)]
      const arrived: string[] = []
      const consumer = await opened(prefix, { url: back.url, prefetch: 50 })
      await consumer.open.receive(channel, 'shipping', collecting(arrived))
      const { open } = await opened(prefix, { url: out.url })
      const keys = ['a', 'b', 'c']
      for (let n = 1; n <= 400; n += 20) {
        let left = keys.flatMap((key) => Array.from({ length: 20 }, (_, i) => message(key, n + i)))
        await eventually('the batch is published', async () => {
          const publishing = open.publish(channel, left, signal)
          // Sometimes before all is sent, sometimes before all is confirmed.
          if (random() < 0.3) setImmediate(() => out.proxy.reset())
          const outcomes = await publishing.catch(() => left.map(() => ({ error: 'not known' })))
          const failed = new Set(left.filter((_, at) => outcomes[at] !== undefined).map(({ key }) => key))
          left = left.filter(({ key }) => failed.has(key))
          return left.length === 0
        })
        if (random() < 0.3) back.proxy.reset()
      }
      await eventually('all have come', () => new Set(arrived).size === 1_200)
      for (const key of keys) {
        const of = arrived.filter((id) => id.startsWith(`${key}-`))
        expect([...new Set(of)]).toEqual(idsOf(messages(key, 1, 400)))
      }
    })
  })
})

describe.skipIf(missing)(titled('a RabbitMQ that is short of memory', missing), { timeout: 180_000 }, () => {
  test('takes nothing, and says why', async () => {
    await using short = await startRabbit({ settings: { 'vm_memory_high_watermark.absolute': '1MB' } })
    const { open, warnings } = await opened('', { url: short.url, timeoutMs: 500 })
    await open.receive(channel, 'shipping', collecting([]))
    // Longer than an answer may take: it is not taken for a link that is dead.
    await expect(open.publish(channel, messages('a', 1, 1), AbortSignal.timeout(1_500))).rejects.toMatchObject({
      code: 'PABAL_TRANSPORT_UNREACHABLE',
    })
    expect(warnings.join()).toMatch(/takes no messages at the moment/)
    expect(warnings.join()).not.toMatch(/was lost/)
    await expect(open.publish(channel, messages('a', 2, 2), signal)).rejects.toThrow(/takes no messages at the moment/)
    await open[Symbol.asyncDispose]()
  })
})
