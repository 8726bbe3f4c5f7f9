/** Transports over one emulated SNS and SQS, with names of their own for each test; what they make is looked at by other clients. */

import { expect, onTestFinished } from 'vitest'
import { systemEnvironment } from '../../src/core/environment.ts'
import { defaultLimits } from '../../src/core/limits.ts'
import {
  snsSqsTransport,
  type SnsSqsTransportOptions,
  snsTransport,
  sqsTransport,
} from '../../src/exchange/sns-sqs/index.ts'
import type {
  Channel,
  Incoming,
  OpenTransport,
  Outgoing,
  Receiving,
  Selection,
  Taken,
  Transport,
} from '../../src/exchange/transport.ts'
import { type AwsClients, awsClients } from './aws-clients.ts'

/** Short, so that tests do not wait for what is long on purpose. */
export const quick = { waitMs: 1_000, visibilityMs: 3_000, requestTimeoutMs: 3_000 }

let prefixes = 0
/** Names that no other test uses. */
export const newPrefix = (): string => `t${process.pid}-${++prefixes}-`

export const message = (key: string, n: number): Outgoing => {
  const id = systemEnvironment.id()
  const attributes = new Map<string, string>(
    Object.entries({
      specversion: '1.0',
      id,
      source: 'urn:pabal:ordering',
      type: 'shop.order-placed.v1',
      subject: key,
    }),
  )
  return { key, id, event: { attributes, data: `{"n":${n}}` } }
}
export const messages = (key: string, from: number, to: number): Outgoing[] =>
  Array.from({ length: to - from + 1 }, (_, i) => message(key, from + i))

export interface Bench {
  readonly aws: AwsClients
  readonly prefix: string
  readonly warnings: string[]
  readonly open: (options?: Partial<SnsSqsTransportOptions>) => Promise<OpenTransport>
  /** Over SQS alone, and over SNS alone. */
  readonly openSqs: (options?: Partial<SnsSqsTransportOptions>) => Promise<OpenTransport>
  readonly openSns: (options?: Partial<SnsSqsTransportOptions>) => Promise<OpenTransport>
  readonly send: (open: OpenTransport, all: readonly Outgoing[]) => Promise<void>
  readonly urlOf: (name: string) => Promise<string>
  readonly arnOf: (topic: string) => string
  readonly attributesOf: (name: string) => Promise<Record<string, string>>
}

export const ordering = { context: 'ordering' }

/** `endpoint`: where the transport believes that the broker is. */
export const bench = (url: string, endpoint = url): Bench => {
  const prefix = newPrefix()
  const aws = awsClients(url)
  const clients = awsClients(endpoint)
  const warnings: string[] = []
  onTestFinished(() => {
    aws[Symbol.dispose]()
    clients[Symbol.dispose]()
  })
  const urlOf = async (name: string): Promise<string> =>
    (await aws.sqs.getQueueUrl({ QueueName: `${prefix}${name}` })).QueueUrl!
  const opening =
    (transport: (options: SnsSqsTransportOptions) => Transport): Bench['open'] =>
    async (options = {}) => {
      const open = await transport({ sns: clients.sns, sqs: clients.sqs, prefix, ...quick, ...options }).open({
        environment: systemEnvironment,
        warn: (what, error) => warnings.push(`${what}: ${String(error)}`),
      })
      onTestFinished(() => open[Symbol.asyncDispose]())
      return open
    }
  return {
    aws,
    prefix,
    warnings,
    open: opening(snsSqsTransport),
    openSqs: opening(sqsTransport),
    openSns: opening(snsTransport),
    send: async (open, all) => {
      const outcomes = await open.publish(ordering, all, AbortSignal.timeout(20_000))
      expect(outcomes.filter((outcome) => outcome !== undefined)).toEqual([])
    },
    urlOf,
    arnOf: (topic) => `arn:aws:sns:eu-west-1:000000000000:${prefix}${topic}`,
    attributesOf: async (name) =>
      (await aws.sqs.getQueueAttributes({ QueueUrl: await urlOf(name), AttributeNames: ['All'] })).Attributes!,
  }
}

export interface Taking {
  readonly receiving: Receiving
  readonly keys: string[]
  readonly numbers: number[]
}
type Judge = (numbers: readonly number[]) => Promise<unknown>

/** Takes whatever it can read; `before` each batch. */
export const taking = async (
  open: OpenTransport,
  before: Judge = async () => {},
  subscriber = 'shipping',
  selection?: Selection,
  channel: Channel = ordering,
): Promise<Taking> => {
  const [keys, numbers]: [string[], number[]] = [[], []]
  const take = async (batch: readonly Incoming[]): Promise<readonly Taken[]> => {
    const events: { readonly key: string; readonly n: number }[] = []
    const taken = batch.map((incoming): Taken => {
      try {
        const { attributes, data } = incoming.decode(defaultLimits)
        const { n } = JSON.parse(String(data)) as { n: number }
        events.push({ key: String(attributes.get('subject')), n })
        return undefined
      } catch (error) {
        return { refused: error as Error }
      }
    })
    await before(events.map(({ n }) => n))
    for (const { key, n } of events) {
      keys.push(key)
      numbers.push(n)
    }
    return taken
  }
  return { receiving: await open.receive(channel, subscriber, take, selection), keys, numbers }
}

export const names = [
  'pabal-ordering.fifo',
  'pabal-ordering-shipping.fifo',
  'pabal-ordering-shipping-refused.fifo',
] as const
