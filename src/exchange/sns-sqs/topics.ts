/** Topics and their subscriptions on SNS: looked for, made, and looked at. */

import type { Call } from './calls.ts'
import type { SnsClient } from './driver.ts'
import { invalidTransport, unlessMissing, unusable } from './failures.ts'

export interface TopicsParts {
  readonly sns: SnsClient
  readonly call: Call
  readonly fifo: boolean
  /** `arn:aws:sns:<region>:<account>` of the topics; without it they are looked for in the account's list. */
  readonly topicsAt: string | undefined
}

export class Topics {
  readonly #parts: TopicsParts

  constructor(parts: TopicsParts) {
    this.#parts = parts
  }

  /** The ARN of the topic, also where it was there before. */
  async create(name: string): Promise<string | undefined> {
    const { sns, call, fifo } = this.#parts
    const request = { Name: name, Attributes: fifo ? { FifoTopic: 'true' } : {} }
    try {
      return (await call('sns:CreateTopic', (options) => sns.createTopic(request, options))).TopicArn
    } catch (error) {
      // It is there with attributes of somebody else's choice, which is as good.
      if (/already exists/i.test(String(error))) return this.find(name)
      throw unusable(`the topic ${name}`, error)
    }
  }

  async find(name: string): Promise<string | undefined> {
    const { sns, call, topicsAt } = this.#parts
    if (topicsAt !== undefined) {
      const TopicArn = `${topicsAt}:${name}`
      return call('sns:GetTopicAttributes', (options) => sns.getTopicAttributes({ TopicArn }, options)).then(
        () => TopicArn,
        unlessMissing,
      )
    }
    for (let token: string | undefined; ; ) {
      const page = { NextToken: token }
      const { Topics: some = [], NextToken } = await call('sns:ListTopics', (options) => sns.listTopics(page, options))
      const found = some.find(({ TopicArn }) => TopicArn?.endsWith(`:${name}`))
      if (found !== undefined || NextToken === undefined || NextToken === '') return found?.TopicArn
      token = NextToken
    }
  }

  async subscribe(TopicArn: string, Endpoint: string): Promise<void> {
    const { sns, call } = this.#parts
    const request = { TopicArn, Protocol: 'sqs', Endpoint, Attributes: { RawMessageDelivery: 'true' } }
    await call('sns:Subscribe', (options) => sns.subscribe(request, options)).catch((error: unknown) => {
      throw unusable(`the subscription of ${Endpoint} to ${TopicArn}`, error)
    })
  }

  /** The ARN of a queue's subscription. */
  async subscriptionOf(TopicArn: string, queueArn: string): Promise<string | undefined> {
    const { sns, call } = this.#parts
    for (let token: string | undefined; ; ) {
      const page = { TopicArn, NextToken: token }
      const { Subscriptions = [], NextToken } = await call('sns:ListSubscriptionsByTopic', (options) =>
        sns.listSubscriptionsByTopic(page, options),
      )
      // One that waits for its confirmation has no ARN yet.
      const found = Subscriptions.find(
        ({ Endpoint, SubscriptionArn }) => Endpoint === queueArn && SubscriptionArn?.startsWith('arn:'),
      )
      if (found !== undefined || NextToken === undefined || NextToken === '') return found?.SubscriptionArn
      token = NextToken
    }
  }

  /** One that somebody else made may bring something else, or less. @throws PABAL_TRANSPORT_INVALID */
  async checkSubscription(SubscriptionArn: string, queueArn: string): Promise<void> {
    const { sns, call } = this.#parts
    const { Attributes = {} } = await call('sns:GetSubscriptionAttributes', (options) =>
      sns.getSubscriptionAttributes({ SubscriptionArn }, options),
    )
    if (Attributes['RawMessageDelivery'] !== 'true')
      throw invalidTransport(`the subscription ${SubscriptionArn} of ${queueArn} needs RawMessageDelivery = true`)
    // What is filtered out would look lost, and its key would wait for it.
    const filter = Attributes['FilterPolicy'] ?? ''
    if (filter !== '' && filter !== '{}')
      throw invalidTransport(`the subscription ${SubscriptionArn} of ${queueArn} must have no filter policy`)
  }
}
