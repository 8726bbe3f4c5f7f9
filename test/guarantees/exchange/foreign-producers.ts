/** Foreign producers, by plain clients of each broker: CloudEvents put into messages by hand, or by the SDK of CloudEvents. */

import { randomUUID } from 'node:crypto'
import { CloudEvent as SdkEvent, Kafka as SdkKafka } from 'cloudevents'
import { idOf, type Sent, structured } from './foreign-world.ts'
import type { TransportName } from './transports.ts'

/** What the channel of a producer is called on a broker: as pabal names it, and as a producer may have named its own. */
export const channels: Readonly<Record<TransportName, { readonly ofPabal: string; readonly own: string }>> = {
  kafka: { ofPabal: 'pabal.erp', own: 'erp.orders.v1' },
  rabbitmq: { ofPabal: 'pabal.erp', own: 'erp' },
  nats: { ofPabal: 'pabal-erp', own: 'ERP' },
  'redis-streams': { ofPabal: 'pabal.erp', own: 'erp:orders' },
  'sns-sqs': { ofPabal: 'pabal-erp.fifo', own: 'erp-orders.fifo' },
}

export interface ForeignClient extends AsyncDisposable {
  /** Makes the channel as its owner wants it, which is not as pabal would. */
  make(): Promise<unknown>
  /** How it is; what has come of it to others aside. */
  look(): Promise<unknown>
  /** Resolves when the broker has confirmed all of them, in this order. */
  send(events: readonly Sent[]): Promise<void>
}

const eventJson = 'application/cloudevents+json'

/** Both modes come, by turns, where a broker has them. */
const isBinary = (at: number): boolean => at % 2 === 0

const prefixed = ({ attributes }: Sent, prefix: string): Record<string, string> =>
  Object.fromEntries(
    Object.entries(attributes).flatMap(([name, value]) =>
      name === 'datacontenttype' ? [] : [[`${prefix}${name}`, value]],
    ),
  )

const bySdk = ({ attributes, data }: Sent): SdkEvent<unknown> =>
  new SdkEvent({
    ...(attributes as { readonly source: string; readonly type: string }),
    data: /json/.test(attributes['datacontenttype']!) ? (JSON.parse(data) as unknown) : data,
  })

/** Each sends to that channel. */
export const foreignClients: Readonly<Record<TransportName, (url: string, channel: string) => Promise<ForeignClient>>> =
  {
    kafka: async (url, topic) => {
      const { Admin, Producer } = await import('@platformatic/kafka')
      const producer = new Producer({ clientId: 'erp', bootstrapBrokers: [url] })
      const admin = new Admin({ clientId: 'erp', bootstrapBrokers: [url] })
      const record = (sent: Sent, at: number) => {
        const { headers, value } = isBinary(at)
          ? {
              headers: { ...prefixed(sent, 'ce_'), 'content-type': sent.attributes['datacontenttype']! },
              value: sent.data,
            }
          : SdkKafka.structured(bySdk(sent))
        return {
          topic,
          key: Buffer.from(sent.attributes['subject']!),
          value: Buffer.from(value),
          headers: new Map(
            Object.entries(headers).map(([name, text]) => [Buffer.from(name), Buffer.from(String(text))] as const),
          ),
        }
      }
      return {
        make: () =>
          admin.createTopics({
            topics: [topic],
            partitions: 2,
            replicas: 1,
            configs: [{ name: 'max.message.bytes', value: '900000' }],
          }),
        look: async () => {
          const { id, partitionsCount } = (await admin.metadata({ topics: [topic], forceUpdate: true })).topics.get(
            topic,
          )!
          return { id, partitionsCount }
        },
        send: async (events) => {
          await producer.send({ messages: events.map(record), acks: -1 })
        },
        [Symbol.asyncDispose]: async () => {
          await producer.close()
          await admin.close()
        },
      }
    },

    rabbitmq: async (url, exchange) => {
      const { connect } = await import('amqplib')
      const connection = await connect(url)
      const channel = await connection.createConfirmChannel()
      return {
        make: () => channel.assertExchange(exchange, 'fanout'),
        look: () => channel.checkExchange(exchange),
        send: async (events) => {
          for (const [at, sent] of events.entries()) {
            const [content, options] = isBinary(at)
              ? [
                  sent.data,
                  { contentType: sent.attributes['datacontenttype']!, headers: prefixed(sent, 'cloudEvents:') },
                ]
              : [structured(sent), { contentType: eventJson }]
            channel.publish(exchange, 'invoices', Buffer.from(content), options)
          }
          await channel.waitForConfirms()
        },
        [Symbol.asyncDispose]: () => connection.close(),
      }
    },

    nats: async (url, stream) => {
      const { jetstream, jetstreamManager } = await import('@nats-io/jetstream')
      const { connect, headers } = await import('@nats-io/transport-node')
      const connection = await connect({ servers: url })
      const client = jetstream(connection)
      const { streams } = await jetstreamManager(connection)
      const subject = stream === channels.nats.ofPabal ? 'pabal.erp.invoices' : 'erp.orders.invoices'
      return {
        make: () => streams.add({ name: stream, subjects: ['erp.orders.*'], storage: 'memory' }),
        look: async () => (await streams.info(stream)).config,
        send: async (events) => {
          for (const [at, sent] of events.entries()) {
            const head = headers()
            if (isBinary(at))
              for (const [name, value] of Object.entries(sent.attributes))
                head.set(`ce-${name}`, encodeURIComponent(value))
            else head.set('Content-Type', eventJson)
            await client.publish(subject, isBinary(at) ? sent.data : structured(sent), { headers: head })
          }
        },
        [Symbol.asyncDispose]: () => connection.close(),
      }
    },

    'redis-streams': async (url, stream) => {
      const { Redis } = await import('ioredis')
      const redis = new Redis(url)
      return {
        make: async () => redis.xdel(stream, (await redis.xadd(stream, '*', 'made', 'by its owner'))!),
        look: () => redis.xrange(stream, '-', '+'),
        send: async (events) => {
          for (const [at, sent] of events.entries()) {
            const fields = isBinary(at)
              ? {
                  ...prefixed(sent, 'ce_'),
                  'content-type': sent.attributes['datacontenttype']!,
                  data: sent.data,
                }
              : { event: bySdk(sent).toString() }
            await redis.xadd(stream, '*', ...Object.entries(fields).flat())
          }
        },
        [Symbol.asyncDispose]: async () => redis.disconnect(),
      }
    },

    'sns-sqs': async (url, topic) => {
      const { awsClients } = await import('../../support/aws-clients.ts')
      const clients = awsClients(url)
      const TopicArn = `arn:aws:sns:eu-west-1:000000000000:${topic}`
      return {
        make: () => clients.sns.createTopic({ Name: topic, Attributes: { FifoTopic: 'true', DisplayName: 'orders' } }),
        look: async () => {
          const { Attributes } = await clients.sns.getTopicAttributes({ TopicArn })
          return Object.entries(Attributes!).filter(([name]) => !name.startsWith('Subscriptions'))
        },
        send: async (events) => {
          for (const sent of events)
            await clients.sns.publish({
              TopicArn,
              Message: bySdk(sent).toString(),
              MessageGroupId: sent.attributes['subject']!,
              // As of a producer that repeats itself after more than five minutes.
              MessageDeduplicationId: `${idOf(sent)}-${randomUUID()}`,
            })
        },
        [Symbol.asyncDispose]: async () => clients[Symbol.dispose](),
      }
    },
  }
