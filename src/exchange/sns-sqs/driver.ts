/**
 * What the adapter needs of the clients of AWS, `SNS` of @aws-sdk/client-sns and `SQS` of @aws-sdk/client-sqs, version 3: the
 * caller builds them with region, credentials and endpoint, and keeps them.
 */

export interface RequestOptions {
  readonly abortSignal: AbortSignal
}

type Attributes = Record<string, string>

export interface MessageAttribute {
  DataType: string
  StringValue: string
}

export interface PublishEntry {
  Id: string
  Message: string
  MessageAttributes: Record<string, MessageAttribute>
  MessageGroupId?: string
  MessageDeduplicationId?: string
}

interface EntryDone {
  readonly Id?: string | undefined
}

export interface EntryFailed extends EntryDone {
  readonly Code?: string | undefined
  readonly Message?: string | undefined
  readonly SenderFault?: boolean | undefined
}

export interface BatchAnswer {
  readonly Successful?: readonly EntryDone[] | undefined
  readonly Failed?: readonly EntryFailed[] | undefined
}

export interface SnsClient {
  createTopic(
    input: { Name: string; Attributes: Attributes },
    options: RequestOptions,
  ): Promise<{ readonly TopicArn?: string | undefined }>
  getTopicAttributes(input: { TopicArn: string }, options: RequestOptions): Promise<unknown>
  listTopics(
    input: { NextToken?: string | undefined },
    options: RequestOptions,
  ): Promise<{
    readonly Topics?: readonly { readonly TopicArn?: string | undefined }[] | undefined
    readonly NextToken?: string | undefined
  }>
  subscribe(
    input: { TopicArn: string; Protocol: string; Endpoint: string; Attributes: Attributes },
    options: RequestOptions,
  ): Promise<unknown>
  listSubscriptionsByTopic(
    input: { TopicArn: string; NextToken?: string | undefined },
    options: RequestOptions,
  ): Promise<{
    readonly Subscriptions?:
      | readonly { readonly SubscriptionArn?: string | undefined; readonly Endpoint?: string | undefined }[]
      | undefined
    readonly NextToken?: string | undefined
  }>
  getSubscriptionAttributes(
    input: { SubscriptionArn: string },
    options: RequestOptions,
  ): Promise<{ readonly Attributes?: Attributes | undefined }>
  setSubscriptionAttributes(
    input: { SubscriptionArn: string; AttributeName: string; AttributeValue: string },
    options: RequestOptions,
  ): Promise<unknown>
  deleteTopic(input: { TopicArn: string }, options: RequestOptions): Promise<unknown>
  unsubscribe(input: { SubscriptionArn: string }, options: RequestOptions): Promise<unknown>
  publishBatch(
    input: { TopicArn: string; PublishBatchRequestEntries: PublishEntry[] },
    options: RequestOptions,
  ): Promise<BatchAnswer>
}

export interface ReceivedMessage {
  readonly MessageId?: string | undefined
  readonly ReceiptHandle?: string | undefined
  readonly Body?: string | undefined
  readonly Attributes?: { readonly SentTimestamp?: string | undefined } | undefined
  readonly MessageAttributes?:
    | Readonly<Record<string, { readonly DataType?: string | undefined; readonly StringValue?: string | undefined }>>
    | undefined
}

export interface SqsClient {
  getQueueUrl(
    input: { QueueName: string },
    options: RequestOptions,
  ): Promise<{ readonly QueueUrl?: string | undefined }>
  createQueue(
    input: { QueueName: string; Attributes: Attributes },
    options: RequestOptions,
  ): Promise<{ readonly QueueUrl?: string | undefined }>
  getQueueAttributes(
    input: { QueueUrl: string; AttributeNames: 'All'[] },
    options: RequestOptions,
  ): Promise<{ readonly Attributes?: Partial<Attributes> | undefined }>
  setQueueAttributes(input: { QueueUrl: string; Attributes: Attributes }, options: RequestOptions): Promise<unknown>
  deleteQueue(input: { QueueUrl: string }, options: RequestOptions): Promise<unknown>
  receiveMessage(
    input: {
      QueueUrl: string
      MaxNumberOfMessages: number
      WaitTimeSeconds: number
      VisibilityTimeout: number
      MessageAttributeNames: string[]
      MessageSystemAttributeNames: 'SentTimestamp'[]
      ReceiveRequestAttemptId?: string
    },
    options: RequestOptions,
  ): Promise<{ readonly Messages?: readonly ReceivedMessage[] | undefined }>
  deleteMessageBatch(
    input: { QueueUrl: string; Entries: { Id: string; ReceiptHandle: string }[] },
    options: RequestOptions,
  ): Promise<BatchAnswer>
  changeMessageVisibilityBatch(
    input: { QueueUrl: string; Entries: { Id: string; ReceiptHandle: string; VisibilityTimeout: number }[] },
    options: RequestOptions,
  ): Promise<BatchAnswer>
  sendMessageBatch(
    input: {
      QueueUrl: string
      Entries: {
        Id: string
        MessageBody: string
        MessageAttributes: Record<string, MessageAttribute>
        MessageGroupId?: string
        MessageDeduplicationId?: string
      }[]
    },
    options: RequestOptions,
  ): Promise<BatchAnswer>
  sendMessage(
    input: {
      QueueUrl: string
      MessageBody: string
      MessageAttributes: Record<string, MessageAttribute>
      MessageGroupId?: string
      MessageDeduplicationId?: string
    },
    options: RequestOptions,
  ): Promise<unknown>
}

/** Entries of one request, by the rules of AWS; the same for receiving. */
export const perRequest = 10
