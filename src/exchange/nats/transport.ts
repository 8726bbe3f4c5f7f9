/** The transport: a stream of JetStream for each channel, a durable pull consumer of it for each subscriber. */

import type { Resource } from '../resource.ts'
import type {
  Channel,
  Needs,
  OpenTransport,
  Outgoing,
  Published,
  Receiving,
  Take,
  Traits,
  Transport,
} from '../transport.ts'
import type { TransportOptions } from '../transport.ts'
import type { MessageHeaders, NatsClient } from './driver.ts'
import { wrong } from './errors.ts'
import { type Connected, Link, unlessAborted } from './link.ts'
import { channelNames, faultInName, subjectOf, subscriberNames } from './names.ts'
import type { Settings } from './options.ts'
import { provideChannel, resourcesOf } from './provision.ts'
import { publishBatch } from './publishing.ts'
import { Reception } from './receiving.ts'
import { judgeRefused } from './refused.ts'

export const natsTransport = (client: NatsClient, settings: Settings): Transport => {
  const { messageBytes } = settings
  const traits: Traits = { ordered: true, delivery: 'at-least-once', messageBytes }
  return {
    name: 'nats',
    traits,
    faultInName,
    open: async (options) => {
      const link = new Link(client, options)
      try {
        checkPayload((await link.live()).maxPayload, messageBytes)
      } catch (error) {
        await link.close()
        throw error
      }
      return new OpenNats({ link, settings, traits, options, headers: () => client.headers() })
    },
  }
}

const checkPayload = (carried: number | undefined, messageBytes: number): void => {
  if (carried !== undefined && carried < messageBytes)
    throw wrong(
      `the server carries ${carried} bytes (max_payload), messageBytes is ${messageBytes}: raise the one or lower the other`,
    )
}

interface Parts {
  readonly link: Link
  readonly settings: Settings
  readonly traits: Traits
  readonly options: TransportOptions
  readonly headers: () => MessageHeaders
}

class OpenNats implements OpenTransport {
  readonly #parts: Parts
  /** Streams that are there, as far as is known. */
  readonly #provided = new Map<string, Promise<void>>()
  readonly #receptions = new Set<Receiving>()

  constructor(parts: Parts) {
    this.#parts = parts
  }

  async publish(channel: Channel, messages: readonly Outgoing[], signal: AbortSignal): Promise<readonly Published[]> {
    const { link, settings, traits, headers } = this.#parts
    const { stream } = channelNames(settings.prefix, channel)
    signal.throwIfAborted()
    const connected = await unlessAborted(link.live(), signal)
    await unlessAborted(this.#provide(connected, channel), AbortSignal.any([signal, connected.lost]))
    return publishBatch(
      {
        connected,
        headers,
        stream,
        subjectOf: (type) => subjectOf(settings.prefix, channel, type),
        traits,
        timeoutMs: settings.publishTimeoutMs,
        onMissing: () => this.#provided.delete(stream),
      },
      messages,
      signal,
    )
  }

  #provide({ manager }: Connected, channel: Channel): Promise<void> {
    const { settings } = this.#parts
    const { stream } = channelNames(settings.prefix, channel)
    const known = this.#provided.get(stream)
    if (known !== undefined) return known
    const providing = provideChannel(manager, channel, settings)
    this.#provided.set(stream, providing)
    providing.catch(() => this.#provided.delete(stream))
    return providing
  }

  async refused(
    ...[channel, subscriber, limit, judge]: Parameters<NonNullable<OpenTransport['refused']>>
  ): Promise<void> {
    const { link, settings } = this.#parts
    const { manager } = await link.live()
    await judgeRefused(manager, subscriberNames(settings.prefix, channel, subscriber).refused, limit, judge)
  }

  resources(needs: Needs): readonly Resource[] {
    const { link, settings } = this.#parts
    return resourcesOf(async () => (await link.live()).manager, needs, settings)
  }

  async receive(channel: Channel, subscriber: string, take: Take): Promise<Receiving> {
    const { link, settings, options, headers } = this.#parts
    const { prefix } = settings
    const reception = await Reception.begin({
      ...options,
      link,
      settings,
      headers,
      channel,
      subscriber,
      names: channelNames(prefix, channel),
      own: subscriberNames(prefix, channel, subscriber),
      take,
    })
    this.#receptions.add(reception)
    return reception
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#receptions].map((each) => each[Symbol.asyncDispose]()))
    await this.#parts.link.close()
  }
}
