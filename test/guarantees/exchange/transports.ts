/** The transports over real brokers as the run at volume has them, in processes that bring the one client that they need. */

import type { Transport } from '../../../src/exchange/transport.ts'
import { consumers, producers } from './apps.ts'

/** Each at a URL, and with `provision` as it says. What ends with a process comes again after seconds: shorter than by default, so that a run has many of them. */
export const transports = {
  rabbitmq: async (url: string, provision = true): Promise<Transport> => {
    const { connect } = await import('amqplib')
    const { rabbitmqTransport } = await import('../../../src/exchange/rabbitmq/transport.ts')
    return rabbitmqTransport({
      connect: () => connect(`${url}?heartbeat=1`),
      subscribers: Object.fromEntries(producers.map(({ name }) => [name, consumers])),
      timeoutMs: 3_000,
      provision,
    })
  },
  kafka: async (url: string, provision = true): Promise<Transport> => {
    const client = await import('@platformatic/kafka')
    const { kafka } = await import('pabal/kafka')
    const connection = { bootstrapBrokers: [url] }
    return kafka({ client, connection, sessionTimeoutMs: 6_000, requestTimeoutMs: 3_000, provision })['~pabal']
      .carried[0]!.transport
  },
  nats: async (url: string, provision = true): Promise<Transport> => {
    const { jetstream } = await import('@nats-io/jetstream')
    const { connect, headers } = await import('@nats-io/transport-node')
    const { nats } = await import('pabal/nats')
    const settings = { ackWait: 2_000, publishTimeout: 3_000, provision }
    return nats({ connect: () => connect({ servers: url }), jetstream, headers, ...settings })['~pabal'].carried[0]!
      .transport
  },
  'redis-streams': async (url: string, provision = true): Promise<Transport> => {
    const { Redis } = await import('ioredis')
    const { redisStreamsTransport } = await import('../../../src/exchange/redis-streams/transport.ts')
    const client = (settings: object) => new Redis(url, settings)
    return redisStreamsTransport({ client, leaseMs: 1_000, timeoutMs: 2_000, provision })
  },
  'sns-sqs': async (url: string, provision = true): Promise<Transport> => {
    const { awsClients } = await import('../../support/aws-clients.ts')
    const { snsSqsTransport } = await import('../../../src/exchange/sns-sqs/transport.ts')
    const { sns, sqs } = awsClients(url)
    return snsSqsTransport({ sns, sqs, waitMs: 1_000, visibilityMs: 5_000, requestTimeoutMs: 3_000, provision })
  },
}

/** Those, and one that carries messages alone. */
export const messageTransports = {
  ...transports,
  sqs: async (url: string): Promise<Transport> => {
    const { awsClients } = await import('../../support/aws-clients.ts')
    const { sqsTransport } = await import('../../../src/exchange/sns-sqs/sqs.ts')
    return sqsTransport({ sqs: awsClients(url).sqs, waitMs: 1_000, visibilityMs: 3_000 })
  },
}

export type MessageTransportName = keyof typeof messageTransports

export const isMessageTransport = (name: string): name is MessageTransportName => name in messageTransports

export type TransportName = keyof typeof transports

export const isTransport = (name: string): name is TransportName => name in transports
