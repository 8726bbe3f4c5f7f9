/** The topics that channels and subscribers need: created where that is wanted, else looked for, and checked that they are fit. */

import type { Environment } from '../../core/environment.ts'
import { PabalError } from '../../core/errors.ts'
import type { Found, InUse, Resource } from '../resource.ts'
import { provide } from '../topology.ts'
import type { Channel, Needs } from '../transport.ts'
import { type KafkaAdmin, type KafkaTopic, protocol } from './client.ts'
import { has, isForbidden, isUnknownTopic, transportError } from './errors.ts'
import { groupOf, refusedTopicOf, type Settings, topicOf } from './settings.ts'

export interface Needed {
  readonly name: string
  readonly partitions: number
  /** Events are lost where it is compacted. */
  readonly ofEvents: boolean
  /** It is a foreign producer's, and as that has made it. */
  readonly foreign: boolean
}

export const eventsOf = (settings: Settings, channel: Channel): Needed => ({
  name: topicOf(settings, channel),
  partitions: settings.partitions,
  ofEvents: true,
  foreign: channel.name !== undefined,
})

export const refusedOf = (settings: Settings, channel: Channel, subscriber: string): Needed => ({
  name: refusedTopicOf(settings, channel, subscriber),
  partitions: 1,
  ofEvents: false,
  foreign: false,
})

/** Of a topic of one partition: its first record, and behind its last. */
export interface Span {
  readonly begin: bigint
  readonly end: bigint
}

/** How long a topic that was created or deleted may take until all brokers know it, and how often that is looked at. */
const knownMsMax = 15_000
const lookMs = 50

export class Topics {
  readonly #admin: KafkaAdmin
  readonly #settings: Settings
  readonly #environment: Environment
  readonly #seen = new Set<string>()

  constructor(admin: KafkaAdmin, settings: Settings, environment: Environment) {
    this.#admin = admin
    this.#settings = settings
    this.#environment = environment
  }

  /** @throws PABAL_TRANSPORT_INVALID, with all that is missing; PABAL_TRANSPORT_UNREACHABLE */
  async ensure(...topics: readonly Needed[]): Promise<void> {
    const unseen = topics.filter(({ name }) => !this.#seen.has(name))
    if (unseen.length === 0) return
    await provide(
      'Kafka',
      unseen.map((topic) => this.#resource(topic)),
      this.#settings.provision,
    )
    for (const { name } of unseen) this.#seen.add(name)
  }

  /** It may be gone: it is looked for again before it is used. */
  forget(name: string): void {
    this.#seen.delete(name)
  }

  resources({ publishes, receives }: Needs): readonly Resource[] {
    const settings = this.#settings
    return [
      ...publishes.map((channel) => this.#own(eventsOf(settings, channel))),
      ...receives.flatMap(({ channel, subscriber }) => [
        this.#resource(eventsOf(settings, channel)),
        this.#own(refusedOf(settings, channel, subscriber)),
        this.#group(groupOf(settings, channel, subscriber), topicOf(settings, channel)),
      ]),
    ]
  }

  #resource(topic: Needed): Resource {
    const { name, partitions, foreign } = topic
    if (foreign) return this.#foreign(name)
    return {
      kind: 'topic',
      name,
      details: [`partitions: ${partitions}`],
      look: () => this.#asked(`topic ${name}`, () => this.#look(topic)),
      make: () => this.#asked(`topic ${name}`, () => this.#create(topic)),
    }
  }

  #foreign(name: string): Resource {
    const look = async (): Promise<Found | undefined> => ((await this.#find(name)) === undefined ? undefined : {})
    return { kind: 'topic', name, foreign: true, look: () => this.#asked(`topic ${name}`, look) }
  }

  #own(topic: Needed): Resource {
    const { name, ofEvents } = topic
    return {
      ...this.#resource(topic),
      inUse: () =>
        this.#asked(`topic ${name}`, async (): Promise<InUse> => {
          const messages = await this.#messagesIn(name)
          return ofEvents ? { messages, users: await this.#usersOf(name) } : { messages }
        }),
      remove: () =>
        this.#asked(`topic ${name}`, async () => {
          await this.#admin.deleteTopics({ topics: [name] })
          await this.#until(name, false)
        }),
    }
  }

