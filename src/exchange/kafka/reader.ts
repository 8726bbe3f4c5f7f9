/**
 * Fetches records of a topic's partitions from the brokers that lead them, one request per broker at a time. Its connections are
 * not the member's: a broker answers one request of a connection after the other, and those for records are slow to be answered.
 */

import { type FetchedPartition, type FetchedTopics, type KafkaConsumer, type KafkaTopic, protocol } from './client.ts'
import { failuresIn, isOfSession } from './errors.ts'
import type { Read } from './record.ts'
import type { Settings } from './settings.ts'

/** What one broker answered. */
export interface Fetched {
  readonly records: readonly Read[]
  /** Where partitions go on. */
  readonly ends: ReadonlyMap<number, bigint>
}

/** How long a broker waits for records before it answers that there are none. */
const waitMs = 1_000
/** Of one answer, and of one partition in it; a single record may have more. */
const answerBytes = 8_388_608
const partitionBytes = 1_048_576

export class Reader {
  readonly #topic: string
  readonly #consumer: KafkaConsumer
  #stale = false

  constructor(topic: string, group: string, { client, connection, requestTimeoutMs }: Settings) {
    this.#topic = topic
    this.#consumer = new client.Consumer({
      ...connection,
      groupId: group,
      requestTimeout: requestTimeoutMs + waitMs,
      retries: 0,
    } as never)
    this.#consumer.topics.track(topic)
    this.#consumer.on('error', () => undefined)
  }

  /** As it was some seconds ago, or is now if something has failed meanwhile. */
  async topic(): Promise<KafkaTopic> {
    const { topics } = await this.#consumer.metadata({ topics: [this.#topic], forceUpdate: this.#stale })
    this.#stale = false
    const topic = topics.get(this.#topic)
    if (topic === undefined) throw new Error(`Unknown topic ${this.#topic}.`)
    return topic
  }

  async fetch(topic: KafkaTopic, node: number, places: ReadonlyMap<number, bigint>): Promise<Fetched> {
    const ask = async (): Promise<Fetched> => read(await this.#ask(topic, node, places), places)
    try {
      // Of a session that the broker does not know any more, as after its restart, the client begins another one.
      return await ask().catch((error: unknown) => {
        if (!isOfSession(error)) throw error
        return ask()
      })
    } catch (error) {
      this.#stale = true
      throw error
    }
  }

  #ask(topic: KafkaTopic, node: number, places: ReadonlyMap<number, bigint>): Promise<FetchedTopics> {
    return this.#consumer.fetch({
      node,
      minBytes: 1,
      maxBytes: answerBytes,
      maxWaitTime: waitMs,
      topics: [
        {
          topicId: topic.id,
          partitions: [...places].map(([partition, fetchOffset]) => ({
            partition,
            fetchOffset,
            partitionMaxBytes: partitionBytes,
            currentLeaderEpoch: -1,
            lastFetchedEpoch: -1,
          })),
        },
      ],
    })
  }

  async close(): Promise<void> {
    await this.#consumer.close(true)
  }
}

/** Partitions whose places are not in the log: it was cut there, or is another one. */
export const outOfRange = (error: unknown): readonly number[] =>
  failuresIn(error).flatMap(({ response }) => {
    const { responses } = (response ?? {}) as Partial<FetchedTopics>
    return (responses ?? []).flatMap(({ partitions }) =>
      partitions
        .filter(({ errorCode }) => errorCode === protocol.offsetOutOfRange)
        .map(({ partitionIndex }) => partitionIndex),
    )
  })

const read = ({ responses }: FetchedTopics, places: ReadonlyMap<number, bigint>): Fetched => {
  const records: Read[] = []
  const ends = new Map<number, bigint>()
  for (const fetched of responses.flatMap(({ partitions }) => partitions)) {
    const from = places.get(fetched.partitionIndex)
    // A broker may send what an earlier request had asked for.
    if (from === undefined) continue
    const end = readPartition(fetched, from, records)
    if (end > from) ends.set(fetched.partitionIndex, end)
  }
  return { records, ends }
}

/** The client leaves out what was given up, but not of two transactions of one producer, nor of one whose end is not among them. */
const readPartition = (
  { partitionIndex, records: batches, abortedTransactions }: FetchedPartition,
  from: bigint,
  into: Read[],
): bigint => {
  const aborted = (abortedTransactions ?? []).toSorted((a, b) => (a.firstOffset < b.firstOffset ? -1 : 1))
  /** Producers whose transaction, as far as it is read, was given up. */
  const givenUp = new Set<bigint>()
  let end = from
  for (const { firstOffset, lastOffsetDelta, attributes, producerId, records } of batches ?? []) {
    const behind = firstOffset + BigInt(lastOffsetDelta) + 1n
    if (behind > end) end = behind
    while (aborted.length > 0 && aborted[0]!.firstOffset < behind) givenUp.add(aborted.shift()!.producerId)
    if ((attributes & protocol.controlBatch) !== 0) {
      if (records[0]?.key?.readInt16BE(2) === protocol.abortMarker) givenUp.delete(producerId)
      continue
    }
    if ((attributes & protocol.transactionalBatch) !== 0 && givenUp.has(producerId)) continue
    for (const record of records) {
      const offset = firstOffset + BigInt(record.offsetDelta)
      // Whole batches come, also where a request begins in the middle of one.
      if (offset >= from) into.push({ partition: partitionIndex, offset, record })
    }
  }
  return end
}
