/**
 * A subscriber's process at work on one channel: fetches, hands over, commits, in this order, one batch at a time. A batch that a
 * rebalance overtakes is still taken to its end, and not committed; whoever has its partitions then is brought it again.
 */

import { backoffMs, type Environment } from '../../core/environment.ts'
import type { Receiving, Take, TransportOptions } from '../transport.ts'
import type { KafkaTopic } from './client.ts'
import { isPassing, transportError } from './errors.ts'
import type { Generation, Member } from './member.ts'
import { type Fetched, outOfRange, type Reader } from './reader.ts'
import { incomingOf, type Read } from './record.ts'
import { unlessAborted } from './unless-aborted.ts'

/** Records that are handed over at once. */
const batchMax = 1_000
/** Until something that failed is tried again, doubled with each failure, and between later tries. */
const retryFirstMs = 100
const retryMaxMs = 5_000
/** Failures in a row that are nobody's business, where they are of the kind that pass. */
const passingMax = 5
/** That a process without partitions waits before it looks again. */
const idleMs = 500
/** That leaving the group in order may take. */
const leaveMs = 2_000

export interface ReceptionParts extends TransportOptions {
  readonly topic: string
  readonly group: string
  readonly member: Member
  readonly reader: Reader
  readonly take: Take
  /** Keeps what was of no use to anyone where people find it. Rejects when it could not. */
  readonly setAside: (refused: readonly { readonly read: Read; readonly reason: Error }[]) => Promise<void>
}

type Answer = { readonly node: number; readonly generation: Generation } & (
  | { readonly fetched: Fetched }
  | { readonly error: unknown }
)

export class Reception implements Receiving {
  readonly #parts: ReceptionParts
  readonly #environment: Environment
  readonly #ended = new AbortController()
  readonly #running: Promise<void>
  #generation: Generation | undefined
  #topicId: string | undefined
  /** The next record of each partition. */
  readonly #places = new Map<number, bigint>()
  /** Of each broker, the request under way. */
  readonly #asked = new Map<number, Promise<Answer>>()
  readonly #failures = new Map<number, number>()
  readonly #uncommitted = new Map<number, bigint>()
  #told = ''

  constructor(parts: ReceptionParts) {
    this.#parts = parts
    this.#environment = parts.environment
    this.#running = this.#run()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended.abort()
    await this.#running
  }

  async #run(): Promise<void> {
    const { member, reader } = this.#parts
    const ended = this.#ended.signal
    // Nobody waits for records any more.
    ended.addEventListener('abort', () => void reader.close().catch(() => undefined), { once: true })
    for (let failures = 0; !ended.aborted; )
      try {
        await this.#turn()
        failures = 0
      } catch (error) {
        if (ended.aborted) break
        if (++failures > passingMax || !isPassing(error)) this.#tell(error)
        await this.#pause(failures)
      }
    await Promise.race([this.#leave(member), this.#environment.sleep(leaveMs)])
  }

  async #leave(member: Member): Promise<void> {
    // What is not committed, or not left, is found out by the broker: it is brought again, or the session ends.
    await this.#commit().catch(() => undefined)
    await member.close().catch(() => undefined)
  }

