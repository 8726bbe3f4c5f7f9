/** What the adapter needs of a client (https://github.com/platformatic/kafka, version 2): three classes, which the caller passes. */

/** The package's exports are one: `import * as client from '@platformatic/kafka'`. */
export interface KafkaClient {
  readonly Admin: new (options: never) => KafkaAdmin
  readonly Producer: new (options: never) => KafkaProducer
  readonly Consumer: new (options: never) => KafkaConsumer
}

/** What every client is made with: where the brokers are, TLS, credentials, timeouts, … */
export interface KafkaConnection {
  /** `host:port` of some brokers; the others are learned from them. */
  readonly bootstrapBrokers: readonly string[]
  readonly clientId?: string
  readonly [option: string]: unknown
}

export interface KafkaTopic {
  readonly id: string
  readonly partitionsCount: number
  readonly partitions: readonly { readonly leader: number }[]
}

interface Metadata {
  metadata(options: { topics: string[]; forceUpdate?: boolean; retries?: number }): Promise<{
    readonly topics: ReadonlyMap<string, KafkaTopic>
  }>
}

export interface KafkaAdmin extends Metadata {
  createTopics(options: {
    topics: string[]
    partitions: number
    replicas: number
    configs: { name: string; value: string }[]
  }): Promise<unknown>
  describeConfigs(options: {
    resources: { resourceType: 2; resourceName: string; configurationKeys: string[] }[]
  }): Promise<
    readonly { readonly configs: readonly { readonly name: string; readonly value?: string | null | undefined }[] }[]
  >
  findCoordinator(options: { keyType: 0; keys: string[] }): Promise<unknown>
  listOffsets(options: {
    topics: { name: string; partitions: { partitionIndex: number; timestamp: bigint }[] }[]
  }): Promise<
    readonly { readonly partitions: readonly { readonly partitionIndex: number; readonly offset: bigint }[] }[]
  >
  listConsumerGroupOffsets(options: {
    groups: { groupId: string; topics: { name: string; partitionIndexes: number[] }[] }[]
  }): Promise<
    readonly {
      readonly topics: readonly { readonly partitions: readonly { readonly committedOffset: bigint }[] }[]
    }[]
  >
  alterConsumerGroupOffsets(options: {
    groupId: string
    topics: { name: string; partitionOffsets: { partition: number; offset: bigint }[] }[]
  }): Promise<unknown>
  deleteTopics(options: { topics: string[] }): Promise<unknown>
  deleteRecords(options: {
    topics: { name: string; partitions: { partition: number; offset: bigint }[] }[]
  }): Promise<unknown>
  listTopics(): Promise<readonly string[]>
  deleteGroups(options: { groups: string[] }): Promise<unknown>
  listGroups(): Promise<ReadonlyMap<string, unknown>>
  close(): Promise<void>
}

export interface KafkaProducer extends Metadata {
  send(options: { messages: Produced[]; acks: number }): Promise<unknown>
  close(force?: boolean): Promise<void>
}

export interface Produced {
  readonly topic: string
  readonly partition: number
  readonly key: Buffer
  readonly value: Buffer
  /** A Map, which may hold a name twice: names are Buffers, and no two of those are the same. */
  readonly headers: Map<Buffer, Buffer>
}

export interface KafkaConsumer extends Metadata {
  readonly topics: { track(topic: string): boolean }
  readonly generationId: number
  readonly memberId: string | null
  isActive(): boolean
  joinGroup(options: object): Promise<unknown>
  listCommittedOffsets(options: {
    topics: { topic: string; partitions: number[] }[]
  }): Promise<ReadonlyMap<string, readonly (bigint | undefined)[]>>
  listOffsets(options: {
    topics: string[]
    partitions: Record<string, number[]>
    timestamp: bigint
  }): Promise<ReadonlyMap<string, readonly (bigint | undefined)[]>>
  commit(options: {
    offsets: { topic: string; partition: number; offset: bigint; leaderEpoch: number }[]
  }): Promise<unknown>
  fetch(options: {
    node: number
    minBytes: number
    maxBytes: number
    maxWaitTime: number
    topics: { topicId: string; partitions: PartitionToFetch[] }[]
  }): Promise<FetchedTopics>
  on(event: string, listener: (payload: never) => void): unknown
  close(force?: boolean): Promise<void>
}

export interface PartitionToFetch {
  partition: number
  fetchOffset: bigint
  partitionMaxBytes: number
  currentLeaderEpoch: number
  lastFetchedEpoch: number
}

export interface FetchedTopics {
  readonly responses: readonly { readonly partitions: readonly FetchedPartition[] }[]
}

export interface FetchedPartition {
  readonly partitionIndex: number
  readonly errorCode: number
  readonly records?: readonly RecordBatch[] | null
  /** Transactions that were given up, and began before the end of these records. */
  readonly abortedTransactions?: readonly { readonly producerId: bigint; readonly firstOffset: bigint }[] | null
}

export interface RecordBatch {
  readonly firstOffset: bigint
  readonly lastOffsetDelta: number
  readonly attributes: number
  readonly producerId: bigint
  readonly records: readonly RawRecord[]
}

export interface RawRecord {
  readonly offsetDelta: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: readonly (readonly [Buffer | null, Buffer | null])[]
}

/** Kafka's own numbers, for what the client has no name of its own, or one that would have to be imported. */
export const protocol = {
  /** `acks`: what is not on all replicas that are in sync does not count. */
  allInSync: -1,
  /** Resources of a topic, in requests about configurations. */
  topicResource: 2,
  /** Coordinators of groups, in requests for them. */
  groupCoordinator: 0,
  /** In place of a time, where offsets are asked for. */
  earliest: -2n,
  latest: -1n,
  /** A bit of a batch: the broker wrote it, about transactions. */
  controlBatch: 0x20,
  /** A bit of a batch: it is part of a transaction. */
  transactionalBatch: 0x10,
  /** What the key of such a record of the broker says in its second two bytes: the transaction was given up. */
  abortMarker: 0,
  /** An error of a partition: its log was cut there, or is another one. */
  offsetOutOfRange: 1,
} as const
