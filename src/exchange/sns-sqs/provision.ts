/** What a channel and its subscribers need on the broker: made where it is not there, or looked for and named. */

import type { PabalError } from '../../core/errors.ts'
import { invalidTransport } from './failures.ts'
import type { Names } from './names.ts'
import { allowing, allows } from './policy.ts'
import type { Queues } from './queues.ts'
import type { Topics } from './topics.ts'

export interface ProvisionParts {
  readonly topics: Topics
  readonly queues: Queues
  readonly names: Names
  /** False: nothing is made or changed. */
  readonly provision: boolean
}

/** The queues of one subscriber. */
export interface Subscribed {
  readonly queueUrl: string
  readonly refusedUrl: string
}

/** Receives without a deletion, until SQS itself sets a message aside: only what ends its process again and again gets there. */
const receivesMax = 1_000

export class Provision {
  readonly #parts: ProvisionParts

  constructor(parts: ProvisionParts) {
    this.#parts = parts
  }

  /** The topic of a context: its ARN. @throws PABAL_TRANSPORT_INVALID, PABAL_TRANSPORT_UNREACHABLE */
  async topic(context: string): Promise<string> {
    const { topics, names, provision } = this.#parts
    const name = names.topic(context)
    const arn = await (provision ? topics.create(name) : topics.find(name))
    if (arn === undefined) throw missing([`the topic ${name}`])
    return arn
  }

  /** The queues of a subscriber, subscribed to the topic. @throws PABAL_TRANSPORT_INVALID, PABAL_TRANSPORT_UNREACHABLE */
  subscription(context: string, subscriber: string): Promise<Subscribed> {
    const { names, provision } = this.#parts
    const [name, refusedName] = [names.queue(context, subscriber), names.refused(context, subscriber)]
    return provision ? this.#make(context, name, refusedName) : this.#find(context, name, refusedName)
  }

  async #make(context: string, name: string, refusedName: string): Promise<Subscribed> {
    const { topics, queues } = this.#parts
    const topicArn = await this.topic(context)
    const refusedUrl = await queues.create(refusedName, {})
    const refusedArn = (await queues.attributesOf(refusedUrl))['QueueArn']!
    const arn = `${refusedArn.slice(0, -refusedName.length)}${name}`
    const Policy = allowing(undefined, arn, topicArn)
    const RedrivePolicy = JSON.stringify({ deadLetterTargetArn: refusedArn, maxReceiveCount: receivesMax })
    // All at once: what is published to a queue before its policy counts is lost.
    const queueUrl = await queues.create(name, { Policy, RedrivePolicy })
    const found = await queues.attributesOf(queueUrl)
    const lacks: Record<string, string> = {}
    if (!allows(found['Policy'], topicArn)) lacks['Policy'] = allowing(found['Policy'], arn, topicArn)
    if (found['RedrivePolicy'] === undefined) lacks['RedrivePolicy'] = RedrivePolicy
    if (Object.keys(lacks).length > 0) await queues.setAttributes(queueUrl, lacks)
    const subscription = await topics.subscriptionOf(topicArn, arn)
    if (subscription === undefined) await topics.subscribe(topicArn, arn)
    else await topics.checkSubscription(subscription, arn)
    return { queueUrl, refusedUrl }
  }

  /** Without making anything: all that is missing is named at once. */
  async #find(context: string, name: string, refusedName: string): Promise<Subscribed> {
    const { topics, queues, names } = this.#parts
    const topicName = names.topic(context)
    const [topicArn, queueUrl, refusedUrl] = await Promise.all([
      topics.find(topicName),
      queues.find(name),
      queues.find(refusedName),
    ])
    const lacking: string[] = []
    if (topicArn === undefined) lacking.push(`the topic ${topicName}`)
    if (queueUrl === undefined) lacking.push(`the queue ${name}`)
    if (refusedUrl === undefined) lacking.push(`the queue ${refusedName}`)
    if (topicArn !== undefined && queueUrl !== undefined) {
      const { Policy, QueueArn = '' } = await queues.attributesOf(queueUrl)
      if (!allows(Policy, topicArn)) lacking.push(`a policy of the queue ${name} that lets the topic send`)
      const subscription = await topics.subscriptionOf(topicArn, QueueArn)
      if (subscription === undefined) lacking.push(`a subscription of the queue ${name} to the topic ${topicName}`)
      else await topics.checkSubscription(subscription, QueueArn)
    }
    if (queueUrl === undefined || refusedUrl === undefined || lacking.length > 0) throw missing(lacking)
    return { queueUrl, refusedUrl }
  }
}

const missing = (what: readonly string[]): PabalError =>
  invalidTransport(`SNS and SQS lack ${what.join('; ')}. Make it, or let pabal: \`provision: true\``)
