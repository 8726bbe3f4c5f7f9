/** What channels and their subscribers need on SNS and SQS: topics, and for each subscriber two queues and a subscription; over SQS alone two queues. */

import type { Found, InUse, Resource } from '../resource.ts'
import type { Channel, Needs } from '../transport.ts'
import { filterPolicyOf, isSamePolicy } from './filter-policy.ts'
import { invalidTransport } from './failures.ts'
import type { Names } from './names.ts'
import { allowing, allows } from './policy.ts'
import { type Queues, redriveTo } from './queues.ts'
import type { Topics } from './topics.ts'

interface TopicParts {
  readonly topics: Topics
  readonly names: Names
}

interface QueueParts {
  readonly queues: Queues
  readonly names: Names
}

export type ProvisionParts = TopicParts & QueueParts

type Subscriber = Needs['receives'][number]

/** All are idempotent, since looking takes rights that making does not. */
export const resourcesOf = (parts: ProvisionParts, needs: Needs): readonly Resource[] => [
  ...topicsOf(parts, needs),
  ...needs.publishes.flatMap((channel) =>
    (channel.receivers ?? []).flatMap((subscriber) => ofSubscriber(parts, { channel, subscriber }).map(another)),
  ),
  ...needs.receives.flatMap((of) => [topic(parts, of.channel), ...ofSubscriber(parts, of)]),
]

const ofSubscriber = (parts: ProvisionParts, of: Subscriber): readonly Resource[] => {
  const { topics, queues, names } = parts
  const { context } = of.channel
  const pair = { name: names.queue(context, of.subscriber), refused: names.refused(context, of.subscriber) }
  return [
    removable(queues, refusedQueue(queues, pair)),
    removable(queues, queue(queues, pair, { topics, name: names.topic(of.channel) })),
    subscription(parts, of),
  ]
}

/** It is sent messages: what it will receive them by is made, and left there. */
const another = ({ remove: _, inUse: __, ...resource }: Resource): Resource => resource

/** Of what is published, whoever subscribes. */
export const topicsOf = (parts: TopicParts, { publishes }: Needs): readonly Resource[] =>
  publishes.map((channel) => ownTopic(parts, channel))

/** Over SQS alone. The queue is its subscriber's; who sends makes it where it is missing. */
export const queuesOf = ({ queues, names }: QueueParts, { publishes, receives }: Needs): readonly Resource[] => {
  const of = ({ context }: Channel): readonly Resource[] => {
    const pair = { name: names.queue(context), refused: names.refused(context) }
    return [refusedQueue(queues, pair), queue(queues, pair)]
  }
  return [
    ...publishes.flatMap(of),
    ...receives.flatMap(({ channel }) => of(channel).map((resource) => removable(queues, resource))),
  ]
}

const topic = ({ topics, names }: TopicParts, channel: Channel): Resource => {
  const name = names.topic(channel)
  const look = async (): Promise<Found | undefined> => ((await topics.find(name)) === undefined ? undefined : {})
  if (channel.name !== undefined) return { kind: 'topic', name, foreign: true, look }
  return {
    kind: 'topic',
    name,
    idempotent: true,
    look,
    make: async () => void (await topics.create(name)),
  }
}

const ownTopic = (parts: TopicParts, channel: Channel): Resource => {
  const { topics } = parts
  const resource = topic(parts, channel)
  const arn = async (): Promise<string> => (await topics.arnOf(resource.name))!
  return {
    ...resource,
    inUse: async () => ({ users: await topics.endpointsOf(await arn()) }),
    remove: async () => topics.remove(await arn()),
  }
}

interface Pair {
  readonly name: string
  readonly refused: string
}

const refusedQueue = (queues: Queues, { refused: name }: Pair): Resource => ({
  kind: 'queue',
  name,
  idempotent: true,
  look: async () => {
    const url = await queues.find(name)
    return url === undefined ? undefined : { differs: queues.differences(await queues.attributesOf(url)) }
  },
  make: async () => void (await queues.create(name, {})),
})

