/** What a user says of Kafka, with the defaults; checked before anything is connected. */

import { PabalError } from '../../core/errors.ts'
import type { CarriedOptions } from '../exchange.ts'
import type { Channel } from '../transport.ts'
import type { KafkaClient, KafkaConnection } from './client.ts'

export interface KafkaOptions extends CarriedOptions {
  /** `import * as client from '@platformatic/kafka'`, or an object with its `Admin`, `Producer` and `Consumer`. */
  readonly client: KafkaClient
  /** What the client's classes are made with: `{ bootstrapBrokers: ['kafka:9092'], tls: {}, sasl: { … } }`. */
  readonly connection: KafkaConnection
  /** Before the names of all topics and groups. Default none. */
  readonly prefix?: string
  /** Creates the topics that are missing. Default true; false: they must be there. */
  readonly provision?: boolean
  /** Of a channel's topic where it is created. Default 6, and the most processes of one subscriber that have work. */
  readonly partitions?: number
  /** Of topics that are created. Default: what the broker is set to. */
  readonly replicas?: number
  /** The most that one message may have, attributes included; no more than `max.message.bytes` of the topic. Default 1,048,576. */
  readonly messageBytes?: number
  /** How long a process may be silent before others get its partitions; Kafka allows 6,000 and more. Default 10,000. */
  readonly sessionTimeoutMs?: number
  /** How long an answer of a broker is waited for. Default 10,000. */
  readonly requestTimeoutMs?: number
}

export interface Settings {
  readonly client: KafkaClient
  readonly connection: KafkaConnection & { readonly clientId: string }
  readonly prefix: string
  readonly provision: boolean
  readonly partitions: number
  /** -1: the broker's default. */
  readonly replicas: number
  readonly messageBytes: number
  readonly sessionTimeoutMs: number
  readonly requestTimeoutMs: number
  /** A subscriber that comes for the first time begins behind what is there. */
  readonly fromEnd: boolean
}

const defaults = {
  prefix: '',
  provision: true,
  partitions: 6,
  replicas: -1,
  messageBytes: 1_048_576,
  sessionTimeoutMs: 10_000,
  requestTimeoutMs: 10_000,
} as const

/** @throws PABAL_COMPOSITION_INVALID */
export const settingsOf = ({ client, connection, startAt, ...options }: KafkaOptions): Settings => {
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
  const settings: Settings = {
    ...defaults,
    ...given,
    client,
    connection: { ...connection, clientId: connection.clientId ?? 'pabal' },
    fromEnd: startAt === 'now',
  }
  const { prefix, partitions, replicas, messageBytes, sessionTimeoutMs, requestTimeoutMs } = settings
  for (const name of ['Admin', 'Producer', 'Consumer'] as const)
    if (typeof (client as Partial<KafkaClient> | undefined)?.[name] !== 'function')
      throw wrong(`client has no class ${name}: give it what the package @platformatic/kafka exports`)
  if (!Array.isArray(connection.bootstrapBrokers) || connection.bootstrapBrokers.length === 0)
    throw wrong('connection.bootstrapBrokers names no broker')
  if (!/^[a-zA-Z0-9._-]{0,100}$/.test(prefix))
    throw wrong(`prefix ${JSON.stringify(prefix)}: names on Kafka are of letters, digits, '.', '_' and '-'`)
  for (const [name, value] of Object.entries({ partitions, messageBytes, sessionTimeoutMs, requestTimeoutMs }))
    if (!Number.isInteger(value) || value < 1) throw wrong(`${name} is ${value}, not a whole number from 1`)
  if (replicas !== -1 && (!Number.isInteger(replicas) || replicas < 1))
    throw wrong(`replicas is ${replicas}, not a whole number from 1`)
  return settings
}

const wrong = (detail: string): PabalError => new PabalError('PABAL_COMPOSITION_INVALID', `kafka(): ${detail}`)

const ownTopicOf = ({ prefix }: Settings, { context }: Channel): string => `${prefix}pabal.${context}`
export const topicOf = (settings: Settings, channel: Channel): string => channel.name ?? ownTopicOf(settings, channel)
/** Also the name of a subscriber's group. */
export const groupOf = (settings: Settings, channel: Channel, subscriber: string): string =>
  `${ownTopicOf(settings, channel)}.${subscriber}`
export const refusedTopicOf = (settings: Settings, channel: Channel, subscriber: string): string =>
  `${groupOf(settings, channel, subscriber)}.refused`

export const faultInName = (topic: string): string | undefined =>
  /^(?!\.{1,2}$)[a-zA-Z0-9._-]{1,249}$/.test(topic)
    ? undefined
    : "a topic's name is of 1 to 249 letters, digits, '.', '_' and '-'"
