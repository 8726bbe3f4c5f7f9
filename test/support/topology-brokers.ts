/** Brokers as `topology.server.test.ts` has them: what is made there, what can be changed there by hand, and a look from outside. */

import { jetstreamManager, type JetStreamManager } from '@nats-io/jetstream'
import { connect as connectNats } from '@nats-io/transport-node'
import * as kafkaClient from '@platformatic/kafka'
import { connect } from 'amqplib'
import { Redis } from 'ioredis'
import { kafka } from '../../src/exchange/kafka/index.ts'
import { rabbitmqTransport } from '../../src/exchange/rabbitmq/transport.ts'
import { redisStreamsTransport } from '../../src/exchange/redis-streams/transport.ts'
import { snsSqsTransport, sqsTransport } from '../../src/exchange/sns-sqs/index.ts'
import type { Transport } from '../../src/exchange/transport.ts'
import { awsClients } from './aws-clients.ts'
import type { Broker } from '../../tools/servers/broker.ts'
import { eventually } from './eventually.ts'
import { missingKafka, startKafka } from '../../tools/servers/kafka.ts'
import { natsAt } from './nats-bench.ts'
import { missingNats, startNats } from '../../tools/servers/nats.ts'
import { missingRabbit, startRabbit } from '../../tools/servers/rabbitmq.ts'
import { onRabbit } from './rabbitmq-tools.ts'
import { missingRedis, startRedis } from '../../tools/servers/redis.ts'
import { freePort } from '../../tools/servers/server-process.ts'
import { missingSnsSqs, startSnsSqs } from '../../tools/servers/sns-sqs.ts'

export interface Drift {
  readonly what: string
  readonly needs: 'producer' | 'shipping'
  readonly change: (broker: Broker, prefix: string) => Promise<unknown>
  readonly action: 'create' | 'change' | 'drift' | 'conflict'
  readonly detail: RegExp
  readonly outcome: 'mended' | 'left as it is' | 'refused'
}

export interface TopologyBroker {
  readonly name: string
  readonly missing: string | undefined
  readonly start: () => Promise<Broker>
  readonly prefix: (n: number) => string
  readonly transport: (broker: Broker, prefix: string, provision: boolean) => Transport
  /** Kinds and names, with `$` for the prefix. */
  readonly ofChannel: readonly string[]
  readonly ofSubscriber: (subscriber: string) => readonly string[]
  /** Whether a channel has a single subscriber, whose all of it is. */
  readonly forOne?: true
  /** Where what a subscriber has not taken waits: in a queue of its own, or in the log of the channel, which it does not own. */
  readonly keeps: 'queues' | 'logs'
  /** Whether a plan of removing knows who else uses a channel; else the broker says no when it is removed. */
  readonly namesUsers: boolean
  /** Names that appear with use. */
  readonly comesByItself: RegExp
  readonly drifts: readonly Drift[]
  /** Names of all that stands on the broker, by a client of its kind. */
  readonly standing: (broker: Broker) => Promise<readonly string[]>
}

const onSnsSqs = async <T>(broker: Broker, work: (aws: ReturnType<typeof awsClients>) => Promise<T>): Promise<T> => {
  using aws = awsClients(broker.url)
  return await work(aws)
}

const queueOf = (prefix: string): string => `${prefix}pabal-ordering-shipping.fifo`
const setQueue = (broker: Broker, QueueName: string, Attributes: Record<string, string>) =>
  onSnsSqs(broker, async ({ sqs }) => {
    const { QueueUrl } = await sqs.getQueueUrl({ QueueName })
    await sqs.setQueueAttributes({ QueueUrl, Attributes })
  })
