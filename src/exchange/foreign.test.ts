/** What comes from a foreign producer: once, in the order of the transport, under the key that the receiver gives it. */

import type { SNS } from '@aws-sdk/client-sns'
import type { SQS } from '@aws-sdk/client-sqs'
import * as kafkaClient from '@platformatic/kafka'
import { Redis } from 'ioredis'
import { type CarriedOptions, createApp, definePublicEvent, over, routes } from 'pabal'
import { kafka } from 'pabal/kafka'
import { nats } from 'pabal/nats'
import { operate, retryAll } from 'pabal/operate'
import { rabbitmq } from 'pabal/rabbitmq'
import { redisPubSub } from 'pabal/redis-pubsub'
import { redisStreams } from 'pabal/redis-streams'
import { snsSqs } from 'pabal/sns-sqs'
import { sqlite } from 'pabal/sqlite'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import {
  billing,
  channel,
  type ForeignAppOptions,
  type ForeignWorld,
  foreignWorld,
  Invoice,
  invoice,
  invoiced,
  InvoicedV1,
  producer,
  type Sent,
  source,
  structured,
  type Told,
  whole,
} from '../../test/guarantees/exchange/foreign-world.ts'
import { seeded } from '../../test/guarantees/postgres-workers/seeded.ts'
import { changed } from '../../test/support/changed-store.ts'
import { eventually } from '../../test/support/eventually.ts'
import { logOf, ordering, parkedIn, withCode } from '../../test/support/shop.ts'
import { kind, nasty, NastyBroker } from '../testing/nasty-transport.ts'

type Message = Parameters<NastyBroker['inject']>[2]

const binary = ({ attributes: { datacontenttype, ...rest }, data }: Sent): Message => ({
  headers: {
    ...Object.fromEntries(Object.entries(rest).map(([name, value]) => [`ce_${name}`, value])),
    ...(datacontenttype === undefined ? {} : { 'content-type': datacontenttype }),
  },
  contentType: undefined,
  body: data,
})

const asJson = (body: string, type = 'application/cloudevents+json'): Message => ({
  headers: { 'content-type': type },
  contentType: undefined,
  body,
})

interface Bench extends ForeignWorld {
  /** In the modes by turns. */
  send(...events: readonly Sent[]): void
  sendRaw(message: Message): void
  readonly broker: NastyBroker
}

const bench = async (faults = kind): Promise<Bench> => {
  const broker = new NastyBroker({ random: seeded(5), traits: { ordered: true }, faults })
  const world = await foreignWorld(broker.transport)
  let sent = 0
  const sendRaw: Bench['sendRaw'] = (message) => broker.inject(channel, '', message)
  return {
    ...world,
    broker,
    sendRaw,
    send: (...events) => {
      for (const each of events) sendRaw(sent++ % 2 === 0 ? binary(each) : asJson(structured(each)))
    },
  }
}

/** All of these have been taken by then. */
const taken = ({ watch }: Bench, count: number): Promise<unknown> =>
  eventually(`${count} are taken`, () => watch.taken >= count)

/** Handles what was sent, and says what it was. */
const told = async (of: Bench, count: number, options: ForeignAppOptions = {}): Promise<readonly Told[]> => {
  const events: Told[] = []
  const app = of.app({ ...options, at: (event) => events.push(event) })
  await app.start()
  await eventually(`${count} are handled`, () => Object.values(of.handled()).flat().length >= count)
  await app.stop()
  return events
}

const keys = ['a', 'b', '송장 7']

