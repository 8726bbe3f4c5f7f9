import { connect } from 'amqplib'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import type { Broker } from '../../../tools/servers/broker.ts'
import { eventually, gate } from '../../../test/support/eventually.ts'
import { missingRabbit, quorumQueueIsKept, startRabbit } from '../../../tools/servers/rabbitmq.ts'
import { onRabbit, withUsers } from '../../../test/support/rabbitmq-tools.ts'
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
import { defaultLimits } from '../../core/limits.ts'
import { toJson } from '../../event/cloudevents/structured.ts'
import { plan, transportContract, type TransportHarness } from '../../testing/index.ts'
import { applySteps, planSteps } from '../topology.ts'
import type { Incoming, OpenTransport, Outgoing, Taken } from '../transport.ts'
import { askOn, isDirect } from './topology.ts'
import { rabbitmqTransport } from './transport.ts'

const missing = missingRabbit()
/** Of the broker's, for bodies. */
const brokerBytes = 2_000_000

let broker: Broker
const { nextPrefix, opened, proxied, countIn } = rabbitTools(() => broker)

const harness: TransportHarness = {
  create: async () => {
    const prefix = nextPrefix()
    return {
      transport: () => rabbitmqTransport({ connect: () => connect(broker.url), prefix }),
      inject: ({ context }, body) =>
        onRabbit(broker, async (raw) => {
          raw.publish(`${prefix}pabal.${context}`, 'of.others', Buffer.from(body))
          await raw.waitForConfirms()
        }),
      crash: async () => {
        await quorumQueueIsKept(broker, `${prefix}pabal.ordering.shipping.refused`)
        await broker.restart({ immediate: true })
      },
      [Symbol.asyncDispose]: async () => {},
    }
  },
}