const onSubscription = (
  broker: Broker,
  prefix: string,
  work: (sns: ReturnType<typeof awsClients>['sns'], arn: string) => Promise<unknown>,
) =>
  onSnsSqs(broker, async ({ sns }) => {
    const TopicArn = `arn:aws:sns:eu-west-1:000000000000:${prefix}pabal-ordering.fifo`
    const { Subscriptions } = await sns.listSubscriptionsByTopic({ TopicArn })
    await work(sns, Subscriptions![0]!.SubscriptionArn!)
  })

const snsSqs: TopologyBroker = {
  name: 'SNS and SQS',
  missing: missingSnsSqs(),
  start: startSnsSqs,
  prefix: (n) => `t${process.pid}-${n}-`,
  transport: (broker, prefix, provision) =>
    // Its clients are left to the end of the process.
    snsSqsTransport({ ...awsClients(broker.url), prefix, provision, waitMs: 1_000, visibilityMs: 3_000 }),
  ofChannel: ['topic $pabal-ordering.fifo'],
  ofSubscriber: (subscriber) => [
    `queue $pabal-ordering-${subscriber}-refused.fifo`,
    `queue $pabal-ordering-${subscriber}.fifo`,
    `subscription $pabal-ordering-${subscriber}.fifo to $pabal-ordering.fifo`,
  ],
  keeps: 'queues',
  namesUsers: true,
  comesByItself: /^$/,
  drifts: [
    {
      what: 'a policy that is gone',
      needs: 'shipping',
      change: (broker, prefix) => setQueue(broker, queueOf(prefix), { Policy: '' }),
      action: 'change',
      detail: /a policy that lets the topic .*pabal-ordering\.fifo send/,
      outcome: 'mended',
    },
    {
      what: 'a dead-letter queue that is gone',
      needs: 'shipping',
      change: (broker, prefix) => setQueue(broker, queueOf(prefix), { RedrivePolicy: '' }),
      action: 'change',
      detail: /refused\.fifo as its dead-letter queue/,
      outcome: 'mended',
    },
    {
      what: 'a retention of a minute',
      needs: 'shipping',
      change: (broker, prefix) => setQueue(broker, queueOf(prefix), { MessageRetentionPeriod: '60' }),
      action: 'drift',
      detail: /MessageRetentionPeriod = 60 instead of 1209600/,
      outcome: 'left as it is',
    },
    {
      what: 'a filter of the subscription',
      needs: 'shipping',
      change: (broker, prefix) =>
        onSubscription(broker, prefix, (sns, SubscriptionArn) =>
          sns.setSubscriptionAttributes({
            SubscriptionArn,
            AttributeName: 'FilterPolicy',
            AttributeValue: '{"type":["shop.order-placed.v1"]}',
          }),
        ),
      action: 'conflict',
      detail: /filter policy/,
      outcome: 'refused',
    },
    {
      what: 'the filter of another deployment',
      needs: 'shipping',
      change: (broker, prefix) =>
        onSubscription(broker, prefix, (sns, SubscriptionArn) =>
          sns.setSubscriptionAttributes({
            SubscriptionArn,
            AttributeName: 'FilterPolicy',
            AttributeValue: '{"country":["KR",{"exists":false}]}',
          }),
        ),
      action: 'change',
      detail: /what its filter policy \{"country":\["KR",\{"exists":false\}\]\} leaves out/,
      outcome: 'mended',
    },
    {
      what: 'a subscription that is gone',
      needs: 'shipping',
      change: (broker, prefix) =>
        onSubscription(broker, prefix, (sns, SubscriptionArn) => sns.unsubscribe({ SubscriptionArn })),
      action: 'create',
      detail: /^$/,
      outcome: 'mended',
    },
  ],
  standing: (broker) =>
    onSnsSqs(broker, async ({ sns, sqs }) => {
      const { Topics = [] } = await sns.listTopics({})
      const { QueueUrls = [] } = await sqs.listQueues({})
      const { Subscriptions = [] } = await sns.listSubscriptions({})
      return [
        ...Topics.map(({ TopicArn }) => `topic ${TopicArn}`),
        ...QueueUrls.map((url) => `queue ${url}`),
        ...Subscriptions.map(({ Endpoint }) => `subscription ${Endpoint}`),
      ]
    }),
}

