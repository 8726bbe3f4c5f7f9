/** The brokers of a run, each a real one of its own (SNS and SQS: emulated), with what confirms is on disk as its defaults say. */

import type { Broker } from '../../test/support/broker.ts'
import { missingKafka, startKafka } from '../../test/support/kafka-server.ts'
import { missingNats, startNats } from '../../test/support/nats-server.ts'
import { missingRabbit, startRabbit } from '../../test/support/rabbitmq-server.ts'
import { missingRedis, startRedis } from '../../test/support/redis-server.ts'
import { missingSnsSqs, startSnsSqs } from '../../test/support/sns-sqs-server.ts'
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