describe.skipIf(missing)(titled('RabbitMQ as a transport', missing), { timeout: 180_000 }, () => {
  const started = new AsyncDisposableStack()
  beforeAll(async () => {
    const { settings } = started.use(await withUsers())
    broker = await startRabbit({ settings: { ...settings, max_message_size: String(brokerBytes) } })
    started.use(broker)
  }, 120_000)
  afterAll(() => started.disposeAsync())

  describe('keeps the contract', () => {
    // There is nothing that it cannot do.
    test.each(plan(transportContract))('$name', ({ run }) => run(harness))
  })

  describe('published', () => {
    test('is told when the broker has it, and not before', async () => {
      const prefix = nextPrefix()
      const { proxy, url } = await proxied(60)
      const { open } = await opened(prefix, { url, subscribers: { ordering: ['shipping'] } })
      expect(await open.publish(channel, messages('a', 1, 3), signal)).toEqual([undefined, undefined, undefined])
      expect(await countIn(`${prefix}pabal.ordering.shipping`)).toBe(3)
      proxy.freeze()
      let told = false
      const publishing = open.publish(channel, messages('a', 4, 6), signal).then((outcomes) => {
        told = true
        return outcomes
      })
      // Another connection's round trips: there was time for an answer.
      expect(await countIn(`${prefix}pabal.ordering.shipping`)).toBe(3)
      expect(told).toBe(false)
      proxy.thaw()
      expect(await publishing).toEqual([undefined, undefined, undefined])
      expect(await countIn(`${prefix}pabal.ordering.shipping`)).toBe(6)
    })

    test('what the broker itself takes for too large fails for ever, and what stood beside it for now', async () => {
      const { open } = await opened(nextPrefix(), { messageBytes: 2 * brokerBytes })
      const large = message('b', 1, JSON.stringify('x'.repeat(brokerBytes + 1)))
      const outcomes = await open.publish(channel, [large, ...messages('a', 1, 2)], signal)
      expect(outcomes[0]?.error).toMatchObject({ code: 'PABAL_MESSAGE_TOO_LARGE', retryable: false })
      for (const outcome of outcomes.slice(1))
        if (outcome !== undefined) expect(outcome.error).toMatchObject({ retryable: true })
      expect(await open.publish(channel, messages('a', 1, 2), signal)).toEqual([undefined, undefined])
    })

    test('an event that AMQP has no room for fails alone', async () => {
      const { open } = await opened(nextPrefix())
      const wide = message('a', 1)
      const attributes = new Map([...wide.event.attributes, ['metadata', 'x'.repeat(70_000)] as const])
      const outcomes = await open.publish(
        channel,
        [{ ...wide, event: { ...wide.event, attributes } }, message('b', 1)],
        signal,
      )
      expect(outcomes[0]?.error).toMatchObject({ code: 'PABAL_MESSAGE_INVALID', retryable: false })
      expect(outcomes[1]).toBeUndefined()
    })

    test('an exchange that was deleted is made again', async () => {
      const prefix = nextPrefix()
      const { open } = await opened(prefix)
      await open.publish(channel, messages('a', 1, 1), signal)
      await onRabbit(broker, (raw) => raw.deleteExchange(`${prefix}pabal.ordering`))
      await expect(open.publish(channel, messages('a', 2, 2), signal)).rejects.toMatchObject({ retryable: true })
      expect(await open.publish(channel, messages('a', 2, 2), signal)).toEqual([undefined])
    })
  })

  describe('received', () => {
    test('by two processes in turn keeps the order of each key', async () => {
      const prefix = nextPrefix()
      const arrived: string[] = []
      const consumers = await Promise.all([1, 2, 3].map(() => opened(prefix, { prefetch: 20 })))
      const receivings = []
      for (const { open } of consumers) receivings.push(await open.receive(channel, 'shipping', collecting(arrived)))
      const keys = ['a', 'b', 'c']
      const { open } = await opened(prefix)
      const publishing = (async () => {
        for (let n = 1; n <= 300; n += 10)
          await open.publish(
            channel,
            Array.from({ length: 10 }, (_, i) => keys.map((key) => message(key, n + i))).flat(),
            signal,
          )
      })()
      // The one at work stops in the midst of it, twice.
      for (const [index, receiving] of receivings.slice(0, 2).entries()) {
        await eventually('some have come', () => arrived.length > (index + 1) * 150)
        await receiving[Symbol.asyncDispose]()
      }
      await publishing
      await eventually('all have come', () => new Set(arrived).size === 900)
      for (const key of keys) {
        const of = arrived.filter((id) => id.startsWith(`${key}-`))
        expect([...new Set(of)]).toEqual(idsOf(messages(key, 1, 300)))
      }
    })

    test('no more than a batch that was asked for comes at a time', async () => {
      const prefix = nextPrefix()
      const sizes: number[] = []
      const { open } = await opened(prefix, { prefetch: 10 })
      const held = gate()
      await open.receive(channel, 'shipping', async (batch) => {
        sizes.push(batch.length)
        await held.opened
        return batch.map(() => undefined)
      })
      await open.publish(channel, messages('a', 1, 50), signal)
      held.open()
      await eventually('all have come', () => sizes.reduce((sum, size) => sum + size, 0) === 50)
      expect(Math.max(...sizes)).toBeLessThanOrEqual(5)
    })

    test('what is refused is set aside as it came, with the reason, and told', async () => {
      const prefix = nextPrefix()
      const { open, warnings } = await opened(prefix)
      const ids: string[] = []
      await open.receive(channel, 'shipping', async (batch) =>
        batch.map((each): Taken => {
          const id = String(each.decode(defaultLimits).attributes.get('id'))
          ids.push(id)
          return id === 'a-2' || id === 'a-5' ? { refused: new Error(`${id} is of no use`) } : undefined
        }),
      )
      await open.publish(channel, messages('a', 1, 5), signal)
      const refused = `${prefix}pabal.ordering.shipping.refused`
      await eventually('both are set aside', async () => (await countIn(refused)) === 2)
      await onRabbit(broker, async (raw) => {
        for (const n of [2, 5]) {
          const found = await raw.get(refused, { noAck: true })
          expect(found && found.content.toString()).toBe(`{"n":${n}}`)
          expect(found && found.fields.routingKey).toBe('shop.order-placed.v1')
          expect(found && found.properties).toMatchObject({
            messageId: `a-${n}`,
            deliveryMode: 2,
            headers: { cloudEvents_id: `a-${n}`, 'pabal-refused': `a-${n} is of no use` },
          })
        }
      })
      expect(await countIn(`${prefix}pabal.ordering.shipping`)).toBe(0)
      expect(ids).toEqual(idsOf(messages('a', 1, 5)))
      expect(warnings.filter((each) => each.includes('is of no use'))).toHaveLength(2)
    })

    const looking =
      (open: OpenTransport) =>
      async (limit: number, goes: (id: string) => boolean = () => false): Promise<string[]> => {
        const shown: string[] = []
        await open.refused!(channel, 'shipping', limit, async ({ incoming, id, reason }) => {
          expect(id).toBe(incoming.decode(defaultLimits).attributes.get('id'))
          shown.push(`${id}: ${reason}`)
          return goes(id)
        })
        return shown
      }
    const refusing = async (batch: readonly Incoming[]) => batch.map(() => ({ refused: new Error('of no use') }))

    test('what was refused stays in its order, however much of it is looked at, and how often', async () => {
      const { open } = await opened(nextPrefix())
      const look = looking(open)
      expect(await look(10)).toEqual([])
      await open.receive(channel, 'shipping', refusing)
      const first = messages('a', 1, 80)
      const second = messages('b', 1, 10)
      const shownOf = (of: readonly Outgoing[]) => idsOf(of).map((id) => `${id}: of no use`)
      await open.publish(channel, first, signal)
      await eventually('all are kept', async () => (await look(100)).length === 80)
      for (const limit of [3, 50, 1, 100, 35]) expect(await look(limit)).toEqual(shownOf(first.slice(0, limit)))
      const failure = new Error('not now')
      for (let n = 0; n < 25; n++)
        await expect(open.refused!(channel, 'shipping', 5, () => Promise.reject(failure))).rejects.toBe(failure)
      await open.publish(channel, second, signal)
      await look(40, (id) => id.endsWith('0'))
      const left = [...first.filter(({ id }) => !['a-10', 'a-20', 'a-30', 'a-40'].includes(id)), ...second]
      await eventually('the others are kept too', async () => (await look(100)).length === left.length)
      expect(await look(100)).toEqual(shownOf(left))
      await look(100, () => true)
      expect(await look(100)).toEqual([])
    })

    test('what is refused is moved by the broker where it cannot be copied, and the reason is told', async () => {
      const prefix = nextPrefix()
      let connections = 0
      // For receiving, and not for publishing.
      const once = () => (++connections === 1 ? connect(broker.url) : Promise.reject(new Error('no more')))
      const [{ open }, consumer] = [await opened(prefix), await opened(prefix, { connect: once })]
      await consumer.open.receive(channel, 'shipping', refusing)
      await open.publish(channel, messages('a', 1, 1), signal)
      const look = looking(open)
      await eventually('it is moved', async () => (await look(10)).length === 1)
      expect(await look(10)).toEqual([expect.stringMatching(/^a-1: it was refused; why is in the warnings of 2\d{3}-/)])
      expect(consumer.warnings.join()).toMatch(/are set aside without the reason/)
      expect(consumer.warnings.join()).toMatch(/of no use/)
    })

    test('what no queue would keep is no copy', async () => {
      const prefix = nextPrefix()
      const { open, warnings } = await opened(prefix)
      await open.receive(channel, 'shipping', refusing)
      const refused = `${prefix}pabal.ordering.shipping.refused`
      await onRabbit(broker, (raw) => raw.unbindQueue(refused, refused, '#'))
      await open.publish(channel, messages('a', 1, 1), signal)
      await eventually('it is told', () => warnings.some((each) => each.includes('no queue is bound')))
    })

    test('however often it was given back: nothing is dropped for that', async () => {
      const prefix = nextPrefix()
      const { open } = await opened(prefix, { subscribers: { ordering: ['shipping'] } })
      await open.publish(channel, messages('a', 1, 1), signal)
      const times = 30
      await onRabbit(broker, async (raw) => {
        const { promise, resolve } = Promise.withResolvers<void>()
        let given = 0
        await raw.consume(`${prefix}pabal.ordering.shipping`, (delivered) => {
          if (++given > times) resolve()
          else raw.nack(delivered!, false, true)
        })
        await promise
      })
      const ids: string[] = []
      await open.receive(channel, 'shipping', collecting(ids))
      await eventually('it has come', () => ids.length === 1)
    })

    test('from a queue that was deleted goes on from a new one, and says so', async () => {
      const prefix = nextPrefix()
      const { open, warnings } = await opened(prefix)
      const ids: string[] = []
      await open.receive(channel, 'shipping', collecting(ids))
      await onRabbit(broker, (raw) => raw.deleteQueue(`${prefix}pabal.ordering.shipping`))
      await eventually('it is told', () => warnings.some((each) => each.includes('the queue was deleted')))
      await eventually('the new one has come', async () => {
        await open.publish(channel, messages('a', 1, 1), signal)
        return ids.length > 0
      })
    })
  })

  describe('what is not there', () => {
    const failing = async (options: Parameters<typeof opened>[1], prefix = nextPrefix()) => {
      const { open } = await opened(prefix, options)
      const errors = await Promise.all([
        open.publish(channel, messages('a', 1, 1), signal).catch((error: unknown) => error as Error),
        open.receive(channel, 'shipping', collecting([])).catch((error: unknown) => error as Error),
      ])
      return errors as [Error, Error]
    }

    test('is named, and not made, when nothing is to be provisioned', async () => {
      const prefix = nextPrefix()
      const [publishing, receiving] = await failing({ provision: false }, prefix)
      expect(publishing).toMatchObject({ code: 'PABAL_TRANSPORT_INVALID' })
      expect(publishing.message).toContain(`the exchange ${prefix}pabal.ordering is missing`)
      expect(receiving).toMatchObject({ code: 'PABAL_TRANSPORT_INVALID' })
      for (const name of ['pabal.ordering', 'pabal.ordering.shipping', 'pabal.ordering.shipping.refused'])
        expect(receiving.message).toContain(`${prefix}${name} is missing`)
      await expect(onRabbit(broker, (raw) => raw.checkExchange(`${prefix}pabal.ordering`))).rejects.toThrow(/404/)

      const { open: provisioning } = await opened(prefix, { subscribers: { ordering: ['shipping'] } })
      await provisioning.publish(channel, messages('a', 1, 1), signal)
      // Who may declare nothing may use what is there.
      const url = broker.url.replace('guest:guest', 'worker:worker')
      const { open } = await opened(prefix, { provision: false, url })
      const ids: string[] = []
      await open.receive(channel, 'shipping', collecting(ids))
      await open.publish(channel, messages('a', 2, 2), signal)
      await eventually('both have come', () => ids.length === 2)
    })

    test.each([
      ['a password that is wrong', (url: string) => url.replace('guest:guest', 'guest:secret'), /ACCESS.REFUSED/],
      ['a virtual host that is not there', (url: string) => `${url}/nowhere`, /virtual host/],
      ['nobody who listens', () => 'amqp://guest:secret@127.0.0.1:1', /ECONNREFUSED/],
      ['a host that is not there', () => 'amqp://guest:secret@nowhere.invalid', /nowhere\.invalid/],
    ])('%s: it is told in one error, without the password', async (_, changed, told) => {
      for (const error of await failing({ url: changed(broker.url) })) {
        expect(error).toMatchObject({ code: 'PABAL_TRANSPORT_UNREACHABLE', retryable: true })
        expect(error.message).toMatch(told)
        expect(error.message).not.toContain('secret')
      }
    })

    test('a right: it is told which', async () => {
      for (const error of await failing({ url: broker.url.replace('guest:guest', 'nobody:nobody') })) {
        expect(error).toMatchObject({ code: 'PABAL_TRANSPORT_INVALID', retryable: false })
        expect(error.message).toMatch(/lacks a right.*pabal\.ordering/)
      }
    })

    test('an exchange or a queue of the kind that is needed: it is told what it is', async () => {
      const [first, second] = [nextPrefix(), nextPrefix()]
      await onRabbit(broker, async (raw) => {
        await raw.assertExchange(`${first}pabal.ordering`, 'fanout')
        await raw.assertQueue(`${second}pabal.ordering.shipping`)
      })
      for (const error of await failing({}, first)) {
        expect(error).toMatchObject({ code: 'PABAL_TRANSPORT_INVALID' })
        expect(error.message).toMatch(/'topic'.*'fanout'/)
      }
      const [, receiving] = await failing({}, second)
      expect(receiving).toMatchObject({ code: 'PABAL_TRANSPORT_INVALID' })
      expect(receiving.message).toMatch(/pabal\.ordering\.shipping.*inequivalent arg/)
    })
  })

  describe("a foreign producer's exchange", () => {
    const received = async (type: string, url?: string) => {
      const prefix = nextPrefix()
      const name = `${prefix}theirs`
      await onRabbit(broker, (raw) => raw.assertExchange(name, type))
      const needs = { publishes: [], receives: [{ channel: { ...channel, name }, subscriber: 'shipping' }] }
      const { open } = await opened(prefix, url === undefined ? {} : { url })
      return { prefix, name, open, needs }
    }

    test.each(['topic', 'fanout', 'headers'])('of type %s brings all, whatever their key', async (type) => {
      const { name, open } = await received(type)
      const came: string[] = []
      await open.receive({ ...channel, name }, 'shipping', collecting(came))
      await onRabbit(broker, async (raw) => {
        for (const [at, key] of ['', 'orders', 'orders.placed.kr'].entries())
          raw.publish(name, key, Buffer.from(toJson(message('a', at + 1).event)), {
            contentType: 'application/cloudevents+json',
            headers: { at },
          })
        await raw.waitForConfirms()
      })
      await eventually('all have come', () => came.length === 3)
      expect(came).toEqual(idsOf(messages('a', 1, 3)))
    })

    test('of type direct has no binding to all: it is told, and what somebody else has bound is received', async () => {
      const { prefix, name, open, needs } = await received('direct')
      expect((await planSteps(open.resources!(needs)))[0]).toMatchObject({ action: 'conflict', kind: 'exchange', name })
      await expect(open.receive({ ...channel, name }, 'shipping', collecting([]))).rejects.toMatchObject({
        code: 'PABAL_TRANSPORT_INVALID',
        message: expect.stringContaining(`the exchange ${name} is of type direct`),
      })
      await onRabbit(broker, (raw) => raw.checkExchange(name))

      const { open: fixed } = await opened(prefix, { provision: false })
      const [, ...ours] = fixed.resources!(needs)
      for (const { kind, make } of ours) if (kind !== 'binding') await make!()
      await onRabbit(broker, (raw) => raw.bindQueue(`${prefix}pabal.ordering.shipping`, name, 'orders'))
      const came: string[] = []
      await fixed.receive({ ...channel, name }, 'shipping', collecting(came))
      await onRabbit(broker, async (raw) => {
        const body = Buffer.from(toJson(message('a', 1).event))
        raw.publish(name, 'orders', body, { contentType: 'application/cloudevents+json' })
        await raw.waitForConfirms()
      })
      await eventually('it has come', () => came.length === 1)
    })

    test('is asked for its type by a question that makes nothing, and is taken as it is by who may not ask', async () => {
      const { prefix, open } = await received('topic')
      const gone = {
        publishes: [],
        receives: [{ channel: { ...channel, name: `${prefix}gone` }, subscriber: 'shipping' }],
      }
      expect((await planSteps(open.resources!(gone)))[0]).toMatchObject({ action: 'missing', name: `${prefix}gone` })
      const connection = await connect(broker.url)
      onTestFinished(() => connection.close())
      expect(await isDirect(askOn(connection), `${prefix}gone`)).toBe(false)
      await expect(onRabbit(broker, (raw) => raw.checkExchange(`${prefix}gone`))).rejects.toThrow(/404/)
      const { open: worker, needs } = await received('direct', broker.url.replace('guest:guest', 'worker:worker'))
      expect((await planSteps(worker.resources!(needs))).map(({ action }) => action)).not.toContain('conflict')
    })
  })

  test('a queue of another kind is no conflict where nothing is declared, nor for who may not declare', async () => {
    const prefix = nextPrefix()
    await onRabbit(broker, async (raw) => {
      await raw.assertExchange(`${prefix}pabal.ordering`, 'topic')
      await raw.assertQueue(`${prefix}pabal.ordering.shipping`)
    })
    const needs = { publishes: [channel], receives: [{ channel, subscriber: 'shipping' }] }
    const actions = async (options: Parameters<typeof opened>[1]) => {
      const steps = await planSteps((await opened(prefix, options)).open.resources!(needs))
      return steps.filter(({ name }) => name === `${prefix}pabal.ordering.shipping`).map(({ action }) => action)
    }
    expect(await actions({})).toEqual(['conflict'])
    expect(await actions({ provision: false })).toEqual(['drift'])
    const { open } = await opened(prefix, { provision: false })
    await applySteps('RabbitMQ', open.resources!(needs))
    expect(await actions({ provision: false })).toEqual(['drift'])
    expect(await actions({ url: broker.url.replace('guest:guest', 'worker:worker') })).toEqual([])
  })

  test('what is given wrongly is refused before anything is connected', () => {
    const given = (options: object) => () => rabbitmqTransport({ connect: () => connect(broker.url), ...options })
    for (const options of [{ connect: 'amqp://x' }, { prefix: 'amq.' }, { prefix: 'a b' }, { prefetch: 0 }])
      expect(given(options)).toThrow(/PABAL_COMPOSITION_INVALID/)
    for (const options of [{ prefetch: 2_001 }, { messageBytes: 1 }, { timeoutMs: 1 }])
      expect(given(options)).toThrow(/PABAL_COMPOSITION_INVALID/)
  })
})
