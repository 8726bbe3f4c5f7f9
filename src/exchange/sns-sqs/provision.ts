/** What channels and their subscribers need on SNS and SQS: topics, and for each subscriber two queues and a subscription. */

import type { Found, InUse, Resource } from '../resource.ts'
import type { Channel, Needs } from '../transport.ts'
import { filterPolicyOf, isSamePolicy } from './filter-policy.ts'
import { invalidTransport } from './failures.ts'
import type { Names } from './names.ts'
import { allowing, allows } from './policy.ts'
import { type Queues, redriveTo } from './queues.ts'
import type { Topics } from './topics.ts'

export interface ProvisionParts {
  readonly topics: Topics
  readonly queues: Queues
  readonly names: Names
}

type Subscriber = Needs['receives'][number]

/** All are idempotent, since looking takes rights that making does not. */
export const resourcesOf = (parts: ProvisionParts, { publishes, receives }: Needs): readonly Resource[] => [
  ...publishes.map((channel) => ownTopic(parts, channel)),
  ...receives.flatMap((of) => [
    topic(parts, of.channel),
    refusedQueue(parts, of),
    queue(parts, of),
    subscription(parts, of),
  ]),
]

const topic = ({ topics, names }: ProvisionParts, { context }: Channel): Resource => {
  const name = names.topic(context)
  return {
    kind: 'topic',
    name,
    idempotent: true,
    look: async () => ((await topics.find(name)) === undefined ? undefined : {}),
    make: async () => void (await topics.create(name)),
  }
}

const ownTopic = (parts: ProvisionParts, channel: Channel): Resource => {
  const { topics } = parts
  const resource = topic(parts, channel)
  const arn = async (): Promise<string> => (await topics.arnOf(resource.name))!
  return {
    ...resource,
    inUse: async () => ({ users: await topics.endpointsOf(await arn()) }),
    remove: async () => topics.remove(await arn()),
  }
}

const refusedQueue = ({ queues, names }: ProvisionParts, { channel, subscriber }: Subscriber): Resource => {
  const name = names.refused(channel.context, subscriber)
  return {
    ...removable(queues, name),
    idempotent: true,
    look: async () => {
      const url = await queues.find(name)
      return url === undefined ? undefined : { differs: queues.differences(await queues.attributesOf(url)) }
    },
    make: async () => void (await queues.create(name, {})),
  }
}

const queue = ({ topics, queues, names }: ProvisionParts, { channel, subscriber }: Subscriber): Resource => {
  const topicName = names.topic(channel.context)
  const [name, refusedName] = [names.queue(channel.context, subscriber), names.refused(channel.context, subscriber)]
  return {
    ...removable(queues, name),
    idempotent: true,
    look: async (): Promise<Found | undefined> => {
      const url = await queues.find(name)
      if (url === undefined) return undefined
      const found = await queues.attributesOf(url)
      const [topicArn, refusedArn] = await Promise.all([topics.arnOf(topicName), queues.arnOf(refusedName)])
      const { RedrivePolicy } = found
      const isRedriven = refusedArn === undefined || RedrivePolicy?.includes(refusedArn) === true
      return {
        lacks: [
          ...(topicArn !== undefined && allows(found['Policy'], topicArn)
            ? []
            : [`a policy that lets the topic ${topicName} send`]),
          ...(RedrivePolicy === undefined ? [`${refusedName} as its dead-letter queue`] : []),
        ],
        differs: [
          ...queues.differences(found),
          ...(RedrivePolicy === undefined || isRedriven ? [] : [`has another redrive policy, ${RedrivePolicy}`]),
        ],
      }
    },
    make: async () => {
      const topicArn = (await topics.arnOf(topicName))!
      const refusedArn = (await queues.arnOf(refusedName))!
      const arn = `${refusedArn.slice(0, -refusedName.length)}${name}`
      const Policy = allowing(undefined, arn, topicArn)
      const RedrivePolicy = redriveTo(refusedArn)
      // All at once: what is published to a queue before its policy counts is lost.
      const url = await queues.create(name, { Policy, RedrivePolicy })
      const found = await queues.attributesOf(url)
      const lacks: Record<string, string> = {}
      if (!allows(found['Policy'], topicArn)) lacks['Policy'] = allowing(found['Policy'], arn, topicArn)
      if (found['RedrivePolicy'] === undefined) lacks['RedrivePolicy'] = RedrivePolicy
      if (Object.keys(lacks).length > 0) await queues.setAttributes(url, lacks)
    },
  }
}

const removable = (queues: Queues, name: string): Pick<Resource, 'kind' | 'name' | 'inUse' | 'remove'> => ({
  kind: 'queue',
  name,
  inUse: async (): Promise<InUse> => {
    const found = await queues.attributesOf((await queues.find(name))!)
    // Waiting, in somebody's hands, and for later.
    const numbers = [
      'ApproximateNumberOfMessages',
      'ApproximateNumberOfMessagesNotVisible',
      'ApproximateNumberOfMessagesDelayed',
    ]
    return { messages: numbers.reduce((sum, each) => sum + Number(found[each] ?? 0), 0) }
  },
  remove: async () => queues.remove((await queues.find(name))!),
})

const subscription = (
  { topics, queues, names }: ProvisionParts,
  { channel, subscriber, selection }: Subscriber,
): Resource => {
  const [topicName, queueName] = [names.topic(channel.context), names.queue(channel.context, subscriber)]
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
