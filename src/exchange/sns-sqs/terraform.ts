/**
 * What channels and their subscribers need, as Terraform makes it (https://registry.terraform.io/providers/hashicorp/aws): the same
 * as `provision.ts` does, with the topics of other contexts looked up and not made.
 */

import type { Terraform, TerraformBlocks } from '../resource.ts'
import type { Needs } from '../transport.ts'
import { filterPolicyOf } from './filter-policy.ts'
import type { Names } from './names.ts'
import { allowing } from './policy.ts'
import { queueAttributes, redriveTo } from './queues.ts'

export const terraformOf = (names: Names, fifo: boolean, { publishes, receives }: Needs): Terraform => {
  const data: Blocks = {}
  const resource: Blocks = {}
  for (const channel of publishes)
    add(resource, 'aws_sns_topic', labelOf(channel.context), {
      name: names.topic(channel),
      ...(fifo ? { fifo_topic: true } : {}),
    })
  for (const { channel, subscriber, selection } of receives) {
    const { context } = channel
    const { policy } = filterPolicyOf(selection)
    const topic = labelOf(context)
    const queue = labelOf(context, subscriber)
    const refused = labelOf(context, subscriber, 'refused')
    const topicArn = `\${data.aws_sns_topic.${topic}.arn}`
    const queueArn = `\${aws_sqs_queue.${queue}.arn}`
    add(data, 'aws_sns_topic', topic, { name: names.topic(channel) })
    const pair = { name: names.queue(context, subscriber), refused: names.refused(context, subscriber) }
    addQueues(resource, { queue, refused }, pair, fifo)
    add(resource, 'aws_sqs_queue_policy', queue, {
      queue_url: `\${aws_sqs_queue.${queue}.id}`,
      policy: allowing(undefined, queueArn, topicArn),
    })
    add(resource, 'aws_sns_topic_subscription', queue, {
      topic_arn: topicArn,
      protocol: 'sqs',
      endpoint: queueArn,
      raw_message_delivery: true,
      ...(policy === undefined ? {} : { filter_policy: literal(policy) }),
      // What is published to a queue before its policy counts is lost.
      depends_on: [`aws_sqs_queue_policy.${queue}`],
    })
  }
  return Object.keys(data).length === 0 ? { resource } : { data, resource }
}

/** Over SQS alone. A queue that others receive from is looked up, and not made. */
export const terraformOfQueues = (names: Names, fifo: boolean, { publishes, receives }: Needs): Terraform => {
  const data: Blocks = {}
  const resource: Blocks = {}
  for (const { context } of publishes) add(data, 'aws_sqs_queue', labelOf(context), { name: names.queue(context) })
  for (const { channel } of receives) {
    const { context } = channel
    const labels = { queue: labelOf(context), refused: labelOf(context, '', 'refused') }
    addQueues(resource, labels, { name: names.queue(context), refused: names.refused(context) }, fifo)
  }
  return Object.keys(data).length === 0 ? { resource } : { data, resource }
}

const addQueues = (
  resource: Blocks,
  labels: { readonly queue: string; readonly refused: string },
  { name, refused }: { readonly name: string; readonly refused: string },
  fifo: boolean,
): void => {
  add(resource, 'aws_sqs_queue', labels.refused, { name: refused, ...argumentsOf(fifo) })
  add(resource, 'aws_sqs_queue', labels.queue, {
    name,
    ...argumentsOf(fifo),
    redrive_policy: redriveTo(`\${aws_sqs_queue.${labels.refused}.arn}`),
  })
}

type Blocks = { [type: string]: { [label: string]: TerraformBlocks[string][string] } }

const add = (blocks: Blocks, type: string, label: string, block: TerraformBlocks[string][string]): void => {
  blocks[type] = { ...blocks[type], [label]: block }
}

/** A text in which Terraform sees no template. */
const literal = (text: string): string => text.replaceAll(/[$%](?=\{)/g, '$&$&')

/** Names of contexts have no hyphen, so that no two share a label. */
const labelOf = (...parts: readonly string[]): string => ['pabal', ...parts].join('-')

const nameInTerraform: Readonly<Record<string, string>> = {
  FifoQueue: 'fifo_queue',
  DeduplicationScope: 'deduplication_scope',
  FifoThroughputLimit: 'fifo_throughput_limit',
  MessageRetentionPeriod: 'message_retention_seconds',
}

const argumentsOf = (fifo: boolean): Readonly<Record<string, unknown>> =>
  Object.fromEntries(
    Object.entries(queueAttributes(fifo)).map(([name, value]) => [
      nameInTerraform[name]!,
      value === 'true' || /^\d+$/.test(value) ? (JSON.parse(value) as unknown) : value,
    ]),
  )
