/** The brokers of a run, each a real one of its own (SNS and SQS: emulated), with what confirms is on disk as its defaults say. */

import type { Broker } from '../../tools/servers/broker.ts'
import { missingKafka, startKafka } from '../../tools/servers/kafka.ts'
import { missingNats, startNats } from '../../tools/servers/nats.ts'
import { missingRabbit, startRabbit } from '../../tools/servers/rabbitmq.ts'
import { missingRedis, startRedis } from '../../tools/servers/redis.ts'
import { missingSnsSqs, startSnsSqs } from '../../tools/servers/sns-sqs.ts'
import type { BrokerName } from './arms.ts'

interface Startable {
  readonly title: string
  /** Why it cannot run here. */
  readonly missing: () => string | undefined
  readonly start: () => Promise<Broker>
}

export const brokers: Readonly<Record<BrokerName, Startable>> = {
  rabbitmq: { title: 'RabbitMQ', missing: missingRabbit, start: () => startRabbit() },
  kafka: { title: 'Kafka', missing: missingKafka, start: () => startKafka() },
  nats: { title: 'NATS JetStream', missing: missingNats, start: () => startNats() },
  redis: { title: 'Redis Streams', missing: missingRedis, start: () => startRedis() },
  sns: { title: 'SNS and SQS, emulated', missing: missingSnsSqs, start: startSnsSqs },
}

export const isBrokerName = (name: string): name is BrokerName => name in brokers
