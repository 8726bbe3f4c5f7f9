/** The real brokers that the guarantees are tried over: each started for a test, or why it cannot be. */

import type { Broker } from '../../../tools/servers/broker.ts'
import { missingKafka, startKafka } from '../../../tools/servers/kafka.ts'
import { missingNats, startNats } from '../../../tools/servers/nats.ts'
import { missingRabbit, startRabbit } from '../../../tools/servers/rabbitmq.ts'
import { missingRedis, startRedis } from '../../../tools/servers/redis.ts'
import { missingSnsSqs, startSnsSqs } from '../../../tools/servers/sns-sqs.ts'
import type { TransportName } from './transports.ts'

interface TestedBroker {
  readonly missing: string | undefined
  readonly start: () => Promise<Broker>
}

export const brokers: Readonly<Record<TransportName, TestedBroker>> = {
  rabbitmq: { missing: missingRabbit(), start: () => startRabbit() },
  kafka: { missing: missingKafka(), start: () => startKafka() },
  nats: { missing: missingNats(), start: () => startNats() },
  'redis-streams': { missing: missingRedis(), start: () => startRedis() },
  'sns-sqs': { missing: missingSnsSqs(), start: () => startSnsSqs() },
}

/** For `describe.each`. */
export const eachBroker = Object.entries(brokers) as [TransportName, TestedBroker][]
