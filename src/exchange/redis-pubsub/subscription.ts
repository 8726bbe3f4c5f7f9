/** One subscription: a connection that listens, made anew when it is lost, and what it heard, taken batch by batch. */

import { backoffMs, type Environment } from '../../core/environment.ts'
import { fromJson } from '../../event/cloudevents/structured.ts'
import { labelOf, type RedisClient } from '../redis-streams/client.ts'
import { explained, unreachable } from '../redis-streams/failure.ts'
import type { Incoming, Receiving, Take } from '../transport.ts'

const retryFirstMs = 50
const retryMaxMs = 2_000
/** Between two questions whether the connection is well: a subscriber that hears nothing could be deaf. */
const pingEveryMs = 5_000
const perBatch = 1_000
/** Messages that wait for a subscriber that is slower than its producers; what comes beyond is lost. */
const heardMax = 10_000

export interface SubscriberClient extends RedisClient {
  subscribe(channel: string): Promise<unknown>
  ping(): Promise<unknown>
  on(event: 'error' | 'end', listener: (error?: Error) => void): unknown
  on(event: 'messageBuffer', listener: (channel: Buffer, message: Buffer) => void): unknown
}

export interface SubscriptionParts {
  readonly make: () => SubscriberClient
  readonly channel: string
  readonly take: Take
  readonly timeoutMs: number
  readonly environment: Environment
  readonly warn: (what: string, error: unknown) => void
}

export class Subscription implements Receiving {
  readonly #parts: SubscriptionParts
  readonly #ended = new AbortController()
  #heard: Buffer[] = []
  #lost = 0
  #news: (() => void) | undefined
  #running: Promise<unknown> = Promise.resolve()

  private constructor(parts: SubscriptionParts) {
    this.#parts = parts
  }

  /** Resolves when it listens. @throws PABAL_TRANSPORT_UNREACHABLE, PABAL_TRANSPORT_INVALID */
  static async open(parts: SubscriptionParts): Promise<Subscription> {
    const subscription = new Subscription(parts)
    const first = await subscription.#listen()
    subscription.#running = Promise.all([subscription.#keep(first), subscription.#takeAll()])
    return subscription
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended.abort()
    this.#news?.()
    await this.#running
  }

  async #listen(): Promise<SubscriberClient> {
    const { make, channel } = this.#parts
    const client = make()
    let reason: unknown
    client.on('error', (error) => (reason ??= error))
    client.on('messageBuffer', (_channel, message) => this.#hear(message))
    try {
      await this.#within(client.connect())
      await this.#within(client.subscribe(channel))
      return client
    } catch (error) {
      client.disconnect()
      throw explained(reason ?? error, labelOf(client))
    }
  }

  #hear(message: Buffer): void {
    if (this.#heard.length < heardMax) this.#heard.push(message)
    else this.#lost++
    this.#news?.()
  }

  async #keep(first: SubscriberClient): Promise<void> {
    const { environment, warn } = this.#parts
    const { signal } = this.#ended
    let failures = 0
    for (let client: SubscriberClient | undefined = first; !signal.aborted; )
      try {
        client ??= await this.#listen()
        failures = 0
        await this.#untilLost(client)
      } catch (error) {
        if (failures++ === 0) warn(`the subscription to '${this.#parts.channel}'`, error)
        await environment.sleep(backoffMs(failures, retryFirstMs, retryMaxMs, environment.random), signal)
      } finally {
        client?.disconnect()
        client = undefined
      }
  }

  async #untilLost(client: SubscriberClient): Promise<void> {
    const { environment } = this.#parts
    const gone = new AbortController()
    client.on('end', () => gone.abort())
    while (!this.#ended.signal.aborted) {
      await environment.sleep(pingEveryMs, AbortSignal.any([gone.signal, this.#ended.signal]))
      if (this.#ended.signal.aborted) return
      if (gone.signal.aborted) throw unreachable(`${labelOf(client)}: the connection was lost`)
      await this.#within(client.ping())
    }
  }

  async #takeAll(): Promise<void> {
    const { take, channel, warn } = this.#parts
    while (!this.#ended.signal.aborted) {
      if (this.#heard.length === 0) {
        await new Promise<void>((resolve) => (this.#news = resolve))
        continue
      }
      if (this.#lost > 0) warn(`the subscription to '${channel}'`, new Error(`${this.#lost} messages came too fast`))
      this.#lost = 0
      const batch = this.#heard.splice(0, perBatch)
      try {
        const taken = await take(batch.map(incoming))
        for (const each of taken) if (each !== undefined) warn(`a message of '${channel}' was refused`, each.refused)
      } catch (error) {
        warn(`${batch.length} messages of '${channel}' were not taken, and are lost`, error)
      }
    }
  }

  async #within<T>(asked: Promise<T>): Promise<T> {
    const { environment, timeoutMs } = this.#parts
    const answered = new AbortController()
    const late = async (): Promise<never> => {
      await environment.sleep(timeoutMs, AbortSignal.any([answered.signal, this.#ended.signal]))
      throw new Error(`no answer within ${timeoutMs} ms`)
    }
    try {
      return await Promise.race([asked, late()])
    } finally {
      answered.abort()
    }
  }
}

const incoming = (message: Buffer): Incoming => ({ decode: (limits) => fromJson(message, limits) })
