/** What a subscriber has refused: a queue of copies, each with the reason, and of what the broker itself has set aside there. */

import { createHash } from 'node:crypto'
import type { Environment } from '../../core/environment.ts'
import type { OpenTransport, Refused } from '../transport.ts'
import type { RabbitConnection, RabbitMessage, RabbitProperties } from './driver.ts'
import { faultOf, unreachable } from './fault.ts'
import type { Connected, Link } from './link.ts'
import { dated, incoming } from './message.ts'
import { looked } from './topology.ts'

export interface RefusedMessage {
  readonly message: RabbitMessage
  readonly reason: Error
}

const reasonHeader = 'pabal-refused'
/** The broker's own account of how it came to move a message. */
const deathHeader = 'x-death'
/** Characters of a reason, which may quote what came. */
const reasonLength = 1_000

/** Puts copies where people find them. @throws where it is not known of all that they are there */
export const keepRefused = async (link: Link, exchange: string, refused: readonly RefusedMessage[]): Promise<void> => {
  const what = `keeping what was refused in '${exchange}'`
  const connected = await link.connected()
  if (connected.blocked !== undefined) throw unreachable(what, new Error(connected.blocked))
  try {
    await connected.answered(what, copyAll(connected.connection, exchange, refused))
  } catch (error) {
    throw faultOf(what, error)
  }
}

const copyAll = async (
  connection: RabbitConnection,
  exchange: string,
  refused: readonly RefusedMessage[],
): Promise<void> => {
  const channel = await connection.createConfirmChannel()
  const failed = Promise.withResolvers<never>()
  channel.on('error', failed.reject)
  channel.on('return', () => failed.reject(new Error('no queue is bound to that exchange')))
  const confirmed = refused.map(
    ({ message, reason }) =>
      new Promise<void>((resolve, reject) =>
        channel.publish(exchange, message.fields.routingKey, message.content, copied(message, reason), (error) =>
          error === null ? resolve() : reject(new Error('it does not take them', { cause: error })),
        ),
      ),
  )
  try {
    await Promise.race([Promise.all(confirmed), failed.promise])
  } finally {
    try {
      await channel.close()
    } catch {
      // The broker has ended it already, since something was wrong.
    }
  }
}

const copied = ({ properties }: RabbitMessage, reason: Error): RabbitProperties => {
  const headers = { ...properties.headers, [reasonHeader]: reason.message.slice(0, reasonLength) }
  return {
    ...properties,
    // Of a death before: this one died by the subscriber.
    headers: { ...headers, [deathHeader]: undefined },
    persistent: true,
    mandatory: true,
    // The copy waits for people; and is published by this user, which the broker checks.
    expiration: undefined,
    userId: undefined,
  } as RabbitProperties
}

export interface RefusedPlace {
  readonly connected: Connected
  readonly queue: string
  /** Messages that are in hand, and so the most that stays of what is shown at once. */
  readonly prefetch: number
  readonly environment: Environment
}

/** Between two answers of the broker, of which the second finds that nothing more is brought: a node may hear of it later than others. */
const quietMs = 100

/**
 * Shows what is in the queue, the oldest first; what `judge` answers true for is acknowledged. The rest is the queue's again when the
 * channel ends, in its order: what one consumer had; messages that are got one by one lose theirs. It goes behind what was given back
 * before, so all of that is taken in hand, whatever the limit.
 */
export const judgeRefused = async (
  { connected, queue, prefetch, environment }: RefusedPlace,
  limit: number,
  judge: Parameters<NonNullable<OpenTransport['refused']>>[3],
): Promise<void> => {
  const asked = async <T>(ask: () => Promise<T>): Promise<T> => {
    const what = `looking at what was refused in '${queue}'`
    try {
      return await connected.answered(what, ask())
    } catch (error) {
      throw faultOf(what, error)
    }
  }
  const channel = await asked(() => connected.connection.createChannel())
  channel.on('error', () => undefined) // what was asked fails by it
  const count = () => asked(() => channel.checkQueue(queue))
  if ((await looked(count)) === undefined) return
  const brought: RabbitMessage[] = []
  const next = async (): Promise<RabbitMessage | undefined> => {
    if (brought.length === 0) {
      await count()
      await environment.sleep(quietMs)
      await count()
    }
    return brought.shift()
  }
  try {
    await asked(async () => {
      await channel.prefetch(prefetch)
      await channel.consume(queue, (message) => message !== null && brought.push(message))
    })
    for (let shown = 0; shown < limit; shown++) {
      const message = await next()
      if (message === undefined) break
      if (await judge(asRefused(message))) await asked(async () => channel.ack(message, false))
    }
  } catch (error) {
    await asked(() => channel.close()).catch(() => undefined)
    throw error
  }
  await asked(() => channel.close())
}

const asRefused = (message: RabbitMessage): Refused => {
  const { content, properties } = message
  const { [reasonHeader]: _, ...headers } = properties.headers ?? {}
  return {
    id:
      typeof properties.messageId === 'string'
        ? properties.messageId
        : createHash('sha256').update(content).digest('hex'),
    reason: reasonIn(properties),
    incoming: incoming({ ...message, properties: { ...properties, headers } }),
    body: content.length === 0 ? null : content,
  }
}

const reasonIn = ({ headers = {} }: RabbitMessage['properties']): string | undefined => {
  const { [deathHeader]: deaths, [reasonHeader]: reason } = headers
  if (!Array.isArray(deaths)) return typeof reason === 'string' ? reason : undefined
  const [last] = deaths as readonly { readonly reason?: unknown; readonly time?: unknown }[]
  if (last?.reason !== 'rejected') return undefined
  const time = dated(last.time)
  return `it was refused; why is in the warnings${time instanceof Date ? ` of ${time.toISOString()}` : ''}`
}
