/** Publishing to the topic of a channel: in requests of ten, several under way, each message with its own outcome. */

import type { Channel, Outgoing, Published, Traits } from '../transport.ts'
import { tooLarge } from '../transport.ts'
import { sendInBatches, type Waiting } from './batches.ts'
import type { Call } from './calls.ts'
import type { SnsClient } from './driver.ts'
import { invalidTransport, isMissing, isRefused } from './failures.ts'
import { bytesOf, type Entry, toEntry } from './message.ts'

export interface PublisherParts {
  readonly sns: SnsClient
  readonly call: Call
  readonly traits: Traits
  readonly fifo: boolean
  readonly inFlight: number
  /** Its ARN, made or found the first time. */
  readonly topicOf: (context: string) => Promise<string>
}

export class Publisher {
  readonly #parts: PublisherParts

  constructor(parts: PublisherParts) {
    this.#parts = parts
  }

  async publish(
    { context }: Channel,
    messages: readonly Outgoing[],
    signal: AbortSignal,
  ): Promise<readonly Published[]> {
    signal.throwIfAborted()
    const { topicOf, inFlight } = this.#parts
    const outcomes: Published[] = messages.map(() => undefined)
    const waiting = this.#prepare(messages, outcomes)
    if (waiting.length === 0) return outcomes
    const topic = await unlessAborted(topicOf(context), signal)
    const unknown = new Set<unknown>()
    await sendInBatches(waiting, outcomes, (entries) => this.#send(topic, entries, signal), {
      inFlight,
      isForOne: isRefused,
      isForAll: (error) => {
        if (isRefused(error)) return false
        unknown.add(error)
        return true
      },
    })
    if (outcomes.every((outcome) => unknown.has(outcome?.error))) throw outcomes[0]!.error
    return outcomes
  }

  /** Those that can be sent; the outcome of all others is known. */
  #prepare(messages: readonly Outgoing[], outcomes: Published[]): Waiting<Entry>[] {
    const { fifo, traits } = this.#parts
    const failed = new Map<string, Published>()
    const waiting: Waiting<Entry>[] = []
    for (const [index, outgoing] of messages.entries()) {
      const prepared = failed.get(outgoing.key) ?? prepare(outgoing, fifo, traits)
      if ('error' in prepared) {
        outcomes[index] = prepared
        failed.set(outgoing.key, prepared)
      } else waiting.push({ index, group: prepared.entry.MessageGroupId ?? outgoing.key, ...prepared })
    }
    return waiting
  }

  async #send(topic: string, entries: readonly Entry[], signal: AbortSignal): Promise<readonly Published[]> {
    const { sns, call } = this.#parts
    const request = {
      TopicArn: topic,
      PublishBatchRequestEntries: entries.map((entry, at) => ({ Id: String(at), ...entry })),
    }
    try {
      const { Successful = [], Failed = [] } = await call(
        'sns:Publish',
        (options) => sns.publishBatch(request, options),
        { signal },
      )
      const confirmed = new Set(Successful.map(({ Id }) => Id))
      return entries.map((_, at): Published => {
        if (confirmed.has(String(at))) return undefined
        const { Code = 'no answer', Message = '' } = Failed.find(({ Id }) => Id === String(at)) ?? {}
        return { error: new Error(`SNS has not taken it: ${Code} ${Message}`.trim()) }
      })
    } catch (error) {
      if (!isMissing(error)) throw error
      // Made anew it would have no subscriptions, and whatever is published would be lost.
      throw invalidTransport(`the topic ${topic} is gone: start the consumers again, which subscribe to it`, error)
    }
  }
}

/** What others wait for too goes on without us. */
const unlessAborted = <T>(work: Promise<T>, signal: AbortSignal): Promise<T> => {
  const { promise, reject } = Promise.withResolvers<never>()
  const abort = (): void => reject(signal.reason as Error)
  signal.addEventListener('abort', abort, { once: true })
  return Promise.race([work, promise]).finally(() => signal.removeEventListener('abort', abort))
}

const prepare = (
  outgoing: Outgoing,
  fifo: boolean,
  traits: Traits,
): { readonly entry: Entry; readonly bytes: number } | { readonly error: unknown } => {
  try {
    const entry = toEntry(outgoing, fifo)
    const bytes = bytesOf(entry)
    return bytes > traits.messageBytes ? tooLarge(outgoing, bytes, traits) : { entry, bytes }
  } catch (error) {
    return { error }
  }
}
