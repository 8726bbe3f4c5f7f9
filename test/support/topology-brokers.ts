/** Brokers as `topology.server.test.ts` has them: what is made there, what can be changed there by hand, and a look from outside. */

import { snsSqsTransport } from '../../src/exchange/sns-sqs/index.ts'
import type { Transport } from '../../src/exchange/transport.ts'
import { awsClients } from './aws-clients.ts'
import type { Broker } from './broker.ts'
import { missingSnsSqs, startSnsSqs } from './sns-sqs-server.ts'

export interface Drift {
  readonly what: string
  readonly needs: 'producer' | 'shipping'
  readonly change: (broker: Broker, prefix: string) => Promise<unknown>
  readonly action: 'create' | 'change' | 'drift' | 'conflict'
  readonly detail: RegExp
  readonly then: 'mended' | 'left as it is' | 'refused'
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
const setQueue = (broker: Broker, prefix: string, Attributes: Record<string, string>) =>
  onSnsSqs(broker, async ({ sqs }) => {
    const { QueueUrl } = await sqs.getQueueUrl({ QueueName: queueOf(prefix) })
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
  comesByItself: /^$/,
  drifts: [
    {
      what: 'a policy that is gone',
      needs: 'shipping',
      change: (broker, prefix) => setQueue(broker, prefix, { Policy: '' }),
      action: 'change',
      detail: /a policy that lets the topic .*pabal-ordering\.fifo send/,
      then: 'mended',
    },
    {
      what: 'a dead-letter queue that is gone',
      needs: 'shipping',
      change: (broker, prefix) => setQueue(broker, prefix, { RedrivePolicy: '' }),
      action: 'change',
      detail: /refused\.fifo as its dead-letter queue/,
      then: 'mended',
    },
    {
      what: 'a retention of a minute',
      needs: 'shipping',
      change: (broker, prefix) => setQueue(broker, prefix, { MessageRetentionPeriod: '60' }),
      action: 'drift',
      detail: /MessageRetentionPeriod = 60 instead of 1209600/,
      then: 'left as it is',
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
      then: 'refused',
    },
    {
      what: 'a subscription that is gone',
      needs: 'shipping',
      change: (broker, prefix) =>
        onSubscription(broker, prefix, (sns, SubscriptionArn) => sns.unsubscribe({ SubscriptionArn })),
      action: 'create',
      detail: /^$/,
      then: 'mended',
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

export const brokers: readonly TopologyBroker[] = [snsSqs]
