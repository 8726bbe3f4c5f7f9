import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Broker } from '../../../tools/servers/broker.ts'
import { startChild } from '../../../test/support/child.ts'
import { eventually, gate } from '../../../test/support/eventually.ts'
import {
  channel,
  type Given,
  message,
  messages,
  natsAt,
  newPrefix,
  opened,
  outsider,
  Taker,
} from '../../../test/support/nats-bench.ts'
import { missingNats, startNats } from '../../../tools/servers/nats.ts'
import { titled } from '../../../test/support/require-server.ts'
import { faultProxy } from '../../../test/support/tcp-fault.ts'
import { plan, transportContract, type TransportHarness } from '../../testing/index.ts'
import { connect } from '@nats-io/transport-node'
import type { Channel } from '../transport.ts'

const missing = missingNats()
const soon = () => AbortSignal.timeout(20_000)

describe.skipIf(missing)(titled('the NATS transport', missing), () => {
  let server: Broker
  beforeAll(async () => {
    server = await startNats()
  })
  afterAll(() => server?.[Symbol.asyncDispose]())

  const fresh = (given: Given = {}) => natsAt(server.url, { prefix: newPrefix(), ...given })

  describe('keeps the contract', () => {
    const harness: TransportHarness = {
      create: async () => {
        const prefix = newPrefix()
        return {
          transport: () => natsAt(server.url, { prefix }),
          inject: async ({ context }, body) => {
            const stranger = await connect({ servers: server.url })
            stranger.publish(`${prefix}.${context}.foreign`, body)
            await stranger.flush()
            await stranger.close()
          },
          crash: () => server.restart({ immediate: true }),
          [Symbol.asyncDispose]: async () => {},
        }
      },
    }
    // There is nothing that it cannot do.
    test.each(plan(transportContract))('$name', { timeout: 180_000 }, ({ run }) => run(harness))
  })

  describe('publishes', () => {
    test('in binary mode, to a subject that ends in the type, and a repetition is stored once', async () => {
      const prefix = newPrefix()
      const open = await opened(natsAt(server.url, { prefix }))
      const sent = messages('주문 1.*.>', 1, 3)
      for (let n = 0; n < 2; n++)
        expect(await open.publish(channel, sent, soon())).toEqual([undefined, undefined, undefined])
      const { manager } = await outsider(server.url)
      expect((await manager.streams.info(`${prefix}-ordering`)).state.messages).toBe(3)
      const stored = await manager.streams.getMessage(`${prefix}-ordering`, { seq: 1 })
      expect(stored?.subject).toBe(`${prefix}.ordering.shop.order-placed.v1`)
      expect(stored?.header.get('ce-id')).toBe(sent[0]!.id)
      expect(stored?.header.get('ce-partitionkey')).toBe('%EC%A3%BC%EB%AC%B8%201.*.>')
      expect(stored?.string()).toBe('{"n":1}')
    })

    test('and says so only when the broker has it: what is held on the way is not published', async () => {
      const prefix = newPrefix()
      await using proxy = await faultProxy(server.port, () => () => [])
      const open = await opened(natsAt(proxy.url(server.url), { prefix }))
      await open.publish(channel, messages('a', 1, 1), soon())
      proxy.freeze()
      const abort = new AbortController()
      let answered = false
      const publishing = open.publish(channel, messages('a', 2, 2), abort.signal).finally(() => (answered = true))
      const direct = await opened(natsAt(server.url, { prefix }))
      await direct.publish(channel, messages('b', 1, 1), soon())
      expect(answered).toBe(false)
      abort.abort(new Error('the app stops'))
      await expect(publishing).rejects.toThrow('the app stops')
      const { manager } = await outsider(server.url)
      expect((await manager.streams.info(`${prefix}-ordering`)).state.messages).toBe(2)
      proxy.heal()
    })

    test('a confirmation that is lost is a failure, the next try goes over another connection and stores nothing twice', async () => {
      const prefix = newPrefix()
      await using proxy = await faultProxy(server.port, () => () => [])
      const warned: string[] = []
      const transport = natsAt(proxy.url(server.url), { prefix, publishTimeout: 300 })
      const open = await opened(transport, (what) => warned.push(what))
      await open.publish(channel, messages('a', 1, 1), soon())
      proxy.cutReplies()
      const sent = messages('a', 2, 6)
      await expect(open.publish(channel, sent, soon())).rejects.toMatchObject({ code: 'PABAL_TRANSPORT_UNREACHABLE' })
      expect(warned).toContain('a connection to NATS that does not answer, and is left')
      proxy.heal()
      expect(await open.publish(channel, sent, soon())).toEqual(sent.map(() => undefined))
      const { manager } = await outsider(server.url)
      expect((await manager.streams.info(`${prefix}-ordering`)).state.messages).toBe(6)
    })

    test('while the connection is lost a publish rejects at once, and later one goes through', async () => {
      await using proxy = await faultProxy(server.port, () => () => [])
      const lost: unknown[] = []
      const transport = natsAt(proxy.url(server.url), { prefix: newPrefix(), client: { reconnectTimeWait: 50 } })
      const open = await opened(transport, (what) => lost.push(what))
      await open.publish(channel, messages('a', 1, 1), soon())
      proxy.refuse()
      proxy.reset()
      await eventually('it is noticed', () => lost.length > 0)
      await expect(open.publish(channel, messages('a', 2, 2), soon())).rejects.toMatchObject({
        code: 'PABAL_TRANSPORT_UNREACHABLE',
      })
      proxy.heal()
      await eventually('it goes again', () =>
        open.publish(channel, messages('a', 2, 2), soon()).then(
          () => true,
          () => false,
        ),
      )
    })

    test('a client that gives up is made anew', async () => {
      await using proxy = await faultProxy(server.port, () => () => [])
      let connects = 0
      const url = proxy.url(server.url)
      const transport = natsAt(url, {
        prefix: newPrefix(),
        connect: () => {
          connects++
          return connect({ servers: url, reconnect: false })
        },
      })
      const open = await opened(transport)
      const taker = new Taker()
      await open.receive(channel, 'shipping', taker.take)
      proxy.reset()
      await eventually('it goes again', () =>
        open.publish(channel, messages('a', 1, 1), soon()).then(
          () => true,
          () => false,
        ),
      )
      await eventually('it comes', () => taker.count === 1, 25_000)
      expect(connects).toBe(2)
    }, 40_000)
  })

  describe('says what is wrong', () => {
    const start = async (transport = fresh(), from: Channel = channel) => {
      const open = await opened(transport)
      await open.receive(from, 'shipping', new Taker().take)
    }

    test('an endpoint where nobody listens', async () => {
      const port = await startNats().then(async (other) => {
        await other[Symbol.asyncDispose]()
        return other.port
      })
      await expect(opened(natsAt(`nats://127.0.0.1:${port}`))).rejects.toMatchObject({
        code: 'PABAL_TRANSPORT_UNREACHABLE',
      })
    })

    test('a server that carries less than messageBytes', async () => {
      await using small = await startNats({ settings: ['max_payload: 4096'] })
      await expect(opened(natsAt(small.url))).rejects.toThrow(/PABAL_TRANSPORT_INVALID.*max_payload/)
      await opened(natsAt(small.url, { messageBytes: 4096 }))
    })

    test('credentials, rights, and an account without JetStream', async () => {
      const deny = 'permissions: { publish: { deny: ["$JS.API.STREAM.CREATE.>"] } }'
      await using guarded = await startNats({
        settings: [
          'accounts {',
          `  SHOP { jetstream: enabled, users: [ { user: all, password: p }, { user: some, password: p, ${deny} } ] }`,
          '  PLAIN { users: [ { user: plain, password: p } ] }',
          '}',
        ],
      })
      const as = (user: string, pass = 'p') => natsAt(guarded.url, { client: { user, pass } })
      await expect(opened(as('all', 'wrong'))).rejects.toThrow(/PABAL_TRANSPORT_UNREACHABLE.*credentials/)
      await expect(start(as('some'))).rejects.toThrow(/PABAL_TRANSPORT_INVALID.*lacks a right.*STREAM\.CREATE/)
      await expect(start(as('plain'))).rejects.toThrow(/PABAL_TRANSPORT_INVALID.*JetStream is not enabled/)
      await start(as('all'))
      await start(as('some'))
    })

    test('provision: false names all that is missing, creates nothing, and is content when it is there', async () => {
      const prefix = newPrefix()
      const strict = () => natsAt(server.url, { prefix, provision: false })
      const refusal = await start(strict()).catch((error: unknown) => (error as Error).message)
      for (const part of ['', '-shipping-refused', '-shipping-turn'])
        expect(refusal).toContain(`stream ${prefix}-ordering${part} is missing (with subjects`)
      expect(refusal).toContain(`consumer ${prefix}-ordering-shipping of stream`)
      expect(refusal).toContain(`consumer turn of stream ${prefix}-ordering-shipping-turn`)
      expect(refusal).toMatch(/^PABAL_TRANSPORT_INVALID/)
      const open = await opened(strict())
      await expect(open.publish(channel, messages('a', 1, 1), soon())).rejects.toMatchObject({
        code: 'PABAL_TRANSPORT_INVALID',
      })
      const { manager } = await outsider(server.url)
      await expect(manager.streams.info(`${prefix}-ordering`)).rejects.toThrow('stream not found')

      await start(natsAt(server.url, { prefix }))
      await start(strict())
      expect(await open.publish(channel, messages('a', 1, 1), soon())).toEqual([undefined])
    })

    test('a stream or a consumer of another kind', async () => {
      const { manager } = await outsider(server.url)
      const queue = newPrefix()
      await manager.streams.add({
        name: `${queue}-ordering`,
        subjects: [`${queue}.ordering.>`],
        retention: 'workqueue',
      })
      await expect(start(natsAt(server.url, { prefix: queue }))).rejects.toThrow(/PABAL_TRANSPORT_INVALID.*work queue/)
      const theirs = { ...channel, name: `${queue}-ordering` }
      await expect(start(fresh(), theirs)).rejects.toThrow(/PABAL_TRANSPORT_INVALID.*work queue/)
      const other = newPrefix()
      await manager.streams.add({ name: `${other}-ordering`, subjects: [`${other}.elsewhere`] })
      await expect(start(natsAt(server.url, { prefix: other }))).rejects.toThrow(/does not take/)
      const pushed = newPrefix()
      await manager.streams.add({ name: `${pushed}-ordering`, subjects: [`${pushed}.ordering.>`] })
      await manager.consumers.add(`${pushed}-ordering`, {
        durable_name: `${pushed}-ordering-shipping`,
        deliver_subject: `${pushed}.push`,
      })
      await expect(start(natsAt(server.url, { prefix: pushed }))).rejects.toThrow(/must be a pull consumer/)
    })

    test('several processes that make the same at once all succeed', async () => {
      const prefix = newPrefix()
      await Promise.all(Array.from({ length: 5 }, () => start(natsAt(server.url, { prefix }))))
    })
  })

  describe('receives', () => {
    test('structured JSON of others, and refuses what is no event into a stream with its reason', async () => {
      const prefix = newPrefix()
      const open = await opened(natsAt(server.url, { prefix }))
      const taker = new Taker()
      taker.refuses = ({ attributes }) => attributes.get('subject') === 'unwanted'
      await open.receive(channel, 'shipping', taker.take)
      const { connection, manager } = await outsider(server.url)
      connection.publish(
        `${prefix}.ordering.foreign`,
        '{"specversion":"1.0","id":"1","source":"/elsewhere","type":"a.b","subject":"theirs","streamversion":"7"}',
      )
      connection.publish(`${prefix}.ordering.foreign`, 'hello')
      const unwanted = message('unwanted', 1)
      await open.publish(channel, [unwanted, message('wanted', 1)], soon())
      await eventually('it has come', () => taker.count === 2)
      expect(taker.numbersOf('theirs')).toEqual([7])

      const place = `${prefix}-ordering-shipping-refused`
      expect((await manager.streams.info(place)).state.messages).toBe(2)
      const text = await manager.streams.getMessage(place, { seq: 1 })
      expect(text?.string()).toBe('hello')
      expect(text?.header.get('Pabal-Refused')).toBe('PABAL_MESSAGE_INVALID')
      expect(text?.header.get('Pabal-Subject')).toBe(`${prefix}.ordering.foreign`)
      const ours = await manager.streams.getMessage(place, { seq: 2 })
      expect(ours?.header.get('ce-id')).toBe(unwanted.id)
      expect(decodeURIComponent(ours?.header.get('Pabal-Refused-Reason') ?? '')).toBe('이건 아니다')
      await eventually('all is acknowledged', async () => {
        const { num_ack_pending, num_pending } = await manager.consumers.info(
          `${prefix}-ordering`,
          `${prefix}-ordering-shipping`,
        )
        return num_ack_pending + num_pending === 0
      })
    })

    test('what a killed process had taken and not acknowledged', { timeout: 180_000 }, async () => {
      const prefix = newPrefix()
      const producer = await opened(natsAt(server.url, { prefix, ackWait: 2_000 }))
      const child = startChild(
        {
          text: `
            import { jetstream } from '@nats-io/jetstream'
            import { connect, headers } from '@nats-io/transport-node'
            import { nats } from 'pabal/nats'
            import { systemEnvironment } from './src/core/environment.ts'
            const [servers, prefix] = process.argv.slice(1)
            const exchange = nats({ connect: () => connect({ servers }), jetstream, headers, prefix, ackWait: 2000 })
            const open = await exchange['~pabal'].carried[0].transport.open({ environment: systemEnvironment, warn: () => {} })
            await open.receive({ context: 'ordering' }, 'shipping', () => {
              console.log('taken')
              return new Promise(() => {})
            })
            console.log('receiving')`,
        },
        server.url,
        prefix,
      )
      await child.said('receiving')
      await producer.publish(channel, messages('a', 1, 5), soon())
      await child.said('taken')
      const taker = new Taker()
      await producer.receive(channel, 'shipping', taker.take)
      await child.kill()
      await producer.publish(channel, messages('a', 6, 8), soon())
      await eventually('all have come', () => taker.count === 8)
      // First what the other had, then the rest.
      expect(taker.numbersOf('a')).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
    })

    test('a backlog of large messages, in parts that the server can write', { timeout: 180_000 }, async () => {
      const prefix = newPrefix()
      const warned: string[] = []
      const open = await opened(natsAt(server.url, { prefix }), (what) => warned.push(what))
      const data = `{"t":"${'x'.repeat(250_000)}"}`
      for (let n = 0; n < 500; n += 50) {
        const some = messages('a', n + 1, n + 50).map((each) => ({ ...each, event: { ...each.event, data } }))
        await open.publish(channel, some, soon())
      }
      const taker = new Taker()
      await open.receive(channel, 'shipping', taker.take)
      await eventually('all have come', () => taker.count === 500, 120_000)
      expect(warned).toEqual([])
      expect(taker.events).toHaveLength(500)
    })

    test('a batch that takes longer than ackWait once', async () => {
      const prefix = newPrefix()
      const open = await opened(natsAt(server.url, { prefix, ackWait: 1_000 }))
      const taker = new Taker()
      taker.before = () => new Promise((resolve) => setTimeout(resolve, 2_500))
      const receiving = await open.receive(channel, 'shipping', taker.take)
      await open.publish(channel, messages('a', 1, 3), soon())
      await eventually('it is taken', () => taker.count === 3)
      await receiving[Symbol.asyncDispose]()
      expect(taker.events).toHaveLength(3)
    })

    test('again after the link was frozen, and after it was reset', { timeout: 180_000 }, async () => {
      const prefix = newPrefix()
      await using proxy = await faultProxy(server.port, () => () => [])
      const producer = await opened(natsAt(server.url, { prefix, ackWait: 1_000 }))
      const warned: string[] = []
      const consumer = await opened(
        natsAt(proxy.url(server.url), { prefix, ackWait: 1_000, client: { reconnectTimeWait: 50 } }),
        (what) => warned.push(what),
      )
      const taker = new Taker()
      await consumer.receive(channel, 'shipping', taker.take)
      await producer.publish(channel, messages('a', 1, 3), soon())
      await eventually('the first have come', () => taker.count === 3)
      proxy.freeze()
      await producer.publish(channel, messages('a', 4, 6), soon())
      await eventually('it is left', () => warned.includes('a connection to NATS that does not answer, and is left'))
      proxy.heal()
      await eventually('the next have come', () => taker.count === 6)
      proxy.reset()
      await producer.publish(channel, messages('a', 7, 9), soon())
      await eventually('the last have come', () => taker.count === 9)
    })

    test('on when somebody has purged the turn, or removed everything', { timeout: 180_000 }, async () => {
      const prefix = newPrefix()
      const open = await opened(natsAt(server.url, { prefix, ackWait: 1_000 }))
      const taker = new Taker()
      const first = await open.receive(channel, 'shipping', taker.take)
      await open.publish(channel, messages('a', 1, 1), soon())
      await eventually('it has come', () => taker.count === 1)
      await first[Symbol.asyncDispose]()
      const { manager } = await outsider(server.url)
      await manager.streams.purge(`${prefix}-ordering-shipping-turn`)
      await open.receive(channel, 'shipping', taker.take)
      await open.publish(channel, messages('a', 2, 2), soon())
      await eventually('it goes on', () => taker.count === 2)
      for (const name of ['', '-shipping-turn']) await manager.streams.delete(`${prefix}-ordering${name}`)
      await eventually('it is there again', () =>
        open.publish(channel, messages('a', 3, 3), soon()).then(
          ([outcome]) => outcome === undefined,
          () => false,
        ),
      )
      await eventually('it goes on again', () => taker.count >= 3)
    })
  })

  describe('keeps the order of a key', () => {
    const keys = Array.from({ length: 20 }, (_, n) => `key-${n}`)
    const rounds = Array.from({ length: 100 }, (_, n) => n + 1)
    const inOrder = (taker: Taker) => {
      for (const key of keys) expect([key, ...taker.numbersOf(key)]).toEqual([key, ...rounds])
    }

    test('with two processes of a subscriber that come and go', { timeout: 180_000 }, async () => {
      const prefix = newPrefix()
      const producer = await opened(natsAt(server.url, { prefix }))
      const taker = new Taker()
      const consumer = async (name: string) => {
        const open = await opened(natsAt(server.url, { prefix, batch: 50 }))
        return open.receive(channel, 'shipping', taker.takeAs(name))
      }
      let [one, two] = [await consumer('one 0'), await consumer('two 0')]
      for (let at = 0; at < rounds.length; at += 10) {
        const publishing = producer.publish(
          channel,
          rounds.slice(at, at + 10).flatMap((n) => keys.map((key) => message(key, n))),
          soon(),
        )
        await eventually('some have come', () => taker.count > at * keys.length)
        if (at % 20 === 0) {
          await one[Symbol.asyncDispose]()
          one = await consumer(`one ${at}`)
        } else {
          await two[Symbol.asyncDispose]()
          two = await consumer(`two ${at}`)
        }
        expect((await publishing).filter((outcome) => outcome !== undefined)).toEqual([])
      }
      await eventually('all have come', () => taker.count === keys.length * rounds.length)
      inOrder(taker)
      expect(new Set(taker.by).size).toBeGreaterThan(1)
    })

    test('by the turn: with two of them what was published later is taken first', async () => {
      const prefix = newPrefix()
      const producer = await opened(natsAt(server.url, { prefix }))
      const taker = new Taker()
      const held = gate()
      const begun = gate()
      taker.before = async () => {
        begun.open()
        await held.opened
      }
      const [one, two] = [await opened(natsAt(server.url, { prefix })), await opened(natsAt(server.url, { prefix }))]
      await one.receive(channel, 'shipping', taker.takeAs('one'))
      await producer.publish(channel, messages('a', 1, 3), soon())
      await begun.opened
      taker.before = () => Promise.resolve()
      await two.receive(channel, 'shipping', taker.takeAs('two'))
      const { connection, manager } = await outsider(server.url)
      await eventually('nobody asks for messages', async () => {
        const { num_waiting } = await manager.consumers.info(`${prefix}-ordering`, `${prefix}-ordering-shipping`)
        return num_waiting === 0
      })
      await producer.publish(channel, messages('a', 4, 6), soon())
      await manager.streams.purge(`${prefix}-ordering-shipping-turn`)
      connection.publish(`${prefix}-turn.ordering.shipping`)
      await eventually('the later ones are taken', () => taker.count === 3)
      held.open()
      await eventually('all are taken', () => taker.count === 6)
      expect(taker.numbersOf('a')).toEqual([4, 5, 6, 1, 2, 3])
    })

    test('also when takes fail', { timeout: 180_000 }, async () => {
      const prefix = newPrefix()
      const open = await opened(natsAt(server.url, { prefix, batch: 50 }))
      const taker = new Taker()
      let takes = 0
      taker.before = async () => {
        if (++takes % 5 === 0) throw new Error('not now')
      }
      for (const name of ['one', 'two']) {
        const consumer = await opened(natsAt(server.url, { prefix, batch: 50 }))
        await consumer.receive(channel, 'shipping', taker.takeAs(name))
      }
      await open.publish(
        channel,
        rounds.flatMap((n) => keys.map((key) => message(key, n))),
        soon(),
      )
      await eventually('all have come', () => taker.count === keys.length * rounds.length, 30_000)
      inOrder(taker)
    })
  })
})
