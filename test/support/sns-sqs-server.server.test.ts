import { CreateTopicCommand, PublishCommand, SNSClient, SubscribeCommand } from '@aws-sdk/client-sns'
import { CreateQueueCommand, GetQueueAttributesCommand, ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs'
import { describe, test } from 'vitest'
import { goesWithItsProcess, keepsWhatWasConfirmed, type Words, withinMs } from './broker-suite.ts'
import { titled } from './require-server.ts'
import { missingSnsSqs, startSnsSqs } from '../../tools/servers/sns-sqs.ts'

const settingsOf = (endpoint: string) => ({
  endpoint,
  region: 'eu-west-1',
  credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
})

/** What AWS makes once, it gives again. */
const queueOf = async (sqs: SQSClient): Promise<{ url: string; arn: string }> => {
  const { QueueUrl } = await sqs.send(new CreateQueueCommand({ QueueName: 'words' }))
  const asked = new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ['QueueArn'] })
  return { url: QueueUrl!, arn: (await sqs.send(asked)).Attributes!['QueueArn']! }
}

const words: Words = {
  write: async ({ url }, word) => {
    const [sqs, sns] = [new SQSClient(settingsOf(url)), new SNSClient(settingsOf(url))]
    const { arn } = await queueOf(sqs)
    const { TopicArn } = await sns.send(new CreateTopicCommand({ Name: 'words' }))
    const raw = { RawMessageDelivery: 'true' }
    await sns.send(new SubscribeCommand({ TopicArn, Protocol: 'sqs', Endpoint: arn, Attributes: raw }))
    await sns.send(new PublishCommand({ TopicArn, Message: word }))
    sqs.destroy()
    sns.destroy()
  },
  read: async ({ url }) => {
    const sqs = new SQSClient(settingsOf(url))
    const { url: QueueUrl } = await queueOf(sqs)
    const all = new ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: 10, VisibilityTimeout: 0 })
    const { Messages = [] } = await sqs.send(all)
    sqs.destroy()
    return Messages.map(({ Body }) => Body!)
  },
}

const missing = missingSnsSqs()
describe.skipIf(missing)(titled('an emulated SNS and SQS', missing), () => {
  test('two at once keep what was confirmed to each, and leave no process', { timeout: withinMs }, () =>
    keepsWhatWasConfirmed(startSnsSqs, words),
  )
  test('it is gone with the process that started it, even if that is killed', { timeout: withinMs }, () =>
    goesWithItsProcess('sns-sqs.ts', 'startSnsSqs'),
  )
})