const sqsAlone: TopologyBroker = {
  ...snsSqs,
  name: 'SQS alone',
  prefix: (n) => `q${process.pid}-${n}-`,
  transport: (broker, prefix, provision) =>
    sqsTransport({ ...awsClients(broker.url), prefix, provision, waitMs: 1_000, visibilityMs: 3_000 }),
  ofChannel: ['queue $pabal-ordering--refused.fifo', 'queue $pabal-ordering.fifo'],
  ofSubscriber: () => [],
  forOne: true,
  drifts: [
    {
      what: 'a dead-letter queue that is gone',
      needs: 'producer',
      change: (broker, prefix) => setQueue(broker, `${prefix}pabal-ordering.fifo`, { RedrivePolicy: '' }),
      action: 'change',
      detail: /--refused\.fifo as its dead-letter queue/,
      outcome: 'mended',
    },
    {
      what: 'a retention of a minute',
      needs: 'shipping',
      change: (broker, prefix) => setQueue(broker, `${prefix}pabal-ordering.fifo`, { MessageRetentionPeriod: '60' }),
      action: 'drift',
      detail: /MessageRetentionPeriod = 60 instead of 1209600/,
      outcome: 'left as it is',
    },
  ],
}

/** Where the plugin listens by which a RabbitMQ can be looked at. */
const managements = new Map<Broker, number>()

const startManagedRabbit = async (): Promise<Broker> => {
  const port = await freePort()
  const broker = await startRabbit({
    plugins: ['rabbitmq_management'],
    settings: { 'management.tcp.port': String(port), 'management.tcp.ip': '127.0.0.1' },
  })
  managements.set(broker, port)
  return broker
}

const managed = async (broker: Broker, what: string): Promise<readonly Record<string, string>[]> => {
  const url = `http://127.0.0.1:${managements.get(broker)}/api/${what}`
  const answer = await fetch(url, { headers: { authorization: `Basic ${btoa('guest:guest')}` } })
  return (await answer.json()) as Record<string, string>[]
}

const rabbitmq: TopologyBroker = {
  name: 'RabbitMQ',
  missing: missingRabbit(),
  start: startManagedRabbit,
  prefix: (n) => `t${n}.`,
  transport: (broker, prefix, provision) =>
    rabbitmqTransport({ connect: () => connect(broker.url), prefix, provision }),
  ofChannel: ['exchange $pabal.ordering'],
  ofSubscriber: (subscriber) => {
    const queue = `$pabal.ordering.${subscriber}`
    return [
      `exchange ${queue}.refused`,
      `queue ${queue}`,
      `binding ${queue} to $pabal.ordering`,
      `queue ${queue}.refused`,
      `binding ${queue}.refused to ${queue}.refused`,
    ]
  },
  keeps: 'queues',
  namesUsers: false,
  comesByItself: /^$/,
  drifts: [
    {
      what: 'a queue of another kind',
      needs: 'shipping',
      change: (broker, prefix) =>
        onRabbit(broker, async (raw) => {
          await raw.deleteQueue(`${prefix}pabal.ordering.shipping`)
          await raw.assertQueue(`${prefix}pabal.ordering.shipping`)
          await raw.bindQueue(`${prefix}pabal.ordering.shipping`, `${prefix}pabal.ordering`, '#')
        }),
      action: 'conflict',
      detail: /inequivalent arg/,
      outcome: 'refused',
    },
    {
      what: 'an exchange of another type',
      needs: 'producer',
      change: (broker, prefix) =>
        onRabbit(broker, async (raw) => {
          await raw.deleteExchange(`${prefix}pabal.ordering`)
          await raw.assertExchange(`${prefix}pabal.ordering`, 'fanout')
        }),
      action: 'conflict',
      detail: /'fanout'/,
      outcome: 'refused',
    },
  ],
  standing: async (broker) => [
    ...(await managed(broker, 'exchanges')).map(({ name }) => `exchange ${name}`),
    ...(await managed(broker, 'queues')).map(({ name }) => `queue ${name}`),
    ...(await managed(broker, 'bindings')).map(({ source, destination }) => `binding ${destination} to ${source}`),
  ],
}

