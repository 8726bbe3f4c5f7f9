/**
 * A process as a member of its subscriber's group: which partitions are its own, from one rebalance to the next, and how far
 * they were taken. What was begun in a generation that is over is never committed: its partitions may be another's by now.
 */

import { type KafkaConsumer, protocol } from './client.ts'
import { isOutOfGroup } from './errors.ts'
import type { Settings } from './settings.ts'

/** Signs of life in the time of a session: a few may be lost, and a rebalance is noticed with the next. */
const heartbeats = 6

/** Between two rebalances. One object for each. */
export interface Generation {
  readonly partitions: readonly number[]
  /** This member has shared the partitions out, and sees to it that new ones are. */
  readonly leads: boolean
  /** Partitions that were shared out, as far as the leader knows. */
  readonly covered: number
}

interface Joined {
  readonly generationId?: number
  readonly memberId: string
  readonly isLeader?: boolean
  readonly assignments?: readonly { readonly topic: string; readonly partitions: readonly number[] }[]
}

/** As the client wants it of who shares partitions out. */
type Assigned = { memberId: string; assignments: Map<string, { topic: string; partitions: number[] }> }[]

export class Member {
  readonly #topic: string
  readonly #consumer: KafkaConsumer
  #generation: Generation | undefined
  #name = ''
  #shared: number | undefined

  constructor(topic: string, group: string, settings: Settings) {
    this.#topic = topic
    const { client, connection, sessionTimeoutMs } = settings
    // A rebalance waits for members that have died until their sessions end.
    const rebalanceTimeout = sessionTimeoutMs * 2
    this.#consumer = new client.Consumer({
      ...connection,
      groupId: group,
      sessionTimeout: sessionTimeoutMs,
      rebalanceTimeout,
      heartbeatInterval: Math.floor(sessionTimeoutMs / heartbeats),
      // An answer to a request to join may take as long as a rebalance.
      requestTimeout: rebalanceTimeout + settings.requestTimeoutMs,
      partitionAssigner: this.#share,
      autocommit: false,
      // The client's retries join again by themselves before they commit again, and so commit what is another's by then.
      retries: 0,
    } as never)
    this.#consumer.topics.track(topic)
    this.#consumer.on('consumer:group:join', (joined: Joined) => this.#joined(joined))
    // It could not join again after a rebalance, and does not try any more.
    this.#consumer.on('error', () => {
      this.#generation = undefined
    })
  }

  /** Joins where it has not, or has lost its place, and waits for a rebalance that is under way. */
  async current(): Promise<Generation> {
    if (this.#generation === undefined || !this.#consumer.isActive()) await this.#consumer.joinGroup({})
    if (this.#generation === undefined) throw new Error('this member has left its group')
    return this.#generation
  }

  isCurrent(generation: Generation): boolean {
    return this.#generation === generation && this.#consumer.isActive()
  }

  #joined({ generationId, memberId, isLeader, assignments }: Joined): void {
    const partitions = assignments?.find(({ topic }) => topic === this.#topic)?.partitions ?? []
    // Told twice where it was asked for twice.
    const name = `${memberId} ${generationId}`
    if (this.#generation !== undefined && this.#name === name) return
    this.#name = name
    // Who is alone has all, and is not asked to share.
    this.#generation = { partitions, leads: isLeader === true, covered: this.#shared ?? partitions.length }
    this.#shared = undefined
  }

  /** In turn, members by their names. */
  readonly #share = (
    _self: string,
    members: ReadonlyMap<string, unknown>,
    _topics: ReadonlySet<string>,
    metadata: { readonly topics: ReadonlyMap<string, { readonly partitionsCount: number } | undefined> },
  ): Assigned => {
    const topic = this.#topic
    const count = metadata.topics.get(topic)?.partitionsCount ?? 0
    this.#shared = count
    const names = [...members.keys()].toSorted()
    return names.map((memberId, at) => ({
      memberId,
      assignments: new Map([
        [
          topic,
          {
            topic,
            partitions: Array.from({ length: count }, (_, partition) => partition).filter(
              (partition) => partition % names.length === at,
            ),
          },
        ],
      ]),
    }))
  }

  /** The topic has more partitions than were shared out. */
  async shareAgain(): Promise<void> {
    await this.#consumer.metadata({ topics: [this.#topic], forceUpdate: true })
    this.#generation = undefined
    await this.#consumer.joinGroup({})
  }

  /** Where each partition goes on: behind what was committed, or, where nothing was, at its beginning. */
  async places(partitions: readonly number[]): Promise<ReadonlyMap<number, bigint>> {
    if (partitions.length === 0) return new Map()
    const topic = this.#topic
    const committed = await this.#consumer.listCommittedOffsets({ topics: [{ topic, partitions: [...partitions] }] })
    const places = new Map<number, bigint>()
    for (const partition of partitions) {
      const offset = committed.get(topic)?.[partition]
      if (offset !== undefined && offset >= 0n) places.set(partition, offset)
    }
    const fresh = partitions.filter((partition) => !places.has(partition))
    return new Map([...places, ...(await this.beginnings(fresh))])
  }

  async beginnings(partitions: readonly number[]): Promise<ReadonlyMap<number, bigint>> {
    if (partitions.length === 0) return new Map()
    const topic = this.#topic
    const offsets = await this.#consumer.listOffsets({
      topics: [topic],
      partitions: { [topic]: [...partitions] },
      timestamp: protocol.earliest,
    })
    return new Map(partitions.map((partition) => [partition, offsets.get(topic)?.[partition] ?? 0n]))
  }

  /** False: the generation is over, and nothing was committed. */
  async commit(generation: Generation, offsets: ReadonlyMap<number, bigint>): Promise<boolean> {
    const topic = this.#topic
    // With what it knows fresh, the client sends at once: no other generation can come in between.
    await this.#consumer.metadata({ topics: [topic] })
    if (!this.isCurrent(generation)) return false
    try {
      await this.#consumer.commit({
        offsets: [...offsets].map(([partition, offset]) => ({ topic, partition, offset, leaderEpoch: -1 })),
      })
      return true
    } catch (error) {
      if (!isOutOfGroup(error)) throw error
      this.#generation = undefined
      return false
    }
  }

  /** Leaves the group, so that others need not wait for the session's end. */
  async close(): Promise<void> {
    await this.#consumer.close(true)
  }
}
