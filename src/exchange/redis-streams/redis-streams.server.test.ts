import { Redis } from 'ioredis'
import { describe, expect, test } from 'vitest'
import { startChild } from '../../../test/support/child.ts'
import { eventually, gate } from '../../../test/support/eventually.ts'
import { missingRedis, startRedis } from '../../../tools/servers/redis.ts'
import {
  besides,
  channel,
  message,
  messages,
  Notebook,
  opened,
  publishAll,
  testRedis,
  upTo,
} from '../../../test/support/redis-streams.ts'
import { titled } from '../../../test/support/require-server.ts'
import { plan } from '../../testing/contract.ts'
import { transportContract, type TransportHarness } from '../../testing/transport-contract.ts'
import type { OpenTransport } from '../transport.ts'
import { redisStreamsTransport } from './transport.ts'

const harness: TransportHarness = {
  create: async () => {
    const broker = await startRedis()
    const redis = new Redis(broker.url)
    redis.on('error', () => {})
    return {
      transport: () => redisStreamsTransport({ client: redis, leaseMs: 2_000 }),
      inject: async ({ context }, body) => {
        await redis.xadd(`pabal.${context}`, '*', 'event', Buffer.from(body))
      },
      crash: () => broker.restart({ immediate: true }),
      [Symbol.asyncDispose]: async () => {
        redis.disconnect()
        await broker[Symbol.asyncDispose]()
      },
    }
  },
}

