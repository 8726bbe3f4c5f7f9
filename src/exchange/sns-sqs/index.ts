/** `pabal/sns-sqs`: public events and messages over Amazon SNS and SQS, together or alone, by clients of the caller's. */

import { type CarriedOptions, type Exchange, over } from '../exchange.ts'
import { snsTransport, type SnsTransportOptions } from './sns.ts'
import { sqsTransport, type SqsTransportOptions } from './sqs.ts'
import { snsSqsTransport, type SnsSqsTransportOptions } from './transport.ts'

export type { SnsClient, SqsClient } from './driver.ts'
export { snsTransport, type SnsTransportOptions } from './sns.ts'
export { sqsTransport, type SqsTransportOptions } from './sqs.ts'
export { snsSqsTransport, type SnsSqsTransportOptions } from './transport.ts'

export type SnsSqsOptions = SnsSqsTransportOptions & CarriedOptions

/**
 * An exchange over SNS and SQS: `snsSqs({ sns: new SNS({ region }), sqs: new SQS({ region }), from: { ordering: [OrderPlacedV1] } })`.
 * At least once, in the order of each key with FIFO (the default); each event once and in order behind the receiver (P9).
 * @throws PABAL_COMPOSITION_INVALID
 */
export const snsSqs = (options: SnsSqsOptions): Exchange => over(snsSqsTransport(options), options)

export type SqsOptions = SqsTransportOptions & CarriedOptions

/**
 * An exchange over SQS alone, for messages to one context: `{ stream: 'sms', events: [SendSms], over: sqs({ sqs: new SQS({ region }) }) }` in
 * `routes`. Public events over it are refused when the app is composed. Otherwise it promises what `snsSqs` does.
 * @throws PABAL_COMPOSITION_INVALID
 */
export const sqs = (options: SqsOptions): Exchange => over(sqsTransport(options), options)

export type SnsOptions = SnsTransportOptions & Pick<CarriedOptions, 'name'>

/**
 * An exchange over SNS alone, to publish for others: functions, HTTP endpoints, queues that somebody else has subscribed to the topic.
 * Nothing is received over it. At least once, in the order of each key with FIFO (the default).
 * @throws PABAL_COMPOSITION_INVALID
 */
export const sns = (options: SnsOptions): Exchange => over(snsTransport(options), options)