const onKafka = async <T>(broker: Broker, work: (admin: kafkaClient.Admin) => Promise<T>): Promise<T> => {
  const admin = new kafkaClient.Admin({ clientId: 'test', bootstrapBrokers: [broker.url] })
  try {
    return await work(admin)
  } finally {
    await admin.close()
  }
}

const makeAgain = (broker: Broker, name: string, partitions: number, config: readonly [string, string]) =>
  onKafka(broker, async (admin) => {
    await admin.deleteTopics({ topics: [name] })
    const configs = [{ name: config[0], value: config[1] }]
    const done = (work: Promise<unknown>) =>
      work.then(
        () => true,
        () => false,
      )
    await eventually('it is made again', () =>
      done(admin.createTopics({ topics: [name], partitions, replicas: 1, configs })),
    )
    await eventually('it is there', () => done(admin.metadata({ topics: [name], forceUpdate: true, retries: 0 })))
  })

const kafkaBroker: TopologyBroker = {
  name: 'Kafka',
  missing: missingKafka(),
  start: () => startKafka(),
  prefix: (n) => `t${n}.`,
  transport: (broker, prefix, provision) =>
    kafka({
      client: kafkaClient,
      connection: { bootstrapBrokers: [broker.url] },
      prefix,
      provision,
      sessionTimeoutMs: 6_000,
    })['~pabal'].carried[0]!.transport,
  ofChannel: ['topic $pabal.ordering'],
  ofSubscriber: (subscriber) => [`topic $pabal.ordering.${subscriber}.refused`],
  keeps: 'logs',
  namesUsers: true,
  comesByItself: /^group /,
  drifts: [
    {
      what: 'a number of partitions',
      needs: 'producer',
      change: (broker, prefix) => makeAgain(broker, `${prefix}pabal.ordering`, 2, ['max.message.bytes', '1048576']),
      action: 'drift',
      detail: /2 partitions instead of 6/,
      outcome: 'left as it is',
    },
    {
      what: 'a topic that is compacted',
      needs: 'producer',
      change: (broker, prefix) => makeAgain(broker, `${prefix}pabal.ordering`, 6, ['cleanup.policy', 'compact']),
      action: 'conflict',
      detail: /is compacted/,
      outcome: 'refused',
    },
    {
      what: 'a topic that is gone',
      needs: 'shipping',
      change: (broker, prefix) =>
        onKafka(broker, (admin) => admin.deleteTopics({ topics: [`${prefix}pabal.ordering.shipping.refused`] })),
      action: 'create',
      detail: /^partitions: 1$/,
      outcome: 'mended',
    },
  ],
  standing: (broker) =>
    onKafka(broker, async (admin) => [
      ...(await admin.listTopics()).map((name) => `topic ${name}`),
      ...[...(await admin.listGroups()).keys()].map((name) => `group ${name}`),
    ]),
}

const onNats = async <T>(broker: Broker, work: (manager: JetStreamManager) => Promise<T>): Promise<T> => {
  const connection = await connectNats({ servers: broker.url })
  try {
    return await work(await jetstreamManager(connection))
  } finally {
    await connection.close()
  }
}

