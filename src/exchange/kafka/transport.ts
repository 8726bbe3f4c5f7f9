/**
 * The transport over Kafka. Ordered: a key is always in the same partition, and one process at a time has that. What breaks it,
 * for the broker and not for the receiver behind it: partitions that are added later, as keys then move; and a rebalance, after
 * which what was not yet committed comes again.
 */

import {
  type Channel,
  type Needs,
  type OpenTransport,
  type Outgoing,
  type Published,
  type Receiving,
  type Take,
  tooLarge,
  type Traits,
  type Transport,
  type TransportOptions,
} from '../transport.ts'
import type { Resource } from '../resource.ts'
import type { KafkaAdmin } from './client.ts'
import { transportError } from './errors.ts'
import { Member } from './member.ts'
import { Publisher } from './publisher.ts'
import { Reader } from './reader.ts'
import { Reception } from './reception.ts'
import { bytesOf, type Read, toRecord, type Written } from './record.ts'
import { judgeRefused, refusedRecord } from './refused.ts'
import { faultInName, groupOf, type Settings, topicOf } from './settings.ts'
import { eventsOf, type Needed, refusedOf, Topics } from './topics.ts'
import { unlessAborted } from './unless-aborted.ts'

export const kafkaTransport = (settings: Settings): Transport => {
  const traits: Traits = { ordered: true, delivery: 'at-least-once', messageBytes: settings.messageBytes }
  return {
    name: 'kafka',
    traits,
    faultInName,
    open: async (options) => {
      const { client, connection, requestTimeoutMs: requestTimeout } = settings
      const admin = new client.Admin({ ...connection, requestTimeout, retries: 5, retryDelay: 200 } as never)
      try {
        await admin.metadata({ topics: [], retries: 1 })
      } catch (error) {
        await admin.close()
        throw transportError(error, `Kafka at ${connection.bootstrapBrokers.join(', ')}`)
      }
      return new OpenKafka(settings, traits, admin, options)
    },
  }
}

class OpenKafka implements OpenTransport {
  readonly #settings: Settings
  readonly #traits: Traits
  readonly #admin: KafkaAdmin
  readonly #options: TransportOptions
  readonly #topics: Topics
  readonly #publishers = new Map<string, Publisher>()
  readonly #receptions = new Set<Receiving>()

  constructor(settings: Settings, traits: Traits, admin: KafkaAdmin, options: TransportOptions) {
    this.#settings = settings
    this.#traits = traits
    this.#admin = admin
    this.#options = options
    this.#topics = new Topics(admin, settings, options.environment)
  }

  async publish(channel: Channel, messages: readonly Outgoing[], signal: AbortSignal): Promise<readonly Published[]> {
    const outcomes: Published[] = messages.map(() => undefined)
    const fit: { readonly at: number; readonly record: Written }[] = []
    for (const [at, message] of messages.entries()) {
      const written = this.#written(message)
      if ('error' in written) outcomes[at] = written
      else fit.push({ at, record: written })
    }
    if (fit.length === 0) return outcomes
    const published = await this.#write(
      eventsOf(this.#settings, channel),
      fit.map(({ record }) => record),
      signal,
    )
    for (const [n, { at }] of fit.entries()) outcomes[at] = published[n]
    return outcomes
  }

  async #write(topic: Needed, records: readonly Written[], signal: AbortSignal): Promise<readonly Published[]> {
    signal.throwIfAborted()
    await unlessAborted(signal, this.#topics.ensure(topic))
    try {
      return await this.#publisher(topic.name).publish(records, signal)
    } catch (error) {
      this.#topics.forget(topic.name)
      throw error
    }
  }

  async #writeAll(topic: Needed, records: readonly Written[]): Promise<void> {
    const outcomes = await this.#write(topic, records, AbortSignal.timeout(this.#settings.requestTimeoutMs * 2))
    const failed = outcomes.find((outcome) => outcome !== undefined)
    if (failed !== undefined) throw failed.error
  }

  #written(message: Outgoing): Written | { readonly error: unknown } {
    try {
      const record = toRecord(message)
      const bytes = bytesOf(record)
      return bytes > this.#traits.messageBytes ? tooLarge(message, bytes, this.#traits) : record
    } catch (error) {
      return { error }
    }
  }

  async receive(channel: Channel, subscriber: string, take: Take): Promise<Receiving> {
    const settings = this.#settings
    const topic = topicOf(settings, channel)
    const group = groupOf(settings, channel, subscriber)
    const forRefused = refusedOf(settings, channel, subscriber)
    await this.#topics.ensure(eventsOf(settings, channel), forRefused)
    await this.#topics.prepareGroup(group, topic, settings.fromEnd)
    const reception = new Reception({
      ...this.#options,
      topic,
      group,
      member: new Member(topic, group, settings),
      reader: new Reader(topic, group, settings),
      take,
      setAside: (refused) => this.#setAside(topic, forRefused, refused),
    })
    this.#receptions.add(reception)
    return {
      [Symbol.asyncDispose]: async () => {
        await reception[Symbol.asyncDispose]()
        this.#receptions.delete(reception)
      },
    }
  }

  async #setAside(
    topic: string,
    into: Needed,
    refused: readonly { readonly read: Read; readonly reason: Error }[],
  ): Promise<void> {
    const { messageBytes } = this.#settings
    await this.#writeAll(
      into,
      refused.map(({ read, reason }) => refusedRecord(read, topic, reason, messageBytes)),
    )
    for (const { read, reason } of refused)
      this.#options.warn(
        `record ${read.offset} of ${topic}/${read.partition} was refused, and is in ${into.name}`,
        reason,
      )
  }

  async refused(
    ...[channel, subscriber, limit, judge]: Parameters<NonNullable<OpenTransport['refused']>>
  ): Promise<void> {
    const settings = this.#settings
    const kept = refusedOf(settings, channel, subscriber)
    const { name: topic } = kept
    const reader = new Reader(topic, groupOf(settings, channel, subscriber), settings)
    const place = {
      topic,
      reader,
      span: () => this.#topics.spanOf(topic),
      cut: (offset: bigint) => this.#topics.cut(topic, offset),
      write: (record: Written) => this.#writeAll(kept, [record]),
    }
    try {
      await judgeRefused(place, limit, judge)
    } finally {
      await reader.close()
    }
  }

  resources(needs: Needs): readonly Resource[] {
    return this.#topics.resources(needs)
  }

  #publisher(topic: string): Publisher {
    const { client, connection, messageBytes, requestTimeoutMs: requestTimeout } = this.#settings
    const known = this.#publishers.get(topic)
    if (known !== undefined) return known
    // With less than two retries the client takes it for granted that they are to be endless.
    const options = { ...connection, idempotent: true, retries: 2, retryDelay: 200, requestTimeout }
    const publisher = new Publisher(topic, messageBytes, () => new client.Producer({ ...options } as never))
    this.#publishers.set(topic, publisher)
    return publisher
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#receptions].map((each) => each[Symbol.asyncDispose]()))
    await Promise.all([...this.#publishers.values()].map((publisher) => publisher.close()))
    await this.#admin.close()
  }
}
