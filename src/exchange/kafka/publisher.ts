/**
 * Writes records to one topic: all replicas that are in sync have what counts as published, and the producer is idempotent, so
 * that the client's own retries repeat nothing. One request is under way at a time. After a failure everything begins anew with
 * another producer, as the client itself forgets what it had numbered; what is published again then may be there twice.
 */

import { isPabalError } from '../../core/errors.ts'
import type { Published } from '../transport.ts'
import { type KafkaProducer, type Produced, protocol } from './client.ts'
import { failuresIn, transportError } from './errors.ts'
import { partitionOf } from './partition.ts'
import { bytesOf, type Written } from './record.ts'
import { unlessAborted } from './unless-aborted.ts'

/** In one request, whatever their size. */
const recordsMax = 1_000

export class Publisher {
  readonly #topic: string
  readonly #create: () => KafkaProducer
  readonly #bytesMax: number
  #producer: KafkaProducer | undefined
  #last: Promise<unknown> = Promise.resolve()

  /** `bytesMax`: of one request, since all that goes to a partition at once must be no more than one message may be. */
  constructor(topic: string, bytesMax: number, create: () => KafkaProducer) {
    this.#topic = topic
    this.#bytesMax = bytesMax
    this.#create = create
  }

  /** One outcome for each. Rejects when nothing is known of any. */
  publish(records: readonly Written[], signal: AbortSignal): Promise<readonly Published[]> {
    const publishing = this.#last.then(() => this.#publish(records, signal))
    this.#last = publishing.catch(() => undefined)
    return publishing
  }

  async #publish(records: readonly Written[], signal: AbortSignal): Promise<readonly Published[]> {
    const outcomes: Published[] = []
    for (const chunk of this.#chunks(records)) {
      let sent: readonly Published[]
      try {
        sent = await this.#send(chunk, signal)
      } catch (error) {
        if (outcomes.length === 0) throw error
        sent = chunk.map(() => notTheirs(error))
      }
      outcomes.push(...sent)
      // What comes behind may be of the same keys: it is not sent.
      const failed = sent.find((outcome) => outcome !== undefined)
      if (failed !== undefined) {
        while (outcomes.length < records.length) outcomes.push(failed)
        break
      }
    }
    return outcomes
  }

  *#chunks(records: readonly Written[]): Iterable<readonly Written[]> {
    let chunk: Written[] = []
    let bytes = 0
    for (const record of records) {
      const more = bytesOf(record)
      if (chunk.length > 0 && (bytes + more > this.#bytesMax || chunk.length === recordsMax)) {
        yield chunk
        chunk = []
        bytes = 0
      }
      chunk.push(record)
      bytes += more
    }
    if (chunk.length > 0) yield chunk
  }

  async #send(records: readonly Written[], signal: AbortSignal): Promise<readonly Published[]> {
    signal.throwIfAborted()
    const producer = (this.#producer ??= this.#create())
    const topic = this.#topic
    let placed: readonly Produced[] = []
    try {
      const { topics } = await unlessAborted(signal, producer.metadata({ topics: [topic] }))
      const count = topics.get(topic)?.partitionsCount ?? 1
      placed = records.map(({ key, value, headers }) => ({
        topic,
        partition: partitionOf(key, count),
        key,
        // The client writes null as it should, and its types do not say so.
        value: value as Buffer,
        headers: new Map(headers),
      }))
      await unlessAborted(signal, producer.send({ messages: [...placed], acks: protocol.allInSync }))
      return records.map(() => undefined)
    } catch (error) {
      this.#drop(producer)
      signal.throwIfAborted()
      const taken = partitionsTaken(error, topic)
      const failure = transportError(error, `Kafka, topic ${topic}`)
      if (taken.size === 0) throw failure
      return placed.map(({ partition }) => (taken.has(partition) ? undefined : notTheirs(failure)))
    }
  }

  /** Its connections go at once, and with them most of what may still be under way. */
  #drop(producer: KafkaProducer): void {
    if (this.#producer === producer) this.#producer = undefined
    producer.close(true).catch(() => undefined)
  }

  async close(): Promise<void> {
    await this.#last
    const producer = this.#producer
    this.#producer = undefined
    await producer?.close(true)
  }
}

/** What is wrong with the topic is no message's failure: each waits until that is seen to, and none is given up. */
const notTheirs = (error: unknown): Published => ({
  error: isPabalError(error) && !error.retryable ? (error.cause ?? error) : error,
})

/** Of a request of which a part failed: the partitions whose records are written. */
const partitionsTaken = (error: unknown, topic: string): ReadonlySet<number> => {
  const taken = new Set<number>()
  for (const { produced, response } of failuresIn(error)) {
    const { offsets } = (produced ?? {}) as { offsets?: readonly { topic: string; partition: number }[] }
    for (const { partition } of offsets ?? []) taken.add(partition)
    const { responses } = (response ?? {}) as {
      responses?: readonly {
        name?: string
        partitionResponses?: readonly { index: number; errorCode: number }[]
      }[]
    }
    for (const { name, partitionResponses } of responses ?? [])
      if (name === topic)
        // A later try says more than one before it.
        for (const { index, errorCode } of partitionResponses ?? [])
          if (errorCode === 0) taken.add(index)
          else taken.delete(index)
  }
  return taken
}