const natsBroker: TopologyBroker = {
  name: 'NATS',
  missing: missingNats(),
  start: () => startNats(),
  prefix: (n) => `t${n}`,
  transport: (broker, prefix, provision) => natsAt(broker.url, { prefix, provision }),
  ofChannel: ['stream $-ordering'],
  ofSubscriber: (subscriber) => [
    `stream $-ordering-${subscriber}-refused`,
    `stream $-ordering-${subscriber}-turn`,
    `consumer $-ordering-${subscriber} of stream $-ordering`,
    `consumer turn of stream $-ordering-${subscriber}-turn`,
  ],
  keeps: 'logs',
  namesUsers: true,
  comesByItself: /^$/,
  drifts: [
    {
      what: 'a stream that keeps less',
      needs: 'producer',
      change: (broker, prefix) =>
        onNats(broker, (manager) => manager.streams.update(`${prefix}-ordering`, { max_msgs: 10 })),
      action: 'drift',
      detail: /max_msgs = 10 instead of -1/,
      outcome: 'left as it is',
    },
    {
      what: 'a stream of other subjects',
      needs: 'producer',
      change: (broker, prefix) =>
        onNats(broker, (manager) =>
          manager.streams.update(`${prefix}-ordering`, { subjects: [`${prefix}.elsewhere`] }),
        ),
      action: 'conflict',
      detail: /does not take t\d+\.ordering/,
      outcome: 'refused',
    },
    {
      what: 'a consumer that is gone',
      needs: 'shipping',
      change: (broker, prefix) =>
        onNats(broker, (manager) => manager.consumers.delete(`${prefix}-ordering`, `${prefix}-ordering-shipping`)),
      action: 'create',
      detail: /durable, pull/,
      outcome: 'mended',
    },
  ],
  standing: (broker) =>
    onNats(broker, async (manager) => {
      const names: string[] = []
      for await (const { config } of manager.streams.list()) {
        names.push(`stream ${config.name}`)
        for await (const { name } of manager.consumers.list(config.name))
          names.push(`consumer ${name} of ${config.name}`)
      }
      return names
    }),
}

const onRedis = async <T>(broker: Broker, work: (redis: Redis) => Promise<T>): Promise<T> => {
  const redis = new Redis(broker.url)
  try {
    return await work(redis)
  } finally {
    redis.disconnect()
  }
}

const redisStreams: TopologyBroker = {
  name: 'Redis Streams',
  missing: missingRedis(),
  start: () => startRedis(),
  prefix: (n) => `t${n}.`,
  transport: (broker, prefix, provision) =>
    redisStreamsTransport({ client: (settings) => new Redis(broker.url, settings), prefix, provision, leaseMs: 1_000 }),
  ofChannel: ['stream $pabal.ordering'],
  ofSubscriber: (subscriber) => [`group $pabal.ordering.${subscriber}`],
  keeps: 'logs',
  namesUsers: true,
  comesByItself: /\.reader$/,
  drifts: [
    {
      what: 'a key of another type',
      needs: 'producer',
      change: (broker, prefix) => onRedis(broker, (redis) => redis.set(`${prefix}pabal.ordering`, 'taken')),
      action: 'conflict',
      detail: /no stream/,
      outcome: 'refused',
    },
    {
      what: 'a group that is gone',
      needs: 'shipping',
      change: (broker, prefix) =>
        onRedis(broker, (redis) =>
          redis.xgroup('DESTROY', `${prefix}pabal.ordering`, `${prefix}pabal.ordering.shipping`),
        ),
      action: 'create',
      detail: /^XGROUP CREATE/,
      outcome: 'mended',
    },
  ],
  standing: (broker) =>
    onRedis(broker, async (redis) => {
      const names: string[] = []
      for (const key of await redis.keys('*')) {
        names.push(`key ${key}`)
        if ((await redis.type(key)) !== 'stream') continue
        const groups = (await redis.xinfo('GROUPS', key)) as string[][]
        names.push(...groups.map((group) => `group ${group[1]}`))
      }
      return names
    }),
}

export const brokers: readonly TopologyBroker[] = [snsSqs, sqsAlone, rabbitmq, kafkaBroker, natsBroker, redisStreams]
