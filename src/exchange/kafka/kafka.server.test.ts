import { randomUUID } from 'node:crypto'
import * as client from '@platformatic/kafka'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import type { Broker } from '../../../tools/servers/broker.ts'
import { startChild } from '../../../test/support/child.ts'
import { eventually, gate } from '../../../test/support/eventually.ts'
import { missingKafka, startKafka } from '../../../tools/servers/kafka.ts'
import { titled } from '../../../test/support/require-server.ts'
import { freePort } from '../../../tools/servers/server-process.ts'
import { type FaultProxy, faultProxy } from '../../../test/support/tcp-fault.ts'
import { systemEnvironment } from '../../core/environment.ts'
import { defaultLimits } from '../../core/limits.ts'
import { toJson } from '../../event/cloudevents/structured.ts'
import { plan, transportContract, type TransportHarness } from '../../testing/index.ts'
import type { Incoming, OpenTransport, Outgoing, Take, Transport } from '../transport.ts'
import { kafka, type KafkaOptions } from './index.ts'
import { partitionOf } from './partition.ts'

const startMs = 180_000
/** Over the crash of a broker, or the end of a session. */
const slowMs = 180_000
const channel = { context: 'ordering' }

let broker: Broker
/** On the way to the broker of everybody who is not told otherwise: it is what the broker says its address is. */
let link: FaultProxy
let saslPort: number

const transport = (options: Partial<KafkaOptions> = {}): Transport =>
  kafka({
    client,
    connection: { bootstrapBrokers: [broker.url], retryDelay: 100 },
    prefix: `${randomUUID()}.`,
    sessionTimeoutMs: 6_000,
    requestTimeoutMs: 2_000,
    ...options,
  })['~pabal'].carried[0]!.transport

interface Process {
  readonly open: OpenTransport
  readonly warnings: string[]
}

const opened = async (value: Transport): Promise<Process> => {
  const warnings: string[] = []
  const warn = (what: string, error: unknown) => warnings.push(`${what}: ${String(error)}`)
  const open = await value.open({ environment: systemEnvironment, warn })
  onTestFinished(() => open[Symbol.asyncDispose]())
  return { open, warnings }
}

const event = (key: string, n: number): Outgoing => {
  const id = `${key}-${n}`
  const attributes = new Map([
    ['specversion', '1.0'],
    ['id', id],
    ['source', 'urn:pabal:ordering'],
    ['type', 'shop.order-placed.v1'],
    ['datacontenttype', 'application/json'],
    ['subject', key],
  ])
  return { key, id, event: { attributes, data: `{"n":${n}}` } }
}
const events = (key: string, from: number, to: number): Outgoing[] =>
  Array.from({ length: to - from + 1 }, (_, i) => event(key, from + i))

const inTime = () => AbortSignal.timeout(slowMs)

/** As the relay does, until the broker has all. */
const publish = async (open: OpenTransport, messages: readonly Outgoing[]): Promise<void> => {
  await eventually(
    'it is published',
    async () => {
      const outcomes = await open.publish(channel, messages, inTime()).catch(() => undefined)
      return outcomes?.every((outcome) => outcome === undefined)
    },
    slowMs,
  )
}

/** Takes everything, and notes it. */
class Taker {
  readonly ids: string[] = []
  readonly take: Take = async (batch) => {
    this.ids.push(...batch.map((incoming) => idOf(incoming)))
    return batch.map(() => undefined)
  }
  get distinct(): string[] {
    return [...new Set(this.ids)]
  }
}
const idOf = (incoming: Incoming): string => String(incoming.decode(defaultLimits).attributes.get('id'))

/** Of a process of its own: its first argument is the prefix, its second the broker. */
const beginning = `
  import * as client from '@platformatic/kafka'
  import { kafka } from 'pabal/kafka'
  import { systemEnvironment as environment } from './src/core/environment.ts'
  const [prefix, url] = process.argv.slice(1)
  const options = { client, connection: { bootstrapBrokers: [url] }, prefix, sessionTimeoutMs: 6000 }
  const open = await kafka(options)['~pabal'].carried[0].transport.open({ environment, warn: () => {} })`

const attributesOf = (id: string) => ({ ce_id: id, ce_source: '/there', ce_type: 't.t', ce_specversion: '1.0' })

