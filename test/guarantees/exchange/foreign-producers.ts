/** Foreign producers, by plain clients of each broker: CloudEvents put into messages by hand, or by the SDK of CloudEvents. */

import { randomUUID } from 'node:crypto'
import { CloudEvent as SdkEvent, Kafka as SdkKafka } from 'cloudevents'
import { idOf, type Sent, structured } from './foreign-world.ts'
import type { TransportName } from './transports.ts'

export interface ForeignClient extends AsyncDisposable {
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

/** What a channel of that name is called on each broker is on its page. */
export const foreignClients: Readonly<Record<TransportName, (url: string) => Promise<ForeignClient>>> = {
  kafka: async (url) => {
    const { Producer } = await import('@platformatic/kafka')
    const producer = new Producer({ clientId: 'erp', bootstrapBrokers: [url] })
    const record = (sent: Sent, at: number) => {
      const { headers, value } = isBinary(at)
        ? {
            headers: { ...prefixed(sent, 'ce_'), 'content-type': sent.attributes['datacontenttype']! },
            value: sent.data,
          }
        : SdkKafka.structured(bySdk(sent))
      return {
        topic: 'pabal.erp',
        key: Buffer.from(sent.attributes['subject']!),
        value: Buffer.from(value),
        headers: new Map(
          Object.entries(headers).map(([name, text]) => [Buffer.from(name), Buffer.from(String(text))] as const),
        ),
      }
    }
    return {
      send: async (events) => {
        await producer.send({ messages: events.map(record), acks: -1 })
      },
      [Symbol.asyncDispose]: () => producer.close(),
    }
  },

  rabbitmq: async (url) => {
    const { connect } = await import('amqplib')
    const connection = await connect(url)
    const channel = await connection.createConfirmChannel()
    return {
      send: async (events) => {
        for (const [at, sent] of events.entries()) {
          const [content, options] = isBinary(at)
            ? [sent.data, { contentType: sent.attributes['datacontenttype']!, headers: prefixed(sent, 'cloudEvents:') }]
            : [structured(sent), { contentType: eventJson }]
          channel.publish('pabal.erp', 'invoices', Buffer.from(content), options)
        }
        await channel.waitForConfirms()
      },
      [Symbol.asyncDispose]: () => connection.close(),
    }
  },

  nats: async (url) => {
    const { jetstream } = await import('@nats-io/jetstream')
    const { connect, headers } = await import('@nats-io/transport-node')
    const connection = await connect({ servers: url })
    const client = jetstream(connection)
    return {
      send: async (events) => {
        for (const [at, sent] of events.entries()) {
          const head = headers()
          if (isBinary(at))
            for (const [name, value] of Object.entries(sent.attributes))
              head.set(`ce-${name}`, encodeURIComponent(value))
          else head.set('Content-Type', eventJson)
          await client.publish('pabal.erp.invoices', isBinary(at) ? sent.data : structured(sent), { headers: head })
        }
      },
      [Symbol.asyncDispose]: () => connection.close(),
    }
  },

  'redis-streams': async (url) => {
    const { Redis } = await import('ioredis')
    const redis = new Redis(url)
    return {
      send: async (events) => {
        for (const [at, sent] of events.entries()) {
          const fields = isBinary(at)
            ? {
                ...prefixed(sent, 'ce_'),
                'content-type': sent.attributes['datacontenttype']!,
                data: sent.data,
              }
            : { event: bySdk(sent).toString() }
          await redis.xadd('pabal.erp', '*', ...Object.entries(fields).flat())
        }
      },
      [Symbol.asyncDispose]: async () => redis.disconnect(),
    }
  },

  'sns-sqs': async (url) => {
    const { awsClients } = await import('../../support/aws-clients.ts')
    const clients = awsClients(url)
    const { TopicArn } = await clients.sns.createTopic({ Name: 'pabal-erp.fifo', Attributes: { FifoTopic: 'true' } })
    return {
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
