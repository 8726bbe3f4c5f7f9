/** Topics and their subscriptions on SNS: looked for, made, and looked at. */

import type { Call } from './calls.ts'
import type { SnsClient } from './driver.ts'
import { unlessMissing, unusable } from './failures.ts'
import { isOurs } from './filter-policy.ts'

export interface TopicsParts {
  readonly sns: SnsClient
  readonly call: Call
  readonly fifo: boolean
  /** `arn:aws:sns:<region>:<account>` of the topics; without it they are looked for in the account's list. */
  readonly topicsAt: string | undefined
}

interface Subscribed {
  readonly SubscriptionArn?: string | undefined
  readonly Endpoint?: string | undefined
}

interface Subscription {
  /** Undefined: all is let through. */
  readonly policy: string | undefined
  /** Why one that somebody else made is of no use: it may bring something else, or less. */
  readonly unfit: readonly string[]
}

export class Topics {
  readonly #parts: TopicsParts
  /** An ARN says nothing but account, region and name, so it holds as long as there is such a topic. */
  readonly #arns = new Map<string, string>()

  constructor(parts: TopicsParts) {
    this.#parts = parts
  }

  /** The ARN of the topic, also where it was there before. */
  async create(name: string): Promise<string | undefined> {
    const { sns, call, fifo } = this.#parts
    const request = { Name: name, Attributes: fifo ? { FifoTopic: 'true' } : {} }
    try {
      const { TopicArn } = await call('sns:CreateTopic', (options) => sns.createTopic(request, options))
      return this.#noted(name, TopicArn)
    } catch (error) {
      // It is there with attributes of somebody else's choice, which is as good.
      if (/already exists/i.test(String(error))) return this.find(name)
      throw unusable(`the topic ${name}`, error)
    }
  }

  /** The ARN of a topic that was made or found before, or is there now. */
  async arnOf(name: string): Promise<string | undefined> {
    return this.#arns.get(name) ?? this.find(name)
  }

  async find(name: string): Promise<string | undefined> {
    return this.#noted(name, await this.#find(name))
  }

  #noted(name: string, arn: string | undefined): string | undefined {
    if (arn === undefined) this.#arns.delete(name)
    else this.#arns.set(name, arn)
    return arn
  }

  async #find(name: string): Promise<string | undefined> {
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

  async subscribe(TopicArn: string, Endpoint: string, policy: string | undefined): Promise<void> {
    const { sns, call } = this.#parts
    const Attributes = { RawMessageDelivery: 'true', ...(policy === undefined ? {} : { FilterPolicy: policy }) }
    const request = { TopicArn, Protocol: 'sqs', Endpoint, Attributes }
    await call('sns:Subscribe', (options) => sns.subscribe(request, options)).catch((error: unknown) => {
      throw unusable(`the subscription of ${Endpoint} to ${TopicArn}`, error)
    })
  }

  async remove(TopicArn: string): Promise<void> {
    const { sns, call } = this.#parts
    await call('sns:DeleteTopic', (options) => sns.deleteTopic({ TopicArn }, options))
  }

  async unsubscribe(SubscriptionArn: string): Promise<void> {
    const { sns, call } = this.#parts
    await call('sns:Unsubscribe', (options) => sns.unsubscribe({ SubscriptionArn }, options)).catch(unlessMissing)
  }

  /** The ARN of a queue's subscription. */
  async subscriptionOf(TopicArn: string, queueArn: string): Promise<string | undefined> {
    // One that waits for its confirmation has no ARN yet.
    for await (const { Endpoint, SubscriptionArn } of this.#subscriptions(TopicArn))
      if (Endpoint === queueArn && SubscriptionArn?.startsWith('arn:') === true) return SubscriptionArn
    return undefined
  }

  /** Of all who are subscribed. */
  async endpointsOf(TopicArn: string): Promise<readonly string[]> {
    const endpoints: string[] = []
    for await (const { Endpoint = 'somebody' } of this.#subscriptions(TopicArn)) endpoints.push(Endpoint)
    return endpoints
  }

  async *#subscriptions(TopicArn: string): AsyncGenerator<Subscribed> {
    const { sns, call } = this.#parts
    for (let token: string | undefined; ; ) {
      const page = { TopicArn, NextToken: token }
      const { Subscriptions = [], NextToken } = await call('sns:ListSubscriptionsByTopic', (options) =>
        sns.listSubscriptionsByTopic(page, options),
      )
      yield* Subscriptions
      if (NextToken === undefined || NextToken === '') return
      token = NextToken
    }
  }

  /** @param policy undefined: all is let through */
  async setFilterPolicy(SubscriptionArn: string, policy: string = '{}'): Promise<void> {
    const { sns, call } = this.#parts
    const request = { SubscriptionArn, AttributeName: 'FilterPolicy', AttributeValue: policy }
    await call('sns:SetSubscriptionAttributes', (options) => sns.setSubscriptionAttributes(request, options))
  }

  async subscription(SubscriptionArn: string): Promise<Subscription> {
    const { sns, call } = this.#parts
    const { Attributes = {} } = await call('sns:GetSubscriptionAttributes', (options) =>
      sns.getSubscriptionAttributes({ SubscriptionArn }, options),
    )
    const { RawMessageDelivery, FilterPolicy = '', FilterPolicyScope = 'MessageAttributes' } = Attributes
    const policy = FilterPolicy === '' || FilterPolicy === '{}' ? undefined : FilterPolicy
    const isForeign = policy !== undefined && (FilterPolicyScope !== 'MessageAttributes' || !isOurs(policy))
    return {
      policy,
      unfit: [
        ...(RawMessageDelivery === 'true' ? [] : ['needs RawMessageDelivery = true']),
        // Of a key it may leave out some, which would look lost: the key would wait for it.
        ...(isForeign ? ["must have no filter policy of somebody else's"] : []),
      ],
    }
  }
}
