/** Clients of the emulated SNS and SQS, destroyed when the test ends. */

import { SNS } from '@aws-sdk/client-sns'
import { SQS } from '@aws-sdk/client-sqs'

export interface AwsClients extends Disposable {
  readonly sns: SNS
  readonly sqs: SQS
}

/** Any credentials will do. */
export const awsClients = (endpoint: string): AwsClients => {
  const settings = {
    endpoint,
    region: 'eu-west-1',
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
  }
  const [sns, sqs] = [new SNS(settings), new SQS(settings)]
  return {
    sns,
    sqs,
    [Symbol.dispose]: () => {
      sns.destroy()
      sqs.destroy()
    },
  }
}
