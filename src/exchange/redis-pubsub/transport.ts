/** The transport over Redis Pub/Sub: fast, kept nowhere. Who does not listen at the moment does not hear it. */

import { connector, type RedisSource } from '../redis-streams/client.ts'
import { Connection } from '../redis-streams/connection.ts'
import { faultInName } from '../redis-streams/names.ts'
import { sendable } from '../redis-streams/sendable.ts'
import type { Channel, OpenTransport, Outgoing, Published, Traits, Transport } from '../transport.ts'
import { type SubscriberClient, Subscription } from './subscription.ts'

export interface RedisPubSubOptions {
  /** As for `redisStreams`: a client of which connections are duplicated, or a function that makes one with the given settings. */
  readonly client: RedisSource<SubscriberClient>
  /** Before the name of every channel. Default none. */
  readonly prefix?: string
  /** Bytes of one event as JSON. Default 1,048,576. */
  readonly messageBytes?: number
  /** Milliseconds for an answer; then the connection is given up. Default 10,000. */
  readonly timeoutMs?: number
}

/**
 * The transport alone. At most once: what nobody hears is lost, and told as published. What is heard of a key is in order; every
 * process of a subscriber hears everything, and the receiver drops what another one was faster with.
 * @throws PABAL_COMPOSITION_INVALID
 */
export const redisPubSubTransport = ({
  client,
  prefix = '',
  messageBytes = 1_048_576,
  timeoutMs = 10_000,
}: RedisPubSubOptions): Transport => {
  const make = connector(client)
  const traits: Traits = { ordered: true, delivery: 'at-most-once', messageBytes }
  const channelOf = ({ context, name }: Channel): string => name ?? `${prefix}pabal.${context}`
  return {
    name: 'redis-pubsub',
    traits,
    faultInName,
    open: async ({ environment, warn }): Promise<OpenTransport> => {
      const connection = new Connection({ make, environment, timeoutMs, warn })
      try {
        await connection.command('PING', [])
      } catch (error) {
        connection.close()
        throw error
      }
      const receiving = new Set<Subscription>()
      return {
        publish: (channel, messages, signal) => publish(connection, channelOf(channel), messages, traits, signal),
        receive: async (channel, _subscriber, take) => {
          const subscription = await Subscription.open({
            make,
            channel: channelOf(channel),
            take,
            timeoutMs,
            environment,
            warn,
          })
          receiving.add(subscription)
          return subscription
        },
        [Symbol.asyncDispose]: async () => {
          await Promise.all([...receiving].map((each) => each[Symbol.asyncDispose]()))
          connection.close()
        },
      }
    },
  }
}

const publish = async (
  connection: Connection,
  channel: string,
  messages: readonly Outgoing[],
  traits: Traits,
  signal: AbortSignal,
): Promise<readonly Published[]> => {
  signal.throwIfAborted()
  const outcomes: Published[] = messages.map(() => undefined)
  const sent = sendable(messages, traits, outcomes)
  if (sent.length === 0) return outcomes
  const commands = sent.map(({ text }) => ['publish', channel, text])
  const { replies } = await connection.transaction(commands, { replicas: 0, ms: 0 }, signal)
  for (const reply of replies) if ('error' in reply) throw reply.error
  return outcomes
}
