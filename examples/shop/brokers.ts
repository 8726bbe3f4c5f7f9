/** Brokers that the shop's two halves may speak over: yours, by URL, or one of the shop's own, for as long as it runs. */

import { join } from 'node:path'
import { type Bound, type Exchange, routes } from 'pabal'
import { claimCheck, filePayloads } from 'pabal/claim-check'
import type { Broker } from '../../tools/servers/broker.ts'
import { OrderShippedV1 } from './contracts/delivery.ts'
import type { published } from './published.ts'
import { ShopStoreError } from './store-error.ts'

/** What runs in which of the two processes. */
export const front: readonly string[] = ['ordering', 'payment', 'warehouse']
export const back: readonly string[] = ['delivery', 'notification', 'reporting']

/** `from`: what contexts of the other half publish; `origins`: where their logs are. */
export type ExchangeOf = (from: typeof published, origins: readonly Bound[]) => Exchange

interface Kind {
  readonly name: string
  readonly protocol: string
  /** Loads no client of another broker. */
  readonly over: (url: string) => Promise<ExchangeOf>
  /** The reason why it cannot be started here, or how it is. */
  readonly own: () => Promise<string | (() => Promise<{ readonly url: string } & AsyncDisposable>)>
}

/** A broker of our own, by the URL that the shop knows it by. */
const called = (broker: Broker, urlOf: (broker: Broker) => string): { readonly url: string } & AsyncDisposable => ({
  url: urlOf(broker),
  [Symbol.asyncDispose]: () => broker[Symbol.asyncDispose](),
})

const kinds: readonly Kind[] = [
  {
    name: 'rabbitmq',
    protocol: 'amqp:',
    over: async (url) => {
      const [{ connect }, { rabbitmq }] = await Promise.all([import('amqplib'), import('pabal/rabbitmq')])
      // A queue gets what is published while it is there, so each half makes those of the other as well.
      const subscribers = { ordering: back, payment: back, delivery: front }
      return (from, origins) => rabbitmq({ connect: () => connect(url), subscribers, from, origins })
    },
    own: async () => {
      const { missingRabbit, startRabbit } = await import('../../tools/servers/rabbitmq.ts')
      return missingRabbit() ?? (() => startRabbit())
    },
  },
  {
    name: 'kafka',
    protocol: 'kafka:',
    over: async (url) => {
      const [client, { kafka }] = await Promise.all([import('@platformatic/kafka'), import('pabal/kafka')])
      const connection = { bootstrapBrokers: [new URL(url).host] }
      return (from, origins) => kafka({ client, connection, from, origins })
    },
    own: async () => {
      const { missingKafka, startKafka } = await import('../../tools/servers/kafka.ts')
      return missingKafka() ?? (async () => called(await startKafka(), ({ url }) => `kafka://${url}`))
    },
  },
  {
    name: 'nats',
    protocol: 'nats:',
    over: async (url) => {
      const [{ jetstream }, { connect, headers }, { nats }] = await Promise.all([
        import('@nats-io/jetstream'),
        import('@nats-io/transport-node'),
        import('pabal/nats'),
      ])
      return (from, origins) => nats({ connect: () => connect({ servers: url }), jetstream, headers, from, origins })
    },
    own: async () => {
      const { missingNats, startNats } = await import('../../tools/servers/nats.ts')
      return missingNats() ?? (() => startNats())
    },
  },
  {
    name: 'redis',
    protocol: 'redis:',
    over: async (url) => {
      const [{ Redis }, { redisStreams }] = await Promise.all([import('ioredis'), import('pabal/redis-streams')])
      return (from, origins) => redisStreams({ client: (settings) => new Redis(url, settings), from, origins })
    },
    own: async () => {
      const { missingRedis, startRedis } = await import('../../tools/servers/redis.ts')
      return missingRedis() ?? (() => startRedis())
    },
  },
  {
    name: 'sns-sqs',
    protocol: 'sns-sqs:',
    over: async (url) => {
      const [{ SNS }, { SQS }, { snsSqs }] = await Promise.all([
        import('@aws-sdk/client-sns'),
        import('@aws-sdk/client-sqs'),
        import('pabal/sns-sqs'),
      ])
      const { hostname, port } = new URL(url)
      const emulated = { region: 'eu-west-1', credentials: { accessKeyId: 'shop', secretAccessKey: 'shop' } }
      const settings = port === '' ? { region: hostname } : { ...emulated, endpoint: `http://${hostname}:${port}` }
      return (from, origins) => snsSqs({ sns: new SNS(settings), sqs: new SQS(settings), waitMs: 1_000, from, origins })
    },
    own: async () => {
      const { missingSnsSqs, startSnsSqs } = await import('../../tools/servers/sns-sqs.ts')
      return (
        missingSnsSqs() ?? (async () => called(await startSnsSqs(), ({ host, port }) => `sns-sqs://${host}:${port}`))
      )
    },
  },
]

const kindFor = (url: string): Kind => kinds.find(({ protocol }) => url.startsWith(`${protocol}//`))!

export const kindOf = (url: string): string => kindFor(url).name

/** Of no broker in particular. */
export const urlOfKind = (name: string): string => `${kinds.find((kind) => kind.name === name)!.protocol}//localhost`

export interface Brokers extends AsyncDisposable {
  /** One, or two: then the second carries what `delivery` publishes, and the first all else. May hold passwords. */
  readonly urls: readonly string[]
}

/** `rabbitmq`, `amqp://…`, or two of such with a comma between them. @throws ShopStoreError */
export async function openBrokers(given: string): Promise<Brokers> {
  const started = new AsyncDisposableStack()
  try {
    const urls: string[] = []
    const texts = given.split(',')
    if (texts.length > 2) throw invalid()
    for (const text of texts) {
      const kind = kinds.find(({ name, protocol }) => name === text || text.startsWith(`${protocol}//`))
      if (kind === undefined) throw invalid()
      if (kind.name !== text) {
        if (!URL.canParse(text) || new URL(text).hostname === '') throw invalid()
        urls.push(text)
        continue
      }
      const own = await kind.own()
      if (typeof own === 'string') throw new ShopStoreError('SHOP_EXCHANGE_MISSING', `${own}.`)
      urls.push(started.use(await own()).url)
    }
    return { urls, [Symbol.asyncDispose]: () => started.disposeAsync() }
  } catch (error) {
    await started.disposeAsync()
    throw error
  }
}

// The text may hold a password, so it is not shown.
const invalid = (): ShopStoreError =>
  new ShopStoreError('SHOP_EXCHANGE_INVALID', 'The value of --exchange names no broker that the shop knows.')

/** What is between the two halves. An order can have thousands of lines: large ones go beside the broker, in a folder of the shop. */
export async function exchangeOver(urls: readonly string[], data: string): Promise<ExchangeOf> {
  const between = await routesOver(urls)
  const payloads = filePayloads(join(data, 'payloads'))
  return (from, origins) => claimCheck(between(from, origins), { payloads })
}

async function routesOver(urls: readonly string[]): Promise<ExchangeOf> {
  const [all, ofDelivery] = await Promise.all(urls.map((url) => kindFor(url).over(url)))
  if (ofDelivery === undefined) return all!
  return (from, origins) => {
    const { delivery = [], ...others } = from
    return routes(all!(others, origins), {
      stream: 'deliveries',
      events: [OrderShippedV1],
      over: ofDelivery(delivery.length === 0 ? {} : { delivery }, origins),
    })
  }
}