const admin = (): client.Admin => {
  const made = new client.Admin({ clientId: 'test', bootstrapBrokers: [broker.url] })
  onTestFinished(() => made.close())
  return made
}

const topicsOf = async (prefix: string): Promise<string[]> =>
  (await admin().listTopics()).filter((name) => name.startsWith(prefix))

/** What stands in a topic, by somebody who is nobody's subscriber. */
const recordsIn = async (topic: string, count: number) => {
  const consumer = new client.Consumer({ clientId: 'test', bootstrapBrokers: [broker.url], groupId: randomUUID() })
  onTestFinished(() => consumer.close(true))
  const found: { value: string | undefined; headers: Map<string, string> }[] = []
  for await (const { value, headers } of await consumer.consume({
    topics: [topic],
    mode: 'earliest',
    maxWaitTime: 200,
  })) {
    const texts = [...headers].map(([name, text]) => [name.toString(), text.toString()] as const)
    found.push({ value: value?.toString(), headers: new Map(texts) })
    if (found.length === count) break
  }
  return found
}

const missing = missingKafka()
describe.skipIf(missing)(titled('the transport over Kafka', missing), () => {
  beforeAll(async () => {
    broker = await startKafka({
      settings: async ({ port, controllerPort }) => {
        link = await faultProxy(port, () => () => [])
        saslPort = await freePort()
        const sasl = `SASL_PLAINTEXT://127.0.0.1:${saslPort}`
        return {
          listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort},${sasl}`,
          'advertised.listeners': `PLAINTEXT://127.0.0.1:${link.port},${sasl}`,
          'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT',
          'sasl.enabled.mechanisms': 'PLAIN',
          'listener.name.sasl_plaintext.plain.sasl.jaas.config':
            'org.apache.kafka.common.security.plain.PlainLoginModule required user_ann="secret";',
          'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
          'super.users': 'User:ANONYMOUS',
          'auto.create.topics.enable': 'false',
        }
      },
    })
  }, startMs)
  afterAll(async () => {
    await broker?.[Symbol.asyncDispose]()
    await link?.close()
  })

  const harness: TransportHarness = {
    create: async () => {
      const prefix = `${randomUUID()}.`
      return {
        transport: () => transport({ prefix }),
        inject: async ({ context }, body) => {
          const producer = new client.Producer({ clientId: 'test', bootstrapBrokers: [broker.url] })
          await producer.send({
            messages: [{ topic: `${prefix}pabal.${context}`, value: Buffer.from(body) }],
            acks: -1,
          })
          await producer.close()
        },
        crash: () => broker.restart({ immediate: true }),
        [Symbol.asyncDispose]: async () => {},
      }
    },
  }
  test.each(plan(transportContract))('$name', { timeout: slowMs }, ({ run }) => run(harness))

  test('what is published is on the broker, in binary mode, before anyone is told', async () => {
    const prefix = `${randomUUID()}.`
    const { open } = await opened(transport({ prefix }))
    await publish(open, [event('a', 1)])
    const [record] = await recordsIn(`${prefix}pabal.ordering`, 1)
    expect(record!.value).toBe('{"n":1}')
    expect(record!.headers.get('ce_id')).toBe('a-1')
    expect(record!.headers.get('content-type')).toBe('application/json')
  })

  test('over a link that is frozen nothing counts as published, and when it thaws all goes on', {
    timeout: slowMs,
  }, async () => {
    const value = transport()
    const [{ open }, consumer] = [await opened(value), await opened(value)]
    const taker = new Taker()
    await consumer.open.receive(channel, 'shipping', taker.take)
    await publish(open, events('a', 1, 3))
    await eventually('they have come', () => taker.distinct.length === 3)
    link.freeze()
    await expect(open.publish(channel, events('a', 4, 6), AbortSignal.timeout(500))).rejects.toThrow('timeout')
    link.thaw()
    await publish(open, events('a', 4, 6))
    await eventually('the rest has come', () => taker.distinct.length === 6, slowMs)
    expect(taker.distinct).toEqual(events('a', 1, 6).map(({ id }) => id))
  })

  test('an answer that is lost is no success, and what is published again is at most there twice', {
    timeout: slowMs,
  }, async () => {
    const value = transport()
    const [{ open }, consumer] = [await opened(value), await opened(value)]
    const taker = new Taker()
    await consumer.open.receive(channel, 'shipping', taker.take)
    await publish(open, events('a', 1, 3))
    link.cutReplies()
    await expect(open.publish(channel, events('a', 4, 6), AbortSignal.timeout(1_000))).rejects.toThrow('timeout')
    link.reset()
    link.heal()
    await publish(open, events('a', 4, 6))
    await eventually('all have come', () => taker.distinct.length === 6, slowMs)
    expect(taker.distinct).toEqual(events('a', 1, 6).map(({ id }) => id))
  })

  test('a connection that breaks is made anew, and told of', { timeout: slowMs }, async () => {
    const value = transport()
    const [{ open }, consumer] = [await opened(value), await opened(value)]
    const taker = new Taker()
    await consumer.open.receive(channel, 'shipping', taker.take)
    await publish(open, events('a', 1, 1))
    await eventually('it has come', () => taker.distinct.length === 1)
    link.refuse()
    link.reset()
    await eventually('it is told of', () =>
      consumer.warnings.some((text) => text.includes('PABAL_TRANSPORT_UNREACHABLE')),
    )
    await expect(open.publish(channel, events('a', 2, 2), inTime())).rejects.toThrow('PABAL_TRANSPORT_UNREACHABLE')
    link.heal()
    await publish(open, events('a', 2, 2))
    await eventually('the next has come', () => taker.distinct.length === 2, slowMs)
  })

  test('a connection that breaks between two batches of one answer costs none of the later ones', {
    timeout: slowMs,
  }, async () => {
    const value = transport()
    const [{ open }, consumer] = [await opened(value), await opened(value)]
    await publish(open, events('a', 1, 1_200))
    const taker = new Taker()
    await consumer.open.receive(channel, 'shipping', async (batch) => {
      if (taker.ids.length === 0) {
        link.refuse()
        link.reset()
      }
      return taker.take(batch)
    })
    await eventually('it could not commit', () => consumer.warnings.length > 0, slowMs)
    link.heal()
    await publish(open, events('a', 1_201, 1_201))
    await eventually('the last has come', () => taker.ids.includes('a-1201'), slowMs)
    expect(taker.distinct).toEqual(events('a', 1, 1_201).map(({ id }) => id))
  })

  test('a process that is killed between taking and committing leaves its messages to others', {
    timeout: slowMs,
  }, async () => {
    const prefix = `${randomUUID()}.`
    const value = transport({ prefix })
    const { open } = await opened(value)
    await publish(open, events('a', 1, 5))
    const child = startChild(
      {
        text: `
          ${beginning}
          await open.receive({ context: 'ordering' }, 'shipping', async (batch) => {
            console.log('taken')
            await new Promise(() => {})
          })`,
      },
      prefix,
      broker.url,
    )
    await child.said('taken')
    await child.kill()
    const taker = new Taker()
    await (await opened(value)).open.receive(channel, 'shipping', taker.take)
    await eventually('they have come again', () => taker.distinct.length === 5, slowMs)
  })

  test('two processes share the partitions, each key in order, and the other goes on where one stops', {
    timeout: slowMs,
  }, async () => {
    const value = transport()
    const [{ open }, one, two] = [await opened(value), await opened(value), await opened(value)]
    const takers = [new Taker(), new Taker()]
    await one.open.receive(channel, 'shipping', takers[0]!.take)
    const second = await two.open.receive(channel, 'shipping', takers[1]!.take)
    const keys = Array.from({ length: 30 }, (_, n) => `key${n}`)
    let sent = 0
    await eventually(
      'both have work',
      async () => {
        sent++
        await publish(
          open,
          keys.map((key) => event(key, sent)),
        )
        return takers.every(({ ids }) => ids.length > 0)
      },
      slowMs,
    )
    await second[Symbol.asyncDispose]()
    const stopped = takers[1]!.ids.length
    sent++
    await publish(
      open,
      keys.map((key) => event(key, sent)),
    )
    const all = () => new Set(takers.flatMap(({ ids }) => ids))
    await eventually('all have come', () => all().size === sent * keys.length, slowMs)
    expect(takers[1]!.ids.length).toBe(stopped)
    for (const { distinct } of takers)
      for (const key of keys) {
        const numbers = distinct.filter((id) => id.startsWith(`${key}-`)).map((id) => Number(id.split('-')[1]))
        expect(numbers).toEqual(numbers.toSorted((a, b) => a - b))
      }
  })

  test('a batch that a rebalance overtakes is not committed, and comes again', { timeout: slowMs }, async () => {
    const prefix = `${randomUUID()}.`
    const value = transport({ prefix })
    const [{ open }, one, two] = [await opened(value), await opened(value), await opened(value)]
    const keys = Array.from({ length: 30 }, (_, n) => `key${n}`)
    const held = gate()
    const takers = [new Taker(), new Taker()]
    await publish(
      open,
      keys.map((key) => event(key, 1)),
    )
    await one.open.receive(channel, 'shipping', async (batch) => {
      const taken = await takers[0]!.take(batch)
      await held.opened
      return taken
    })
    await eventually('the first is at it', () => takers[0]!.ids.length === keys.length)
    await two.open.receive(channel, 'shipping', takers[1]!.take)
    await eventually('the other has some of them', () => takers[1]!.ids.length > 0, slowMs)
    const taken = takers[0]!.ids.length
    held.open()
    await eventually('the first is brought the rest again', () => takers[0]!.ids.length > taken, slowMs)
    const again = () => [...takers[0]!.ids.slice(taken), ...takers[1]!.ids]
    await eventually('all have come again', () => new Set(again()).size === keys.length, slowMs)
    expect(again().toSorted()).toEqual(keys.map((key) => `${key}-1`).toSorted())
  })

  test('while processes come and go, and batches fail, nothing is missing', { timeout: slowMs }, async () => {
    const value = transport()
    const { open } = await opened(value)
    const taker = new Taker()
    let batches = 0
    const join = async (): Promise<() => Promise<void>> => {
      const receiving = await (await opened(value)).open.receive(channel, 'shipping', async (batch) => {
        if (++batches % 7 === 0) throw new Error('not now')
        return taker.take(batch)
      })
      return async () => receiving[Symbol.asyncDispose]()
    }
    const keys = Array.from({ length: 40 }, (_, n) => `key${n}`)
    const rounds = 12
    const leave: (() => Promise<void>)[] = []
    for (let n = 1; n <= rounds; n++) {
      const publishing = publish(
        open,
        keys.map((key) => event(key, n)),
      )
      if (n % 3 === 0) await leave.shift()!()
      else leave.push(await join())
      await publishing
    }
    await eventually('all have come', () => taker.distinct.length === rounds * keys.length, slowMs)
  })

  test('partitions that are added are read, from their beginning', { timeout: slowMs }, async () => {
    const prefix = `${randomUUID()}.`
    const value = transport({ prefix, partitions: 1 })
    const [{ open }, consumer] = [await opened(value), await opened(value)]
    const taker = new Taker()
    await consumer.open.receive(channel, 'shipping', taker.take)
    await publish(open, events('a', 1, 3))
    await admin().createPartitions({ topics: [{ name: `${prefix}pabal.ordering`, count: 4, assignments: null }] })
    const keys = Array.from({ length: 20 }, (_, n) => `key${n}`)
    expect(new Set(keys.map((key) => partitionOf(Buffer.from(key), 4))).size).toBe(4)
    const { open: fresh } = await opened(value)
    await publish(
      fresh,
      keys.map((key) => event(key, 1)),
    )
    await eventually('all have come', () => taker.distinct.length === 3 + keys.length, slowMs)
  })

  test('what was dropped before it was read is told of, and the rest is read', { timeout: slowMs }, async () => {
    const prefix = `${randomUUID()}.`
    const value = transport({ prefix, partitions: 1 })
    const { open } = await opened(value)
    const before = new Taker()
    const first = await open.receive(channel, 'shipping', before.take)
    await publish(open, events('a', 1, 2))
    await eventually('they have come', () => before.distinct.length === 2)
    await first[Symbol.asyncDispose]()
    await publish(open, events('a', 3, 6))
    const topic = { name: `${prefix}pabal.ordering`, partitions: [{ partition: 0, offset: 4n }] }
    await admin().deleteRecords({ topics: [topic] })
    const later = await opened(value)
    const taker = new Taker()
    await later.open.receive(channel, 'shipping', taker.take)
    await eventually('the rest has come', () => taker.distinct.length === 2, slowMs)
    expect(taker.distinct).toEqual(['a-5', 'a-6'])
    expect(later.warnings.some((text) => text.includes('is gone'))).toBe(true)
  })

  test('a topic that was deleted is made anew, and read from its beginning', { timeout: slowMs }, async () => {
    const prefix = `${randomUUID()}.`
    const { open } = await opened(transport({ prefix, partitions: 1 }))
    const taker = new Taker()
    await open.receive(channel, 'shipping', taker.take)
    await publish(open, events('a', 1, 3))
    await eventually('they have come', () => taker.distinct.length === 3)
    await admin().deleteTopics({ topics: [`${prefix}pabal.ordering`] })
    await publish(open, events('a', 4, 9))
    await eventually('the others have come', () => taker.distinct.length === 9, slowMs)
  })

  test('a process that has closed everything ends', { timeout: slowMs }, async () => {
    const child = startChild(
      {
        text: `
          ${beginning}
          await open.publish({ context: 'ordering' }, [], AbortSignal.timeout(5000))
          const receiving = await open.receive({ context: 'ordering' }, 'shipping', async (batch) => batch.map(() => undefined))
          await receiving[Symbol.asyncDispose]()
          await open[Symbol.asyncDispose]()
          console.log('closed')`,
      },
      `${randomUUID()}.`,
      broker.url,
    )
    await child.said('closed')
    expect(await child.ended).toBe(0)
  })

  test('what is refused is copied, with the reason and its place, and told of', { timeout: slowMs }, async () => {
    const prefix = `${randomUUID()}.`
    const { open, warnings } = await opened(transport({ prefix }))
    await open.receive(channel, 'shipping', async (batch) => batch.map(() => ({ refused: new Error('of no use') })))
    await publish(open, [event('a', 1)])
    const [copy] = await recordsIn(`${prefix}pabal.ordering.shipping.refused`, 1)
    expect(copy!.value).toBe('{"n":1}')
    expect(copy!.headers.get('ce_id')).toBe('a-1')
    expect(copy!.headers.get('pabal-refused')).toBe('of no use')
    const partition = partitionOf(Buffer.from('a'), 6)
    expect(copy!.headers.get('pabal-refused-from')).toBe(`${prefix}pabal.ordering/${partition}/0`)
    await eventually('it is told of', () => warnings.some((text) => text.includes('of no use')))
  })

  test('what was refused goes out of the middle too, and nothing is left when all has gone', {
    timeout: slowMs,
  }, async () => {
    const prefix = `${randomUUID()}.`
    const { open } = await opened(transport({ prefix, partitions: 1 }))
    const look = async (goes: (id: string) => boolean = () => false, limit = 10) => {
      const shown: string[] = []
      await open.refused!(channel, 'shipping', limit, async ({ incoming, reason }) => {
        expect(reason).toBe('of no use')
        shown.push(idOf(incoming))
        return goes(shown.at(-1)!)
      })
      return shown
    }
    expect(await look()).toEqual([])
    await open.receive(channel, 'shipping', async (batch) => batch.map(() => ({ refused: new Error('of no use') })))
    for (const each of events('a', 1, 4)) await publish(open, [each])
    // What a stranger says of his own record is not the adapter's word.
    const strange = { ...attributesOf('b-1'), 'pabal-refused': 'not at all', 'pabal-refused-gone': '0' }
    const producer = new client.Producer({ clientId: 'test', bootstrapBrokers: [broker.url] })
    onTestFinished(() => producer.close())
    await producer.send({
      messages: [
        {
          topic: `${prefix}pabal.ordering`,
          value: Buffer.from('{}'),
          headers: new Map(Object.entries(strange).map(([name, text]) => [Buffer.from(name), Buffer.from(text)])),
        },
      ],
      acks: -1,
    })
    await eventually('all are kept', async () => (await look()).length === 5, slowMs)
    await look((id) => id === 'a-2' || id === 'a-4')
    expect(await look()).toEqual(['a-1', 'a-3', 'b-1'])
    expect(await look((id) => id === 'a-1', 1)).toEqual(['a-1'])
    expect(await look()).toEqual(['a-3', 'b-1'])
    const failure = new Error('not now')
    await expect(open.refused!(channel, 'shipping', 1, () => Promise.reject(failure))).rejects.toBe(failure)
    expect(await look(() => true)).toEqual(['a-3', 'b-1'])
    expect(await look()).toEqual([])
    const resources = open.resources!({ publishes: [], receives: [{ channel, subscriber: 'shipping' }] })
    const kept = resources.find(({ name }) => name === `${prefix}pabal.ordering.shipping.refused`)
    expect(await kept!.inUse!()).toEqual({ messages: 0 })
  })

  test('what somebody else lets go meanwhile holds up nobody who looks', { timeout: slowMs }, async () => {
    const { open } = await opened(transport())
    await open.receive(channel, 'shipping', async (batch) => batch.map(() => ({ refused: new Error('of no use') })))
    const text = JSON.stringify('x'.repeat(300_000))
    const large = events('a', 1, 12).map((message) => ({ ...message, event: { ...message.event, data: text } }))
    await publish(open, large)
    const look = async (judge: () => Promise<boolean>) => {
      let shown = 0
      await open.refused!(channel, 'shipping', 20, () => (shown++, judge()))
      return shown
    }
    await eventually('all are kept', async () => (await look(async () => false)) === large.length, slowMs)
    let others = 0
    const own = await look(async () => {
      if (others === 0) others = await look(async () => true)
      return false
    })
    expect(others).toBe(large.length)
    expect(own).toBeLessThan(large.length)
  })

  test('who begins now is not brought what was there before', { timeout: slowMs }, async () => {
    const prefix = `${randomUUID()}.`
    const { open } = await opened(transport({ prefix }))
    await publish(open, events('a', 1, 3))
    const late = transport({ prefix, startAt: 'now' })
    const taker = new Taker()
    await (await opened(late)).open.receive(channel, 'shipping', taker.take)
    await publish(open, events('a', 4, 5))
    await eventually('they have come', () => taker.distinct.length === 2)
    expect(taker.distinct).toEqual(['a-4', 'a-5'])
  })

  test('of a topic that is a foreign producer’s what was given up in a transaction does not come, and a compacted one is read', {
    timeout: slowMs,
  }, async () => {
    const name = `${randomUUID()}.erp.orders.v1`
    await admin().createTopics({
      topics: [name],
      partitions: 1,
      replicas: 1,
      configs: [{ name: 'cleanup.policy', value: 'compact' }],
    })
    const producer = new client.Producer({
      clientId: 'erp',
      bootstrapBrokers: [broker.url],
      idempotent: true,
      transactionalId: name,
    })
    onTestFinished(() => producer.close())
    /** Each in a request of its own, so that a transaction may be more than one answer brings. */
    const sendAll = async (ids: readonly number[], end: 'commit' | 'abort', data = '{}') => {
      const transaction = await producer.beginTransaction()
      const headers = new Map([[Buffer.from('content-type'), Buffer.from('application/cloudevents+json')]])
      for (const n of ids) {
        const value = Buffer.from(toJson({ ...event('a', n).event, data }))
        await transaction.send({ messages: [{ topic: name, key: Buffer.from(`a-${n}`), value, headers }] })
      }
      await transaction[end]()
    }
    await sendAll([1, 2], 'commit')
    await sendAll([3], 'abort')
    await sendAll([4], 'abort')
    await sendAll([5], 'commit')
    await sendAll([11, 12, 13, 14, 15], 'abort', JSON.stringify('x'.repeat(400_000)))
    await sendAll([6], 'commit')
    const { open } = await opened(transport({ prefix: `${randomUUID()}.` }))
    const taker = new Taker()
    await open.receive({ context: 'erp', name }, 'billing', taker.take)
    await eventually('what was committed has come', () => taker.distinct.includes('a-6'))
    await sendAll([16], 'abort')
    await sendAll([7], 'commit')
    await eventually('and what is committed after', () => taker.distinct.includes('a-7'))
    expect(taker.distinct).toEqual(['a-1', 'a-2', 'a-5', 'a-6', 'a-7'])
  })

  test('large messages go in several requests', { timeout: slowMs }, async () => {
    const value = transport()
    const [{ open }, consumer] = [await opened(value), await opened(value)]
    const taker = new Taker()
    await consumer.open.receive(channel, 'shipping', taker.take)
    const text = JSON.stringify('x'.repeat(200_000))
    const large = events('a', 1, 20).map((message) => ({ ...message, event: { ...message.event, data: text } }))
    await publish(open, large)
    await eventually('all have come', () => taker.distinct.length === 20, slowMs)
    expect(taker.distinct).toEqual(large.map(({ id }) => id))
  })

  describe('says what is wrong', () => {
    test('nobody listens there', async () => {
      const connection = { bootstrapBrokers: [`127.0.0.1:${await freePort()}`] }
      const opening = opened(transport({ connection }))
      await expect(opening).rejects.toMatchObject({ code: 'PABAL_TRANSPORT_UNREACHABLE' })
      await expect(opening).rejects.toThrow(connection.bootstrapBrokers[0])
    })

    const asAnn = (password: string) => ({
      bootstrapBrokers: [`127.0.0.1:${saslPort}`],
      sasl: { mechanism: 'PLAIN', username: 'ann', password },
    })

    test('these credentials are not let in', async () => {
      const opening = opened(transport({ connection: asAnn('wrong') }))
      await expect(opening).rejects.toMatchObject({ code: 'PABAL_TRANSPORT_UNREACHABLE' })
      await expect(opening).rejects.toThrow(/credentials/)
    })

    test('this user may not', async () => {
      const { open } = await opened(transport({ connection: asAnn('secret') }))
      const publishing = open.publish(channel, [event('a', 1)], inTime())
      await expect(publishing).rejects.toMatchObject({ code: 'PABAL_TRANSPORT_INVALID' })
      await expect(publishing).rejects.toThrow(/right/)
      const looking = open.refused!(channel, 'shipping', 1, async () => false)
      await expect(looking).rejects.toMatchObject({ code: 'PABAL_TRANSPORT_INVALID' })
    })

    test('what is to be there is not, and nothing is created', async () => {
      const prefix = `${randomUUID()}.`
      const { open } = await opened(transport({ prefix, provision: false }))
      const missingTopics = ['pabal.ordering', 'pabal.ordering.shipping.refused']
      await expect(open.publish(channel, [event('a', 1)], inTime())).rejects.toThrow(`${prefix}pabal.ordering`)
      const receiving = open.receive(channel, 'shipping', new Taker().take)
      await expect(receiving).rejects.toMatchObject({ code: 'PABAL_TRANSPORT_INVALID' })
      for (const name of missingTopics) await expect(receiving).rejects.toThrow(`the topic ${prefix}${name} is missing`)
      expect(await topicsOf(prefix)).toEqual([])
    })

    test('what is there is enough', async () => {
      const prefix = `${randomUUID()}.`
      await (await opened(transport({ prefix }))).open.receive(channel, 'shipping', new Taker().take)
      const { open } = await opened(transport({ prefix, provision: false }))
      await publish(open, [event('a', 1)])
      await open.receive(channel, 'shipping', new Taker().take)
    })

    test('the topic is compacted, or takes less than it should', async () => {
      const prefix = `${randomUUID()}.`
      const create = (context: string, name: string, value: string) =>
        admin().createTopics({
          topics: [`${prefix}pabal.${context}`],
          partitions: 1,
          replicas: 1,
          configs: [{ name, value }],
        })
      await create('ordering', 'cleanup.policy', 'compact')
      await create('billing', 'max.message.bytes', '1000')
      const { open } = await opened(transport({ prefix }))
      await expect(open.publish(channel, [event('a', 1)], inTime())).rejects.toThrow(/compacted/)
      await expect(open.publish({ context: 'billing' }, [event('a', 1)], inTime())).rejects.toThrow(
        /max\.message\.bytes/,
      )
    })
  })
})

describe('kafka()', () => {
  const connection = { bootstrapBrokers: ['127.0.0.1:9092'] }
  test.each([
    [{ client: {} as typeof client, connection }, /class Admin/],
    [{ client, connection: { bootstrapBrokers: [] } }, /no broker/],
    [{ client, connection, prefix: 'our team' }, /prefix/],
    [{ client, connection, partitions: 0 }, /partitions/],
    [{ client, connection, replicas: 1.5 }, /replicas/],
  ])('refuses options that it cannot work with (%#)', (options, reason) => {
    expect(() => kafka(options)).toThrow(reason)
    expect(() => kafka(options)).toThrow('PABAL_COMPOSITION_INVALID')
  })
})
