import { Redis } from 'ioredis'
import { describe, expect, onTestFinished, test } from 'vitest'
import { eventually, gate } from '../../../test/support/eventually.ts'
import { missingRedis } from '../../../tools/servers/redis.ts'
import {
  besides,
  channel,
  messages,
  Notebook,
  opened,
  publishAll,
  testRedis,
  upTo,
} from '../../../test/support/redis-streams.ts'
import { titled } from '../../../test/support/require-server.ts'
import { freePort } from '../../../tools/servers/server-process.ts'
import { faultProxy } from '../../../test/support/tcp-fault.ts'

const invalid = expect.objectContaining({ code: 'PABAL_TRANSPORT_INVALID' })
const unreachable = expect.objectContaining({ code: 'PABAL_TRANSPORT_UNREACHABLE' })

/** A server, and a way to it that can be held and cut. */
const behindProxy = async () => {
  const { url, port } = await testRedis()
  const proxy = await faultProxy(port)
  onTestFinished(() => proxy.close())
  return { url, proxy, through: proxy.url(url), redis: besides(url) }
}

const missing = missingRedis()
describe.skipIf(missing)(titled('the transport over Redis Streams, under faults', missing), () => {
  test('what is published is told when the server has it, not before', async () => {
    const { proxy, through, redis } = await behindProxy()
    const { open } = await opened(through, { timeoutMs: 10_000 })
    proxy.freeze()
    let told = false
    const publishing = publishAll(open, messages('a', 1, 3)).then(() => (told = true))
    expect(await redis.xlen('pabal.ordering')).toBe(0)
    expect(told).toBe(false)
    proxy.thaw()
    await publishing
    expect(await redis.xlen('pabal.ordering')).toBe(3)
  })

  test('a link that is mute fails what is published, and everybody goes on when it is well again', async () => {
    const { proxy, through, redis } = await behindProxy()
    const { open, warnings } = await opened(through, { timeoutMs: 600 })
    const notebook = new Notebook()
    await open.receive(channel, 'shipping', notebook.take)
    await publishAll(open, messages('a', 1, 2))
    await eventually('they have come', () => notebook.brought.length === 2)
    proxy.cutReplies()
    const again = messages('a', 3, 4)
    await expect(publishAll(open, again)).rejects.toEqual(unreachable)
    expect(await redis.xlen('pabal.ordering')).toBe(4)
    proxy.heal()
    await eventually('it can publish', () =>
      publishAll(open, again).then(
        () => true,
        () => false,
      ),
    )
    await eventually('all have come', () => notebook.brought.length >= 6)
    expect(notebook.firsts('a')).toEqual(upTo(4))
    expect(warnings.filter(([what]) => what === 'a connection to Redis').length).toBeGreaterThan(0)
  })

  test('a link that is frozen fails what is published within its time', async () => {
    const { proxy, through } = await behindProxy()
    const { open } = await opened(through, { timeoutMs: 600 })
    proxy.freeze()
    await expect(publishAll(open, messages('a', 1, 2))).rejects.toEqual(unreachable)
    const aborted = AbortSignal.abort(new Error('enough'))
    await expect(open.publish(channel, messages('a', 1, 2), aborted)).rejects.toThrow('enough')
    proxy.heal()
  })

  test('a publish that is given up by its signal rejects at once', async () => {
    const { proxy, through } = await behindProxy()
    const { open } = await opened(through, { timeoutMs: 20_000 })
    proxy.freeze()
    const controller = new AbortController()
    const publishing = open.publish(channel, messages('a', 1, 2), controller.signal)
    controller.abort(new Error('enough'))
    await expect(publishing).rejects.toThrow('enough')
    proxy.heal()
  })

  test('a reader that was cut off is replaced, and when it is back it reads and acknowledges nothing', async () => {
    const { proxy, through, url, redis } = await behindProxy()
    const producer = await opened(url)
    const [cutOff, other] = [await opened(through, { batch: 10 }), await opened(url, { batch: 10 })]
    const [its, others] = [new Notebook(), new Notebook()]
    const held = gate()
    its.gate = held.opened
    await cutOff.open.receive(channel, 'shipping', its.take)
    await publishAll(producer.open, messages('a', 1, 40))
    await eventually('it has a batch', () => its.batches === 1)
    proxy.freeze()
    await other.open.receive(channel, 'shipping', others.take)
    await eventually('the other has all', () => others.brought.length === 40)
    held.open()
    proxy.thaw()
    await publishAll(producer.open, messages('a', 41, 60))
    await eventually('the rest has come', () => others.brought.length === 60)
    expect(others.firsts('a')).toEqual(upTo(60))
    // What it had in hand, it took.
    expect(its.firsts('a')).toEqual(upTo(10))
    expect(its.batches).toBe(1)
    await eventually(
      'all is acknowledged',
      async () => (await redis.xpending('pabal.ordering', 'pabal.ordering.shipping'))[0] === 0,
    )
  })

  test('with provision: false nothing is created, and what is missing is named', async () => {
    const { url } = await testRedis()
    const redis = besides(url)
    const { open } = await opened(url, { provision: false })
    const { take } = new Notebook()
    await expect(open.receive(channel, 'shipping', take)).rejects.toThrow(
      /the group pabal\.ordering\.shipping is missing \(XGROUP CREATE/,
    )
    await expect(publishAll(open, messages('a', 1, 1))).rejects.toThrow(/PABAL_TRANSPORT_INVALID: .*'pabal\.ordering'/)
    expect(await redis.dbsize()).toBe(0)
    await redis.xgroup('CREATE', 'pabal.ordering', 'pabal.ordering.shipping', '0', 'MKSTREAM')
    const notebook = new Notebook()
    await open.receive(channel, 'shipping', notebook.take)
    expect(await publishAll(open, messages('a', 1, 1))).toEqual([undefined])
    await eventually('it has come', () => notebook.brought.length === 1)
  })

  test('keys begin with the prefix', async () => {
    const { url } = await testRedis()
    const { open } = await opened(url, { prefix: 'shop:' })
    await open.receive(channel, 'shipping', new Notebook().take)
    await publishAll(open, messages('a', 1, 1))
    const redis = besides(url)
    await eventually('somebody reads', () => redis.exists('shop:pabal.ordering.shipping.reader'))
    expect((await redis.keys('*')).toSorted()).toEqual(['shop:pabal.ordering', 'shop:pabal.ordering.shipping.reader'])
  })

  test('a key that is no stream is an error of publishing and of receiving', async () => {
    const { url } = await testRedis()
    await besides(url).set('pabal.ordering', 'taken')
    const { open } = await opened(url)
    await expect(publishAll(open, messages('a', 1, 2))).rejects.toEqual(invalid)
    await expect(open.receive(channel, 'shipping', new Notebook().take)).rejects.toThrow(/no stream/)
  })

  test('nobody there, a wrong password, and none are one clear error each', async () => {
    const nowhere = `redis://127.0.0.1:${await freePort()}`
    await expect(opened(nowhere)).rejects.toThrow(/PABAL_TRANSPORT_UNREACHABLE: redis:\/\/127.*ECONNREFUSED/)
    const { url, port } = await testRedis()
    await besides(url).config('SET', 'requirepass', 'secret')
    await expect(opened(`redis://:wrong@127.0.0.1:${port}`)).rejects.toThrow(/PABAL_TRANSPORT_UNREACHABLE: .*password/)
    await expect(opened(`redis://127.0.0.1:${port}`)).rejects.toThrow(/PABAL_TRANSPORT_UNREACHABLE: .*password/)
    await expect(opened(`redis://:secret@127.0.0.1:${port}`)).resolves.toBeDefined()
  })

  test('a right that is missing is named', async () => {
    const { url, port } = await testRedis()
    const redis = besides(url)
    await redis.acl('SETUSER', 'app', 'on', '>secret', '~other.*', '+@all')
    const { open } = await opened(`redis://app:secret@127.0.0.1:${port}`)
    await expect(publishAll(open, messages('a', 1, 1))).rejects.toThrow(/PABAL_TRANSPORT_INVALID: .*NOPERM/)
    await expect(open.receive(channel, 'shipping', new Notebook().take)).rejects.toEqual(invalid)
    await redis.acl('SETUSER', 'app', '~pabal.*')
    expect(await publishAll(open, messages('a', 1, 1))).toEqual([undefined])
  })

  test('what replicas have to confirm is not published before', async () => {
    const { url } = await testRedis()
    const { open } = await opened(url, { replicas: 1, timeoutMs: 200 })
    await expect(publishAll(open, messages('a', 1, 2))).rejects.toThrow(/0 of 1 replicas/)
  })

  test.each([
    [0, 'is lost when the replica becomes the primary (R14)'],
    [1, 'is not told as published where the replica has to confirm'],
  ])('what a replica has not got (replicas: %s) %s', async (replicas) => {
    const primary = await testRedis({ 'repl-diskless-sync-delay': '0' })
    const replica = await testRedis()
    const link = await faultProxy(primary.port)
    onTestFinished(() => link.close())
    const standby = besides(replica.url)
    await standby.replicaof('127.0.0.1', link.port)
    let url = primary.url
    const { open } = await opened(url, { replicas, timeoutMs: 1_000, client: (settings) => new Redis(url, settings) })
    await eventually('the first is published', () => publishAll(open, messages('a', 1, 1)).catch(() => false))
    await eventually('the replica has it', () => standby.exists('pabal.ordering'))

    link.freeze()
    const sent = messages('a', 2, 3)
    const told = await publishAll(open, sent).catch(() => undefined)
    expect(told).toEqual(replicas === 0 ? [undefined, undefined] : undefined)
    await primary.crash()
    url = replica.url
    // Who connects before it is promoted is refused, and connects anew the next time.
    await eventually('it finds the replica', () =>
      publishAll(open, sent).then(
        () => false,
        (error: unknown) => /UNREACHABLE.*READONLY/.test(String(error)),
      ),
    )
    await standby.replicaof('NO', 'ONE')

    // The relay publishes again what was not told, and goes on behind what was.
    const rest = replicas === 0 ? messages('a', 4, 4) : sent
    const { open: anew } = await opened(url)
    await publishAll(anew, rest)
    const notebook = new Notebook()
    await anew.receive(channel, 'shipping', notebook.take)
    await eventually('all has come', () => notebook.firsts('a').includes(rest.length === 1 ? 4 : 3))
    expect(notebook.firsts('a')).toEqual(replicas === 0 ? [1, 4] : [1, 2, 3])
  })

  test('a server that is full takes nothing more, and is read all the same', async () => {
    const { url } = await testRedis()
    const redis = besides(url)
    const { open } = await opened(url, { keepMs: 0, trimEveryMs: 0 })
    const notebook = new Notebook()
    const receiving = await open.receive(channel, 'shipping', notebook.take)
    await receiving[Symbol.asyncDispose]()
    await publishAll(open, messages('a', 1, 500))
    await redis.config('SET', 'maxmemory', '1')
    await expect(publishAll(open, messages('a', 501, 501))).rejects.toThrow(/OOM/)
    await open.receive(channel, 'shipping', notebook.take)
    await eventually('all have come', () => notebook.brought.length === 500)
    await eventually('there is room', async () => (await redis.xlen('pabal.ordering')) <= 100)
  })

  test('a stream that was deleted is made again', async () => {
    const { url } = await testRedis()
    const { open, warnings } = await opened(url)
    const notebook = new Notebook()
    await open.receive(channel, 'shipping', notebook.take)
    await publishAll(open, messages('a', 1, 1))
    await eventually('it has come', () => notebook.brought.length === 1)
    await besides(url).flushall()
    await publishAll(open, messages('a', 2, 2))
    await eventually('the next has come', () => notebook.firsts('a').includes(2))
    expect(notebook.firsts('a')).toEqual([1, 2])
    expect(warnings.every(([what]) => !what.includes('not taken'))).toBe(true)
  })

  test('a server that forgets is told of', async () => {
    const { url } = await testRedis({ appendonly: 'no', maxmemory: '64mb', 'maxmemory-policy': 'allkeys-lru' })
    const { warnings } = await opened(url)
    expect(warnings.map(([, error]) => String(error))).toEqual([
      expect.stringContaining('append-only'),
      expect.stringContaining('allkeys-lru'),
    ])
  })

  test('a client that is passed in stays its owner’s', async () => {
    const { url } = await testRedis()
    const redis = new Redis(url)
    onTestFinished(() => redis.disconnect())
    const { open } = await opened(url, { client: redis })
    await publishAll(open, messages('a', 1, 1))
    await open[Symbol.asyncDispose]()
    expect(await redis.xlen('pabal.ordering')).toBe(1)
    await expect(opened(url, { client: {} as Redis })).rejects.toThrow(/PABAL_COMPOSITION_INVALID/)
  })
})