  /** Kafka makes it when it is used; its places are what is removed. */
  #group(group: string, topic: string): Resource {
    return {
      kind: 'group',
      name: group,
      look: () => this.#asked(`group ${group}`, async () => ((await this.#hasPlaces(group, topic)) ? {} : undefined)),
      remove: () =>
        this.#asked(`group ${group}`, async () => {
          try {
            await this.#admin.deleteGroups({ groups: [group] })
          } catch (error) {
            if (has(error, 'NON_EMPTY_GROUP')) return 'in use'
            throw error
          }
          return undefined
        }),
    }
  }

  async #asked<T>(what: string, ask: () => Promise<T>): Promise<T> {
    try {
      return await ask()
    } catch (error) {
      throw transportError(error, `Kafka, ${what}`)
    }
  }

  async #find(name: string): Promise<KafkaTopic | undefined> {
    try {
      const { topics } = await this.#admin.metadata({ topics: [name], forceUpdate: true, retries: 0 })
      return topics.get(name)
    } catch (error) {
      if (isUnknownTopic(error)) return undefined
      throw error
    }
  }

  async #look({ name, partitions, ofEvents }: Needed): Promise<Found | undefined> {
    const found = await this.#find(name)
    if (found === undefined) return undefined
    const configured = await this.#configured(name).catch((error: unknown) => {
      // Just deleted: who is asked for its partitions knows it for a moment longer than who is asked for its settings.
      if (!isUnknownTopic(error)) throw error
    })
    if (configured === undefined) return undefined
    const most = Number(configured.get('max.message.bytes') ?? Infinity)
    const { messageBytes } = this.#settings
    const isCompacted = ofEvents && configured.get('cleanup.policy')?.includes('compact') === true
    return {
      unfit: [
        ...(isCompacted
          ? ['is compacted, so all but the last event of a key would vanish; set cleanup.policy=delete']
          : []),
        ...(most < messageBytes ? [`has max.message.bytes = ${most}, less than messageBytes, ${messageBytes}`] : []),
      ],
      differs:
        found.partitionsCount === partitions
          ? []
          : [`has ${found.partitionsCount} partitions instead of ${partitions}`],
    }
  }

  async #create({ name, partitions }: Needed): Promise<void> {
    const { replicas, messageBytes } = this.#settings
    const configs = [{ name: 'max.message.bytes', value: String(messageBytes) }]
    try {
      await this.#admin.createTopics({ topics: [name], partitions, replicas, configs })
    } catch (error) {
      // Another process was faster.
      if (!has(error, 'TOPIC_ALREADY_EXISTS')) throw error
    }
    await this.#until(name, true)
  }

  /** All brokers know that it is there, or gone. */
  async #until(name: string, isThere: boolean): Promise<void> {
    const endMs = this.#environment.now() + knownMsMax
    while (((await this.#find(name)) !== undefined) !== isThere) {
      if (this.#environment.now() > endMs)
        throw new PabalError(
          'PABAL_TRANSPORT_UNREACHABLE',
          `Kafka, topic ${name}: it was ${isThere ? 'created, and no broker has it' : 'deleted, and is still there'}`,
        )
      await this.#environment.sleep(lookMs)
    }
  }

  /** Empty where this user may not look. */
  async #configured(topic: string): Promise<ReadonlyMap<string, string>> {
    const configurationKeys = ['cleanup.policy', 'max.message.bytes']
    try {
      const found = await this.#admin.describeConfigs({
        resources: [{ resourceType: protocol.topicResource, resourceName: topic, configurationKeys }],
      })
      return new Map(
        found.flatMap(({ configs }) => configs.map(({ name, value }): [string, string] => [name, value ?? ''])),
      )
    } catch (error) {
      if (isForbidden(error)) return new Map()
      throw error
    }
  }

  /**
   * Makes sure that a group may be used. `fromEnd`: one that has never been there begins behind what is there now; which is
   * noted for all partitions, since those that are added later are to be read from their beginning.
   */
  async prepareGroup(group: string, topic: string, fromEnd: boolean): Promise<void> {
    await this.#asked(`group ${group}`, async () => {
      await this.#admin.findCoordinator({ keyType: protocol.groupCoordinator, keys: [group] })
      if (fromEnd) await this.#placeAtEnd(group, topic)
    })
  }

  async #placeAtEnd(group: string, topic: string): Promise<void> {
    if (await this.#hasPlaces(group, topic)) return
    const partitionOffsets = await this.#offsetsIn(topic, protocol.latest)
    try {
      await this.#admin.alterConsumerGroupOffsets({ groupId: group, topics: [{ name: topic, partitionOffsets }] })
    } catch (error) {
      // The group has members already, of which one was first.
      if (!has(error, 'UNKNOWN_MEMBER_ID') && !has(error, 'NON_EMPTY_GROUP')) throw error
    }
  }

  async #partitionsOf(topic: string): Promise<number[]> {
    return Array.from({ length: (await this.#find(topic))?.partitionsCount ?? 0 }, (_, partition) => partition)
  }

  async #offsetsIn(topic: string, timestamp: bigint): Promise<{ partition: number; offset: bigint }[]> {
    const partitions = (await this.#partitionsOf(topic)).map((partitionIndex) => ({ partitionIndex, timestamp }))
    if (partitions.length === 0) return []
    const found = await this.#admin.listOffsets({ topics: [{ name: topic, partitions }] })
    return found.flatMap((each) =>
      each.partitions.map(({ partitionIndex, offset }) => ({ partition: partitionIndex, offset })),
    )
  }

  /** Undefined: it is not there. @throws PABAL_TRANSPORT_INVALID where it has several partitions */
  async spanOf(topic: string): Promise<Span | undefined> {
    return this.#asked(`topic ${topic}`, async () => {
      const [begin, ...others] = await this.#offsetsIn(topic, protocol.earliest)
      if (begin === undefined) return undefined
      if (others.length > 0)
        throw new PabalError(
          'PABAL_TRANSPORT_INVALID',
          `Kafka, topic ${topic}: it has ${others.length + 1} partitions instead of 1`,
        )
      const [end] = await this.#offsetsIn(topic, protocol.latest)
      return end === undefined ? undefined : { begin: begin.offset, end: end.offset }
    })
  }

  /** Deletes the records of its one partition that stand before `offset`. */
  async cut(topic: string, offset: bigint): Promise<void> {
    await this.#asked(`topic ${topic}`, () =>
      this.#admin.deleteRecords({ topics: [{ name: topic, partitions: [{ partition: 0, offset }] }] }),
    )
  }

  async #messagesIn(topic: string): Promise<number> {
    const total = async (timestamp: bigint): Promise<bigint> =>
      (await this.#offsetsIn(topic, timestamp)).reduce((sum, { offset }) => sum + offset, 0n)
    return Number((await total(protocol.latest)) - (await total(protocol.earliest)))
  }

  async #hasPlaces(group: string, topic: string): Promise<boolean> {
    const partitionIndexes = await this.#partitionsOf(topic)
    if (partitionIndexes.length === 0) return false
    const [committed] = await this.#admin.listConsumerGroupOffsets({
      groups: [{ groupId: group, topics: [{ name: topic, partitionIndexes }] }],
    })
    const places = committed?.topics.flatMap((each) => each.partitions) ?? []
    return places.some(({ committedOffset }) => committedOffset >= 0n)
  }

  /** Groups that have a place in it, and subscribers that have none yet, by their topics of what is refused. */
  async #usersOf(topic: string): Promise<readonly string[]> {
    const users = new Set<string>()
    for (const group of (await this.#admin.listGroups()).keys())
      if (await this.#hasPlaces(group, topic)) users.add(group)
    for (const name of await this.#admin.listTopics())
      if (name.startsWith(`${topic}.`) && name.endsWith('.refused')) users.add(name.slice(0, -'.refused'.length))
    return [...users]
  }
}
