import { Redis } from 'ioredis'
import { describe, expect, onTestFinished, test } from 'vitest'
import { eventually } from '../../../test/support/eventually.ts'
import { missingRedis, startRedis } from '../../../tools/servers/redis.ts'
import { besides, channel, messages, Notebook, publishAll, testRedis } from '../../../test/support/redis-streams.ts'
import { titled } from '../../../test/support/require-server.ts'
import { systemEnvironment } from '../../core/environment.ts'
import { toJson } from '../../event/cloudevents/structured.ts'
import { plan } from '../../testing/contract.ts'
import { transportContract, type TransportHarness } from '../../testing/transport-contract.ts'
import type { OpenTransport } from '../transport.ts'
import { redisPubSubTransport } from './transport.ts'

const harness: TransportHarness = {
  create: async () => {
    const broker = await startRedis()
    const redis = new Redis(broker.url)
    redis.on('error', () => {})
    return {
      transport: () => redisPubSubTransport({ client: redis }),
      inject: async ({ context }, body) => {
        await redis.publish(`pabal.${context}`, Buffer.from(body))
      },
      [Symbol.asyncDispose]: async () => {
        redis.disconnect()
        await broker[Symbol.asyncDispose]()
      },
    }
  },
}

const opened = async (url: string): Promise<OpenTransport> => {
  const transport = redisPubSubTransport({ client: (settings) => new Redis(url, settings), timeoutMs: 2_000 })
  const open = await transport.open({ environment: systemEnvironment, warn: () => {} })
  onTestFinished(() => open[Symbol.asyncDispose]())
  return open
}

const missing = missingRedis()
describe.skipIf(missing)(titled('the transport over Redis Pub/Sub', missing), () => {
  describe('keeps the contract:', () => {
    // There is nothing that it cannot.
    test.each(plan(transportContract))('$name', { timeout: 180_000 }, ({ run }) => run(harness))
  })

  test('a channel that has a name of its own is heard', async () => {
    const { url } = await testRedis()
    const notebook = new Notebook()
    await (await opened(url)).receive({ ...channel, name: 'erp:orders' }, 'shipping', notebook.take)
    await besides(url).publish('erp:orders', toJson(messages('a', 1, 1)[0]!.event))
    await eventually('it is heard', () => notebook.brought.length > 0)
    expect(notebook.firsts('a')).toEqual([1])
  })

  test('a subscription is made again after the server was gone; what was published meanwhile is not heard', async () => {
    const broker = await testRedis()
    const [producer, consumer] = [await opened(broker.url), await opened(broker.url)]
    const notebook = new Notebook()
    await consumer.receive(channel, 'shipping', notebook.take)
    await broker.crash()
    await expect(publishAll(producer, messages('a', 1, 1))).rejects.toThrow(/PABAL_TRANSPORT_UNREACHABLE/)
    await broker.start()
    const redis = besides(broker.url)
    await eventually('it listens', async () => (await redis.pubsub('NUMSUB', 'pabal.ordering'))[1] === 1)
    await eventually('it publishes', () =>
      publishAll(producer, messages('a', 2, 2)).then(
        () => true,
        () => false,
      ),
    )
    await eventually('it is heard', () => notebook.brought.length > 0)
    expect(notebook.firsts('a')).toEqual([2])
  })
})