describe('an event of a foreign producer', () => {
  test('is handled once and in order, over a transport that repeats and loses acknowledgements', async () => {
    const here = await bench(nasty)
    await here.app().start()
    here.watch.deaths = 5
    for (let n = 1; n <= 40; n++) {
      here.send(...keys.map((key) => invoice(key, n)))
      if (n % 5 === 0) here.send(...keys.map((key) => invoice(key, n - 3)))
    }
    await eventually('all are handled', () => keys.every((key) => here.handled()[key]?.includes(40)))
    here.broker.faults = kind
    await eventually('nothing is on its way', () => here.broker.waiting === 0)
    expect(here.handled()).toEqual(whole(keys, 40))
    expect(here.watch.deaths).toBe(0)
    expect(here.watch.refused).toEqual(new Map())
  })

  test('that only a newer version of a handler knows is not lost where an old process takes it', async () => {
    const here = await bench()
    const VoidedV1 = definePublicEvent('acme.voided.v1', {
      kind: 'domain',
      schema: Invoice,
      key: ({ invoiceId }) => invoiceId,
    })
    const older = here.app()
    await older.start()
    const events = { ...producer.events, 'com.acme.erp.Voided': VoidedV1 }
    const newer = here.app({ definition: VoidedV1, carried: { foreign: { erp: { ...producer, events } } } })
    await newer.start()
    for (let n = 1; n <= 20; n++) here.send(invoice('a', n, { type: 'com.acme.erp.Voided' }))
    await eventually('all are handled', () => here.handled()['a']?.length === 20)
    // Where two read at once, as from this broker, there is no order to keep.
    expect(here.handled()['a']?.toSorted((a, b) => a - b)).toEqual(whole(['a'], 20)['a'])
  })

  test('stays behind what is left to a newer version: nothing that came with that is entered before it', async () => {
    const here = await bench()
    const warnings: string[] = []
    const { database, contextStore } = (await here.app()['~pabal'].open()).runtimes.get('billing')!
    const wants = JSON.stringify({ types: ['acme.voided.v1'], filter: null })
    await database.transaction((session) =>
      contextStore.editions.join(session, { consumer: 'pay', source: 'received/erp' }, wants),
    )
    here.send(invoice('a', 1, { type: 'com.acme.erp.Voided' }))
    for (let n = 2; n <= 40; n++) here.send(invoice('a', n))
    await here.app({ onWarning: (_, error) => warnings.push(String(error)) }).start()
    await eventually('it says so', () => warnings.some((warning) => warning.includes('it is left to that')))
    expect(logOf(here.path, 'billing')).toEqual([])
  })

  test('is entered twice without the look at what was entered, so its batch is never taken', async () => {
    const here = await bench()
    const blind: NonNullable<ForeignAppOptions['store']> = (plain) =>
      changed(plain, ({ log }) => ({ log: { ...log, foreign: () => new Set() } }))
    const warnings: string[] = []
    await here.app({ store: blind, onWarning: (_, error) => warnings.push(String(error)) }).start()
    here.send(invoice('a', 1))
    await taken(here, 1)
    here.send(invoice('a', 1), invoice('a', 2))
    await eventually('it cannot be taken', () => warnings.some((text) => text.includes('UNIQUE')))
    expect(here.watch.taken).toBe(1)
  })

  test('has an id of its own for ever, its sequence here, and what it says of itself', async () => {
    const here = await bench()
    const time = '1999-12-31T23:59:59.000Z'
    here.send(
      invoice('a', 1, { time, correlationid: 'theirs' }),
      invoice('b', 1),
      invoice('a', 2, { streamversion: '9', stream: 'public', dataversion: '3', hopcount: '2' }),
    )
    const events = await told(here, 3)
    const [first, second, third] = keys.slice(0, 2).flatMap((key) => events.filter((event) => event.key === key))
    expect([first, second, third]).toMatchObject([
      { source: 'erp', type: InvoicedV1.type, sequence: 1, time, correlationId: 'theirs' },
      { sequence: 2, correlationId: second!.id },
      { sequence: 1, correlationId: third!.id },
    ])
    expect(first!.id).toMatch(/^ff[0-9a-f]{6}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    // Retention goes by when it came, not by what its producer says.
    const dayMs = 86_400_000
    for (const row of logOf(here.path, 'billing') as unknown as { time_ms: number; version: number }[]) {
      expect(row.time_ms).toBeGreaterThan(Date.now() - dayMs)
      expect(row.version).toBe(1)
    }
    const again = await bench()
    again.send(invoice('a', 1))
    expect((await told(again, 1))[0]!.id).toBe(first!.id)
  })

  test('has the key that its definition says, whatever the producer says', async () => {
    const here = await bench()
    here.send(
      invoice('a', 1, { subject: 'invoices/a', partitionkey: 'plant-1' }),
      invoice('a', 2, { partitionkey: 'plant-2' }),
    )
    const { attributes, data } = invoice('a', 3)
    const { subject: _, ...keyless } = attributes
    here.send({ attributes: keyless, data })
    expect((await told(here, 3)).map(({ key, sequence }) => [key, sequence])).toEqual([
      ['a', 1],
      ['a', 2],
      ['a', 3],
    ])
  })

  test('that comes again when retention has dropped it is a new one: nothing else remembers it', async () => {
    const here = await bench()
    here.send(invoice('a', 1), invoice('b', 1))
    const app = here.app()
    await app.start()
    await eventually('both are handled', () => Object.values(here.handled()).flat().length === 2)
    const { database, contextStore } = (await app['~pabal'].open()).runtimes.get('billing')!
    await database.transaction((session) => contextStore.log.dropThrough(session, 1))
    here.send(invoice('a', 1), invoice('b', 1))
    await taken(here, 4)
    await eventually('the dropped one is handled again', () => here.handled()['a']?.length === 2)
    expect(here.handled()).toEqual({ a: [1, 1], b: [1] })
  })

  test('is JSON where nothing is said, in structured mode, and another event where its source is another', async () => {
    const here = await bench()
    const both = { ...producer, sources: [source, 'urn:acme:other'] }
    const { attributes, data } = invoice('a', 1)
    const { datacontenttype: _, ...silent } = attributes
    here.sendRaw(asJson(structured({ attributes: silent, data })))
    here.send({ ...invoice('a', 2), attributes: { ...attributes, source: 'urn:acme:other' } })
    expect((await told(here, 2, { carried: { foreign: { erp: both } } })).map((event) => event.data.n)).toEqual([1, 2])
    expect(here.watch.refused).toEqual(new Map())
  })

  test('of a type that nobody here wants is passed over', async () => {
    const here = await bench()
    here.send(invoice('a', 1, { type: 'com.acme.erp.Paid' }), invoice('a', 2))
    const other = definePublicEvent('acme.reminded.v1', { kind: 'domain', schema: Invoice, key: () => 'k' })
    const foreign = { erp: { ...producer, events: { [invoiced]: InvoicedV1, 'com.acme.erp.Reminded': other } } }
    here.send(invoice('a', 3, { type: 'com.acme.erp.Reminded' }), invoice('a', 4))
    const events = await told(here, 2, { carried: { foreign } })
    expect(events.map((event) => [event.sequence, event.data.n])).toEqual([
      [1, 2],
      [2, 4],
    ])
    await taken(here, 4)
    expect(logOf(here.path, 'billing').map(({ type }) => type)).toEqual([InvoicedV1.type, InvoicedV1.type])
    expect(here.watch.refused).toEqual(new Map())
  })

  test('of a source that was not named is refused; with any, one of pabal still is', async () => {
    const named = await bench()
    named.send(invoice('x', 1, { source: 'urn:acme:other' }), invoice('a', 1))
    await told(named, 1)
    expect([...named.watch.refused]).toEqual([['x-1', withCode('PABAL_MESSAGE_INVALID', /urn:acme:other.*'erp'/)]])

    const any = await bench()
    any.send(invoice('x', 1, { source: 'urn:acme:other' }), invoice('y', 1, { source: 'urn:pabal:erp' }))
    await told(any, 1, { carried: { foreign: { erp: { ...producer, sources: 'any' } } } })
    await taken(any, 2)
    expect([...any.watch.refused]).toEqual([['y-1', withCode('PABAL_MESSAGE_INVALID', /urn:pabal:erp/)]])
    expect(any.handled()).toEqual(whole(['x'], 1))
  })

  test('is refused where it is not said to be foreign, as one of ours is that has lost its place', async () => {
    const here = await bench()
    const sent = ['urn:pabal:erp', source].map((from, at) =>
      invoice(`x${at}`, 1, { source: from, type: InvoicedV1.type }),
    )
    here.send(...sent)
    await here.app({ carried: { from: { erp: [InvoicedV1] } } }).start()
    await taken(here, 2)
    expect([...here.watch.refused]).toEqual([
      ['x0-1', withCode('PABAL_MESSAGE_INVALID', /no place in a stream/)],
      ['x1-1', withCode('PABAL_MESSAGE_INVALID', /no place in a stream.*`foreign`/)],
    ])
  })

  test.each([
    ['no JSON by its type', binary({ ...invoice('x', 1, { datacontenttype: 'text/xml' }), data: '<x/>' }), /JSON/],
    ['no JSON, whatever its type says', binary({ ...invoice('x', 1), data: '{"n":' }), /JSON/],
    [
      'without a content type in binary mode',
      binary({ attributes: { ...invoice('x', 1).attributes, datacontenttype: undefined! }, data: '{}' }),
      /JSON/,
    ],
    ['without data', binary({ ...invoice('x', 1), data: null! }), /JSON/],
    ['larger than a payload may be', binary({ ...invoice('x', 1), data: `"${'x'.repeat(300_000)}"` }), /larger/],
    ['with a key that is too long', binary(invoice('x', 1, { subject: 'x'.repeat(501) })), /500/],
    ['of a chain that is too long', binary(invoice('x', 1, { hopcount: '33' })), /33 of its chain/],
    ['no CloudEvent', asJson('{"hello":1}'), /specversion/],
    ['one of a batch', asJson(`[${structured(invoice('x', 1))}]`, 'application/cloudevents-batch+json'), /batch/],
  ])('that is %s is refused, and holds up nothing', async (_, message, reason) => {
    const here = await bench()
    here.sendRaw(message)
    here.send(invoice('a', 1))
    await told(here, 1)
    const [refused, ...more] = here.watch.refused.values()
    expect([refused?.message, more]).toEqual([expect.stringMatching(reason), []])
  })

  test('that does not fit its schema parks the key that it names, and is handled in order when that has changed', async () => {
    const here = await bench()
    const unfit: Sent = { ...invoice('a', 2), data: '{"invoice":"a","n":2}' }
    const keyless: Sent = { attributes: { ...invoice('?', 1).attributes, subject: undefined! }, data: '{"n":1}' }
    here.send(invoice('a', 1), unfit, invoice('b', 1), invoice('a', 3), keyless, invoice('b', 2))
    const app = here.app()
    await app.start()
    await eventually('two keys are parked', () => parkedIn(here.path, 'billing').length === 2)
    await eventually('the others went on', () => here.handled()['b']?.length === 2)
    expect(here.handled()).toEqual({ a: [1], b: [1, 2] })
    expect(parkedIn(here.path, 'billing').map(({ key, waiting }) => [key, waiting])).toEqual([
      ['a', 1],
      [expect.stringMatching(/^ff/), 0],
    ])
    await app.stop()

    const patient = z.union([
      Invoice,
      z
        .object({ invoice: z.string().default('nobody'), n: z.int() })
        .transform((old) => ({ invoiceId: old.invoice, n: old.n })),
    ])
    const definition = definePublicEvent(InvoicedV1.type, {
      kind: 'domain',
      schema: patient,
      key: (of) => of.invoiceId,
    })
    const fixed = here.app({
      definition,
      carried: { foreign: { erp: { ...producer, events: { [invoiced]: definition } } } },
    })
    const operated = await operate(fixed)
    await fixed.start()
    await retryAll(operated, {}, { by: 'test', reason: 'fixed' })
    await eventually('nothing is parked', () => parkedIn(here.path, 'billing').length === 0)
    await eventually('all are handled', () => Object.values(here.handled()).flat().length === 6)
    expect(here.handled()).toMatchObject({ a: [1, 2, 3], b: [1, 2] })
  })
})

describe('two producers on one channel', () => {
  const name = 'acme.events'
  const other = 'urn:acme:crm'
  const foreign = {
    erp: { ...producer, channel: name },
    crm: { ...producer, sources: [other], channel: name },
  }

  test('are told apart by their sources: each of their events is handled once, under its producer', async () => {
    const here = await bench(nasty)
    const sent = (from: string, n: number) => asJson(structured(invoice('a', n, { source: from, id: String(n) })))
    for (let n = 1; n <= 20; n++)
      for (const from of [source, other]) here.broker.inject({ ...channel, name }, '', sent(from, n))
    const events: Told[] = []
    await here.app({ carried: { foreign }, at: (event) => events.push(event) }).start()
    const of = (from: string) => events.filter((event) => event.source === from).map(({ data }) => data.n)
    await eventually('all are handled', () => here.handled()['a']?.length === 40)
    for (const from of Object.keys(foreign)) expect([from, of(from)]).toEqual([from, whole(['a'], 20)['a']])
    expect(here.watch.refused).toEqual(new Map())
  })

  test('refuse, each of them, what is of neither', async () => {
    const here = await bench()
    here.broker.inject({ ...channel, name }, '', asJson(structured(invoice('x', 1, { source: 'urn:acme:third' }))))
    await here.app({ carried: { foreign } }).start()
    await taken(here, 2)
    expect([...here.watch.refused.keys()]).toEqual(['x-1'])
  })
})

/** By name: an exchange in which a foreign producer has that channel, without a broker. */
const naming: Readonly<Record<string, (named: string) => unknown>> = (() => {
  const erp = (named: string) => ({ foreign: { erp: { ...producer, channel: named } } })
  const connect = () => Promise.reject(new Error('nobody connects'))
  const client = () => new Redis({ lazyConnect: true })
  const aws = { sns: { publishBatch: connect }, sqs: { receiveMessage: connect } } as never as {
    readonly sns: SNS
    readonly sqs: SQS
  }
  return {
    kafka: (of) => kafka({ client: kafkaClient, connection: { bootstrapBrokers: ['kafka:9092'] }, ...erp(of) }),
    rabbitmq: (of) => rabbitmq({ connect, ...erp(of) }),
    nats: (of) => nats({ connect, jetstream: connect as never, headers: connect as never, ...erp(of) }),
    'redis-streams': (of) => redisStreams({ client, ...erp(of) }),
    'redis-pubsub': (of) => redisPubSub({ client, ...erp(of) }),
    'sns-sqs': (of) => snsSqs({ ...aws, ...erp(of) }),
    'sns-sqs, standard': (of) => snsSqs({ ...aws, fifo: false, ...erp(of) }),
  }
})()

describe('a channel of its own', () => {
  test.each([
    ['kafka', 'erp.orders.v1'],
    ['rabbitmq', 'amq.topic'],
    ['rabbitmq', 'Bestellungen (ERP) '.repeat(13)],
    ['nats', 'ERP-orders'],
    ['redis-streams', '{erp}:orders'],
    ['redis-pubsub', 'erp/orders'],
    ['sns-sqs', 'erp-orders.fifo'],
    ['sns-sqs, standard', 'erp_orders'],
  ])('over %s may be %s', (broker, name) => {
    expect(() => naming[broker]!(name)).not.toThrow()
  })

  test.each([
    ['kafka', 'erp orders', /249 letters/],
    ['kafka', '..', /249 letters/],
    ['kafka', 'x'.repeat(250), /249 letters/],
    ['rabbitmq', '', /255 bytes/],
    ['rabbitmq', '송'.repeat(86), /255 bytes/],
    ['nats', 'erp.orders', /stream/],
    ['nats', 'erp orders', /stream/],
    ['redis-streams', '', /empty/],
    ['redis-pubsub', '', /empty/],
    ['sns-sqs', 'erp.orders.fifo', /256 letters/],
    ['sns-sqs', 'erp-orders', /standard topic.*`fifo: false`/],
    ['sns-sqs, standard', 'erp-orders.fifo', /FIFO topic.*order/],
    ['sns-sqs, standard', 'x'.repeat(257), /256 letters/],
  ])('over %s cannot be %j', (broker, name, reason) => {
    expect(() => naming[broker]!(name)).toThrow(withCode('PABAL_COMPOSITION_INVALID', reason))
  })
})

describe('an app is refused', () => {
  const broker = new NastyBroker({ random: seeded(1) })
  const composed =
    (carried: CarriedOptions, more: CarriedOptions = {}) =>
    () =>
      createApp({
        contexts: [billing.with({ store: sqlite('/nonexistent/never-opened.db') })],
        exchange: routes(over(broker.transport, carried), over(broker.transport, { name: 'other', ...more })),
      })
  const origins = [ordering.with({ store: sqlite('/nonexistent/never-opened.db') })]
  const ours = { events: [InvoicedV1], sources: ['urn:pabal:ordering'] }

  test.each<[string, () => unknown, RegExp]>([
    ['a context of `from`', composed({ foreign: { erp: producer }, from: { erp: [InvoicedV1] } }), /'erp'.*foreign/],
    [
      'a context over another transport',
      composed({ foreign: { erp: producer } }, { from: { erp: [InvoicedV1] } }),
      /'erp' is foreign/,
    ],
    [
      'one with a log to verify against',
      composed({ foreign: { ordering: producer }, origins }),
      /'ordering' is foreign.*origins/,
    ],
    [
      'one with such a log elsewhere',
      composed({ foreign: { ordering: producer } }, { origins }),
      /'ordering' is foreign.*origins/,
    ],
    ['one whose channel has no possible name', composed({ foreign: { 'ERP-1': producer } }), /"ERP-1"/],
    ['one without sources', composed({ foreign: { erp: { ...producer, sources: [] } } }), /'erp' has no sources/],
    ['a source of ours', composed({ foreign: { erp: ours } }), /urn:pabal:ordering/],
    ['a context that runs here', composed({ foreign: { billing: producer } }), /'billing' runs here/],
    [
      'one of two on a channel that have a source in common',
      composed({
        foreign: {
          erp: { ...producer, channel: 'acme' },
          crm: { ...producer, sources: ['urn:acme:crm', source], channel: 'acme' },
        },
      }),
      /'erp' and 'crm' have one channel, "acme"/,
    ],
    [
      'one of two on a channel of which one takes any source',
      composed({
        foreign: { erp: { ...producer, channel: 'acme' }, crm: { ...producer, sources: 'any', channel: 'acme' } },
      }),
      /'erp' and 'crm' have one channel/,
    ],
    [
      'one with a channel of its own where the transport reads none',
      () =>
        over(
          { name: 'plain', traits: broker.transport.traits, open: (options) => broker.transport.open(options) },
          {
            foreign: { erp: { ...producer, channel: 'acme' } },
          },
        ),
      /over plain the channel of the foreign producer 'erp' cannot be "acme": only channels that pabal names/,
    ],
  ])('with a foreign producer that is %s', (_, app, message) => {
    expect(app).toThrow(withCode('PABAL_COMPOSITION_INVALID', message))
  })
})
