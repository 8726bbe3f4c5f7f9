/** Queues on SQS: looked for, made, and looked at. */

import type { Call } from './calls.ts'
import type { SqsClient } from './driver.ts'
import { unlessMissing, unusable } from './failures.ts'

export interface QueuesParts {
  readonly sqs: SqsClient
  readonly call: Call
  readonly fifo: boolean
}

/** Fourteen days that a message waits for its subscriber; SQS has no more. */
const retentionSeconds = 1_209_600
/** Receives without a deletion, until SQS itself sets a message aside: only what ends its process again and again gets there. */
const receivesMax = 1_000

type Attributes = Partial<Record<string, string>>

/** What a queue is made with, whoever uses it. */
export const queueAttributes = (fifo: boolean): Record<string, string> => {
  // Each group has its own rate then, and the queue as a whole has next to no limit.
  const order = { FifoQueue: 'true', DeduplicationScope: 'messageGroup', FifoThroughputLimit: 'perMessageGroupId' }
  return { ...(fifo ? order : {}), MessageRetentionPeriod: String(retentionSeconds) }
}

export const redriveTo = (deadLetterTargetArn: string): string =>
  JSON.stringify({ deadLetterTargetArn, maxReceiveCount: receivesMax })

export class Queues {
  readonly #parts: QueuesParts

  constructor(parts: QueuesParts) {
    this.#parts = parts
  }

  find(QueueName: string): Promise<string | undefined> {
    const { sqs, call } = this.#parts
    return call('sqs:GetQueueUrl', (options) => sqs.getQueueUrl({ QueueName }, options)).then(
      ({ QueueUrl }) => QueueUrl,
      unlessMissing,
    )
  }

  /** The URL of the queue, which stays as it is where it was there before. */
  async create(QueueName: string, attributes: Record<string, string>): Promise<string> {
    const { sqs, call, fifo } = this.#parts
    const found = await this.find(QueueName)
    if (found !== undefined) return found
    const Attributes = { ...attributes, ...queueAttributes(fifo) }
    try {
      const { QueueUrl } = await call('sqs:CreateQueue', (options) =>
        sqs.createQueue({ QueueName, Attributes }, options),
      )
      return QueueUrl!
    } catch (error) {
      // Another process may have been faster.
      const url = await this.find(QueueName)
      if (url === undefined) throw unusable(`the queue ${QueueName}`, error)
      return url
    }
  }

  async attributesOf(QueueUrl: string): Promise<Attributes> {
    const { sqs, call } = this.#parts
    const { Attributes = {} } = await call('sqs:GetQueueAttributes', (options) =>
      sqs.getQueueAttributes({ QueueUrl, AttributeNames: ['All'] }, options),
    )
    return Attributes
  }

  async arnOf(QueueName: string): Promise<string | undefined> {
    const url = await this.find(QueueName)
    return url === undefined ? undefined : (await this.attributesOf(url))['QueueArn']
  }

  async setAttributes(QueueUrl: string, Attributes: Record<string, string>): Promise<void> {
    const { sqs, call } = this.#parts
    await call('sqs:SetQueueAttributes', (options) => sqs.setQueueAttributes({ QueueUrl, Attributes }, options))
  }

  async remove(QueueUrl: string): Promise<void> {
    const { sqs, call } = this.#parts
    await call('sqs:DeleteQueue', (options) => sqs.deleteQueue({ QueueUrl }, options)).catch(unlessMissing)
  }

  /** Where it is otherwise than it would be made. */
  differences(found: Attributes): readonly string[] {
    return Object.entries(queueAttributes(this.#parts.fifo))
      .filter(([name, value]) => found[name] !== value)
      .map(([name, value]) => `has ${name} = ${found[name] ?? 'none'} instead of ${value}`)
  }
}