const missing = missingRedis()
describe.skipIf(missing)(titled('the transport over Redis Streams', missing), () => {
  describe('keeps the contract:', () => {
    // There is nothing that it cannot.
    test.each(plan(transportContract))('$name', { timeout: 180_000 }, ({ run }) => run(harness))
  })

  test('a backlog of large entries comes in parts that can be answered in time', async () => {
    const { url } = await testRedis()
    const { open, warnings } = await opened(url, { timeoutMs: 1_000, leaseMs: 10_000 })
    const data = `{"t":"${'x'.repeat(250_000)}"}`
    for (let n = 0; n < 800; n += 20)
      await publishAll(
        open,
        messages('a', n + 1, n + 20).map((each) => ({ ...each, event: { ...each.event, data } })),
      )
    const book = new Notebook()
    await open.receive(channel, 'shipping', book.take)
    await eventually('all have come', () => book.brought.length === 800, 60_000)
    expect(warnings).toEqual([])
  })

  test('a process that is killed between taking and acknowledging leaves its batch to another', async () => {
    const { url } = await testRedis()
    const { open } = await opened(url)
    await publishAll(open, messages('a', 1, 5))
    const child = startChild(
      {
        text: `
          import { Redis } from 'ioredis'
          import { systemEnvironment } from './src/core/environment.ts'
          import { redisStreamsTransport } from './src/exchange/redis-streams/transport.ts'
          const client = (settings) => new Redis(process.argv[1], settings)
          const open = await redisStreamsTransport({ client, leaseMs: 1_000 }).open({
            environment: systemEnvironment,
            warn: console.error,
          })
          await open.receive({ context: 'ordering' }, 'shipping', async () => {
            console.log('taken')
            await new Promise(() => {})
          })`,
      },
      url,
    )
    await child.said('taken')
    const notebook = new Notebook()
    await open.receive(channel, 'shipping', notebook.take)
    expect(notebook.brought).toEqual([])
    await child.kill()
    await eventually('the other has all', () => notebook.brought.length === 5)
    expect(notebook.firsts('a')).toEqual(upTo(5))
    const redis = besides(url)
    await eventually(
      'nothing waits',
      async () => (await redis.xpending('pabal.ordering', 'pabal.ordering.shipping'))[0] === 0,
    )
    expect(await redis.xinfo('CONSUMERS', 'pabal.ordering', 'pabal.ordering.shipping')).toHaveLength(1)
  })

  test('a process that stops while it waits for news leaves its turn to another at once', async () => {
    const { url } = await testRedis()
    // Longer than the test may take.
    const leaseMs = 3_600_000
    const [first, second] = [await opened(url, { leaseMs }), await opened(url, { leaseMs })]
    const notebook = new Notebook()
    const receiving = await first.open.receive(channel, 'shipping', notebook.take)
    await publishAll(first.open, messages('a', 1, 1))
    await eventually('it reads', () => notebook.brought.length === 1)
    const redis = besides(url)
    await eventually('it waits', async () => String(await redis.client('LIST')).includes('cmd=xread '))
    await receiving[Symbol.asyncDispose]()
    await second.open.receive(channel, 'shipping', notebook.take)
    await publishAll(second.open, messages('a', 2, 2))
    await eventually('the other reads', () => notebook.brought.length === 2)
  })

  test('the order of each key is kept while readers come and go', async () => {
    const { url } = await testRedis()
    const producer = await opened(url)
    const notebook = new Notebook()
    const keys = upTo(20).map((n) => `key-${n}`)
    const publishRounds = async (from: number, to: number): Promise<void> => {
      for (let n = from; n <= to; n++)
        await publishAll(
          producer.open,
          keys.map((key) => message(key, n)),
        )
    }
    const reader = async (): Promise<OpenTransport> => {
      const { open } = await opened(url, { batch: 7 })
      await open.receive(channel, 'shipping', notebook.take)
      return open
    }
    let current = await reader()
    for (let from = 1; from <= 51; from += 10) {
      const next = await reader()
      await publishRounds(from, from + 4)
      const ending = current[Symbol.asyncDispose]()
      await publishRounds(from + 5, from + 9)
      await ending
      current = next
    }
    await eventually('all have come', () => keys.every((key) => notebook.firsts(key).length === 60))
    for (const key of keys) expect(notebook.firsts(key)).toEqual(upTo(60))
  })

  test('what was refused is kept in a stream of its own, with the reason, and told', async () => {
    const { url } = await testRedis()
    const { open, warnings } = await opened(url)
    const notebook = new Notebook()
    await open.receive(channel, 'shipping', notebook.take)
    const redis = besides(url)
    const id = await redis.xadd('pabal.ordering', '*', 'event', 'hello')
    await eventually('it is kept', () => redis.exists('pabal.ordering.shipping.refused'))
    const [[, fields]] = (await redis.xrange('pabal.ordering.shipping.refused', '-', '+')) as [[string, string[]]]
    expect(fields).toEqual(['id', id, 'reason', expect.stringContaining('PABAL_MESSAGE_INVALID'), 'event', 'hello'])
    await eventually('it is told', () => warnings.some(([what]) => what.includes(`refused entry ${id}`)))
    expect((await redis.xpending('pabal.ordering', 'pabal.ordering.shipping'))[0]).toBe(0)
  })

  test('an entry in binary mode is read', async () => {
    const { url } = await testRedis()
    const { open } = await opened(url)
    const notebook = new Notebook()
    await open.receive(channel, 'shipping', notebook.take)
    const attributes = [...message('주문 1', 3).event.attributes].flatMap(([name, value]) => [
      name === 'datacontenttype' ? 'content-type' : `ce_${name}`,
      String(value),
    ])
    await besides(url).xadd('pabal.ordering', '*', ...attributes, 'data', '{"n":3}')
    await eventually('it has come', () => notebook.brought.length > 0)
    expect(notebook.brought).toEqual([{ key: '주문 1', n: 3 }])
  })

  test('what every group has acknowledged is deleted, and nothing else', async () => {
    const { url } = await testRedis()
    const { open } = await opened(url, { keepMs: 0, trimEveryMs: 10, batch: 100 })
    const redis = besides(url)
    const [shipping, reporting] = [new Notebook(), new Notebook()]
    const held = gate()
    reporting.gate = held.opened
    await open.receive(channel, 'reporting', reporting.take)
    await open.receive(channel, 'shipping', shipping.take)
    await publishAll(open, messages('a', 1, 1_000))
    await eventually('one has all', () => shipping.brought.length === 1_000)
    await publishAll(open, messages('a', 1_001, 1_001))
    await eventually('and has looked what can go', () => shipping.brought.length === 1_001)
    expect(await redis.xlen('pabal.ordering')).toBe(1_001)
    held.open()
    // Whole nodes of a stream are deleted, which have 100 entries.
    await eventually('both have all', () => reporting.brought.length === 1_001)
    await eventually('it is deleted', async () => (await redis.xlen('pabal.ordering')) <= 101)
    expect(reporting.firsts('a')).toEqual(upTo(1_001))
  })

  test('of a stream that is a foreign producer’s nothing is deleted', async () => {
    const { url } = await testRedis()
    const { open } = await opened(url, { keepMs: 0, trimEveryMs: 0, batch: 100 })
    const redis = besides(url)
    const theirs = { context: 'erp', name: 'erp:orders' }
    const [own, foreign] = [new Notebook(), new Notebook()]
    const sendTo = async (to: typeof channel, from: number, last: number) =>
      open.publish(to, messages('a', from, last), AbortSignal.timeout(20_000))
    await Promise.all([channel, theirs].map((each) => sendTo(each, 1, 500)))
    await open.receive(channel, 'shipping', own.take)
    await open.receive(theirs, 'shipping', foreign.take)
    await eventually('all have come', () => own.brought.length + foreign.brought.length === 1_000)
    // Before it takes what is next, a reader has looked what can go.
    await Promise.all([channel, theirs].map((each) => sendTo(each, 501, 501)))
    await eventually('the next have come', () => own.brought.length + foreign.brought.length === 1_002)
    expect(await redis.xlen('pabal.ordering')).toBeLessThanOrEqual(101)
    expect(await redis.xlen('erp:orders')).toBe(501)
  })

  test('what is young stays for who subscribes later', async () => {
    const { url } = await testRedis()
    const { open } = await opened(url, { trimEveryMs: 0 })
    const [shipping, late] = [new Notebook(), new Notebook()]
    await open.receive(channel, 'shipping', shipping.take)
    await publishAll(open, messages('a', 1, 300))
    await eventually('all have come', () => shipping.brought.length === 300)
    await open.receive(channel, 'reporting', late.take)
    await eventually('all come again', () => late.brought.length === 300)
    expect(late.firsts('a')).toEqual(upTo(300))
  })
})