/** `from`: the topic that sends to it. Without one those who send need no policy of the queue, but a right of their own. */
const queue = (
  queues: Queues,
  { name, refused }: Pair,
  from?: { readonly topics: Topics; readonly name: string },
): Resource => {
  const arnOfTopic = async (): Promise<string | undefined> => from?.topics.arnOf(from.name)
  return {
    kind: 'queue',
    name,
    idempotent: true,
    look: async (): Promise<Found | undefined> => {
      const url = await queues.find(name)
      if (url === undefined) return undefined
      const found = await queues.attributesOf(url)
      const [topicArn, refusedArn] = await Promise.all([arnOfTopic(), queues.arnOf(refused)])
      const { RedrivePolicy } = found
      const isRedriven = refusedArn === undefined || RedrivePolicy?.includes(refusedArn) === true
      const isAllowed = from === undefined || (topicArn !== undefined && allows(found['Policy'], topicArn))
      return {
        lacks: [
          ...(isAllowed ? [] : [`a policy that lets the topic ${from.name} send`]),
          ...(RedrivePolicy === undefined ? [`${refused} as its dead-letter queue`] : []),
        ],
        differs: [
          ...queues.differences(found),
          ...(RedrivePolicy === undefined || isRedriven ? [] : [`has another redrive policy, ${RedrivePolicy}`]),
        ],
      }
    },
    make: async () => {
      const [topicArn, refusedArn] = await Promise.all([arnOfTopic(), queues.arnOf(refused)])
      const arn = `${refusedArn!.slice(0, -refused.length)}${name}`
      const policyOver = (found?: string): Record<string, string> =>
        topicArn === undefined ? {} : { Policy: allowing(found, arn, topicArn) }
      const RedrivePolicy = redriveTo(refusedArn!)
      // All at once: what is published to a queue before its policy counts is lost.
      const url = await queues.create(name, { ...policyOver(), RedrivePolicy })
      const found = await queues.attributesOf(url)
      const lacks: Record<string, string> = {
        ...(topicArn === undefined || allows(found['Policy'], topicArn) ? {} : policyOver(found['Policy'])),
        ...(found['RedrivePolicy'] === undefined ? { RedrivePolicy } : {}),
      }
      if (Object.keys(lacks).length > 0) await queues.setAttributes(url, lacks)
    },
  }
}

const removable = (queues: Queues, resource: Resource): Resource => ({
  ...resource,
  inUse: async (): Promise<InUse> => {
    const found = await queues.attributesOf((await queues.find(resource.name))!)
    // Waiting, in somebody's hands, and for later.
    const numbers = [
      'ApproximateNumberOfMessages',
      'ApproximateNumberOfMessagesNotVisible',
      'ApproximateNumberOfMessagesDelayed',
    ]
    return { messages: numbers.reduce((sum, each) => sum + Number(found[each] ?? 0), 0) }
  },
  remove: async () => queues.remove((await queues.find(resource.name))!),
})

const subscription = (
  { topics, queues, names }: ProvisionParts,
  { channel, subscriber, selection }: Subscriber,
): Resource => {
  const [topicName, queueName] = [names.topic(channel), names.queue(channel.context, subscriber)]
  const find = async () => {
    const [topicArn, queueArn] = await Promise.all([topics.arnOf(topicName), queues.arnOf(queueName)])
    if (topicArn === undefined || queueArn === undefined) return undefined
    return { topicArn, queueArn, arn: await topics.subscriptionOf(topicArn, queueArn) }
  }
  const name = `${queueName} to ${topicName}`
  const { policy, leftOut } = filterPolicyOf(selection)
  return {
    kind: 'subscription',
    name,
    details: [
      ...(policy === undefined ? [] : [`filter policy ${policy}`]),
      ...(leftOut.length === 0 ? [] : [`too much for a filter policy: ${leftOut.join(', ')}`]),
    ],
    idempotent: true,
    look: async () => {
      const arn = (await find())?.arn
      if (arn === undefined) return undefined
      const found = await topics.subscription(arn)
      if (found.unfit.length > 0) return { unfit: found.unfit }
      return { lacks: isSamePolicy(found.policy, policy) ? [] : [otherPolicy(policy, found.policy)] }
    },
    make: async () => {
      const { topicArn, queueArn, arn } = (await find())!
      if (arn === undefined) return topics.subscribe(topicArn, queueArn, policy)
      const found = await topics.subscription(arn)
      if (found.unfit.length > 0) throw invalidTransport(`the subscription of ${name} ${found.unfit.join(', ')}`)
      if (!isSamePolicy(found.policy, policy)) await topics.setFilterPolicy(arn, policy)
    },
    remove: async () => topics.unsubscribe((await find())!.arn!),
  }
}

const otherPolicy = (wanted: string | undefined, found: string | undefined): string => {
  if (wanted === undefined) return `what its filter policy ${found} leaves out`
  return `the filter policy ${wanted}${found === undefined ? '' : ` instead of ${found}`}`
}