  async #turn(): Promise<void> {
    const { member, reader } = this.#parts
    const generation = await unlessAborted(this.#ended.signal, member.current())
    if (generation !== this.#generation) await this.#begin(generation)
    const topic = await reader.topic()
    if (generation.leads && topic.partitionsCount > generation.covered) return member.shareAgain()
    await this.#commit()
    await this.#findPlaces(topic, generation)
    this.#ask(topic, generation)
    if (this.#asked.size === 0) return this.#environment.sleep(idleMs, this.#ended.signal)
    const answer = await unlessAborted(this.#ended.signal, Promise.race(this.#asked.values()))
    this.#asked.delete(answer.node)
    if ('error' in answer) return this.#recover(answer.error)
    this.#failures.delete(answer.node)
    if (this.#failures.size === 0) this.#told = ''
    if (member.isCurrent(generation) && answer.generation === generation) await this.#takeAll(answer.fetched)
  }

  async #begin(generation: Generation): Promise<void> {
    this.#generation = undefined
    this.#uncommitted.clear()
    this.#places.clear()
    for (const [partition, offset] of await this.#parts.member.places(generation.partitions))
      this.#places.set(partition, offset)
    this.#generation = generation
  }

  async #findPlaces(topic: KafkaTopic, { partitions }: Generation): Promise<void> {
    if (this.#topicId !== undefined && this.#topicId !== topic.id) {
      this.#parts.warn(
        `Kafka, topic ${this.#parts.topic}`,
        new Error('it was deleted and made anew: read from its beginning'),
      )
      this.#places.clear()
    }
    this.#topicId = topic.id
    const lost = partitions.filter((partition) => !this.#places.has(partition))
    for (const [partition, offset] of await this.#parts.member.beginnings(lost)) this.#places.set(partition, offset)
  }

  /** Of each broker from which nothing is awaited, what it leads. */
  #ask(topic: KafkaTopic, generation: Generation): void {
    const byNode = new Map<number, Map<number, bigint>>()
    for (const partition of generation.partitions) {
      const node = topic.partitions[partition]?.leader ?? -1
      if (this.#asked.has(node)) continue
      const places = byNode.get(node) ?? new Map<number, bigint>()
      byNode.set(node, places.set(partition, this.#places.get(partition)!))
    }
    for (const [node, places] of byNode) this.#asked.set(node, this.#answer(topic, node, places, generation))
  }

  /** Never rejects. A broker that fails is left alone for a while, the others are not. */
  async #answer(
    topic: KafkaTopic,
    node: number,
    places: ReadonlyMap<number, bigint>,
    generation: Generation,
  ): Promise<Answer> {
    try {
      return { node, generation, fetched: await this.#parts.reader.fetch(topic, node, places) }
    } catch (error) {
      const failures = (this.#failures.get(node) ?? 0) + 1
      this.#failures.set(node, failures)
      await this.#pause(failures)
      return { node, generation, error }
    }
  }

  #recover(error: unknown): void {
    const partitions = outOfRange(error)
    for (const partition of partitions) this.#places.delete(partition)
    // Events are lost, unless they were taken before: the log was cut before they were read, or is another one.
    this.#tell(
      partitions.length === 0
        ? error
        : new Error(`the place in partition ${partitions.join(', ')} is gone: read from the beginning`, {
            cause: error,
          }),
    )
  }

  async #takeAll({ records, ends }: Fetched): Promise<void> {
    const generation = this.#generation!
    // Of a partition that has moved, two brokers may have brought the same.
    const fresh = records.filter(({ partition, offset }) => offset >= this.#places.get(partition)!)
    for (let at = 0; at < fresh.length; at += batchMax) {
      const batch = fresh.slice(at, at + batchMax)
      if (!(await this.#take(batch, generation))) return
      // No earlier: where it ends here, by a commit that fails, the rest is fetched again.
      for (const { partition, offset } of batch) this.#goOn(partition, offset + 1n)
      if (at + batchMax < fresh.length) await this.#commit()
    }
    // Behind the last record there may be what the broker wrote itself.
    for (const [partition, end] of ends) if (end > this.#places.get(partition)!) this.#goOn(partition, end)
    await this.#commit()
  }

  #goOn(partition: number, offset: bigint): void {
    this.#places.set(partition, offset)
    this.#uncommitted.set(partition, offset)
  }

  /** Again and again, until it was taken. False: somebody else will. */
  async #take(batch: readonly Read[], generation: Generation): Promise<boolean> {
    const { take, member, topic, setAside, warn } = this.#parts
    for (let failures = 1; !this.#ended.signal.aborted && member.isCurrent(generation); failures++)
      try {
        const taken = await take(batch.map(incomingOf))
        const refused = batch.flatMap((read, at) =>
          taken[at] === undefined ? [] : [{ read, reason: taken[at].refused }],
        )
        if (refused.length > 0) await setAside(refused)
        return true
      } catch (error) {
        warn(`${batch.length} messages of ${topic} were not taken`, error)
        await this.#pause(failures)
      }
    return false
  }

  async #commit(): Promise<void> {
    if (this.#uncommitted.size === 0 || this.#generation === undefined) return
    await this.#parts.member.commit(this.#generation, this.#uncommitted)
    // Where the generation is over, others decide where to go on.
    this.#uncommitted.clear()
  }

  #pause(failures: number): Promise<void> {
    const ms = backoffMs(failures, retryFirstMs, retryMaxMs, this.#environment.random)
    return this.#environment.sleep(ms, this.#ended.signal)
  }

  /** Once, until it is over or something else is wrong. */
  #tell(thrown: unknown): void {
    const { warn, topic, group } = this.#parts
    const error = transportError(thrown, `Kafka, group ${group}`)
    const text = error instanceof Error ? error.message : String(error)
    if (text === this.#told) return
    this.#told = text
    warn(`receiving from ${topic}`, error)
  }
}
