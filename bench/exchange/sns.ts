/** SNS and SQS by the AWS SDK: of each batch eight requests of ten messages under way; four that receive, deleting ten at once. */

import { SNS } from '@aws-sdk/client-sns'
import { SQS } from '@aws-sdk/client-sqs'
import { toEntry } from '../../src/exchange/sns-sqs/message.ts'
import { snsSqsTransport } from '../../src/exchange/sns-sqs/transport.ts'
import { type Client, looping } from './client.ts'
import { context, subscriber } from './names.ts'

export const perRequest = 10
const underWay = 8
export const polls = 4

export const settingsFor = (endpoint: string) => ({
  endpoint,
  region: 'eu-west-1',
  credentials: { accessKeyId: 'bench', secretAccessKey: 'bench' },
})

export const sns = (endpoint: string): Client => {
  const settings = settingsFor(endpoint)
  const made = { sns: new SNS(settings), sqs: new SQS(settings) }
  return {
    transport: (prefix) => snsSqsTransport({ ...made, prefix: `${prefix}-`, waitMs: 1_000 }),
    publisher: async (prefix, messages) => {
      const { Topics = [] } = await made.sns.listTopics({})
      const TopicArn = Topics.map((topic) => topic.TopicArn!).find((arn) =>
        arn.endsWith(`:${prefix}-pabal-${context}.fifo`),
      )!
      const all = messages.map((outgoing) => toEntry(outgoing, true))
      const lane = (group: string): number => Buffer.from(group).reduce((sum, byte) => sum + byte, 0) % underWay
      return {
        publish: async (from, count) => {
          const lanes = Object.values(
            Object.groupBy(all.slice(from, from + count), (entry) => lane(entry.MessageGroupId!)),
          )
          const send = async (entries: typeof all): Promise<void> => {
            for (let at = 0; at < entries.length; at += perRequest) {
              const PublishBatchRequestEntries = entries
                .slice(at, at + perRequest)
                .map((entry, index) => ({ Id: String(index), ...entry }))
              const { Failed = [] } = await made.sns.publishBatch({ TopicArn, PublishBatchRequestEntries })
              if (Failed.length > 0) throw new Error(Failed[0]!.Message)
            }
          }
          await Promise.all(lanes.map((entries) => send(entries!)))
        },
        [Symbol.asyncDispose]: async () => {},
      }
    },
    consume: async (prefix, take) => {
      const { QueueUrl } = await made.sqs.getQueueUrl({ QueueName: `${prefix}-pabal-${context}-${subscriber}.fifo` })
      const loops = Array.from({ length: polls }, () =>
        looping(async () => {
          const { Messages = [] } = await made.sqs.receiveMessage({
            QueueUrl,
            MaxNumberOfMessages: perRequest,
            WaitTimeSeconds: 1,
          })
          if (Messages.length === 0) return
          await take(Messages.map(({ Body }) => Body!))
          const Entries = Messages.map(({ ReceiptHandle }, at) => ({ Id: String(at), ReceiptHandle: ReceiptHandle! }))
          await made.sqs.deleteMessageBatch({ QueueUrl, Entries })
        }),
      )
      return {
        [Symbol.asyncDispose]: async () => {
          await Promise.all(loops.map((loop) => loop[Symbol.asyncDispose]()))
        },
      }
    },
  }
}
