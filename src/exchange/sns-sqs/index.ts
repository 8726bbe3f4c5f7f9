/** `pabal/sns-sqs`: public events over Amazon SNS and SQS, by clients of the caller's. */

import { type CarriedOptions, type Exchange, over } from '../exchange.ts'
import { snsSqsTransport, type SnsSqsTransportOptions } from './transport.ts'

export type { SnsClient, SqsClient } from './driver.ts'
export { snsSqsTransport, type SnsSqsTransportOptions } from './transport.ts'

export type SnsSqsOptions = SnsSqsTransportOptions & CarriedOptions

/**
 * An exchange over SNS and SQS: `snsSqs({ sns: new SNS({ region }), sqs: new SQS({ region }), from: { ordering: [OrderPlacedV1] } })`.
 * At least once, in the order of each key with FIFO (the default); each event once and in order behind the receiver (P9).
 * @throws PABAL_COMPOSITION_INVALID
 */
export const snsSqs = (options: SnsSqsOptions): Exchange => over(snsSqsTransport(options), options)
