/** The topics that channels and subscribers need: created where that is wanted, else looked for, and checked that they are fit. */

import type { Environment } from '../../core/environment.ts'
import { PabalError } from '../../core/errors.ts'
import { type KafkaAdmin, protocol } from './client.ts'
import { has, isForbidden, isUnknownTopic, transportError } from './errors.ts'
import type { Settings } from './settings.ts'

export interface Needed {
  readonly name: string
  readonly partitions: number
  /** Events are lost where it is compacted. */
  readonly ofEvents: boolean
}

/** How long a topic that was created may take until all brokers know it, and how often that is looked at. */
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
    const names = unseen.map(({ name }) => name).join(', ')
    try {
      const missing: Needed[] = []
      for (const topic of unseen) if (!(await this.#isThere(topic.name))) missing.push(topic)
      if (missing.length > 0 && !this.#settings.provision)
        throw new PabalError(
          'PABAL_TRANSPORT_INVALID',
          `Kafka has no topic ${missing.map(({ name }) => name).join(', ')}, and provision is false`,
        )
      for (const topic of missing) await this.#create(topic)
      for (const topic of unseen) await this.#check(topic)
    } catch (error) {
      throw transportError(error, `Kafka, topic ${names}`)
    }
    for (const { name } of unseen) this.#seen.add(name)
  }

  /** It may be gone: it is looked for again before it is used. */
  forget(name: string): void {
    this.#seen.delete(name)
  }

  async #isThere(name: string): Promise<boolean> {
    try {
      const { topics } = await this.#admin.metadata({ topics: [name], forceUpdate: true, retries: 0 })
      return topics.get(name) !== undefined
    } catch (error) {
      if (isUnknownTopic(error)) return false
      throw error
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
    const endMs = this.#environment.now() + knownMsMax
    while (!(await this.#isThere(name))) {
      if (this.#environment.now() > endMs)
        throw new PabalError(
          'PABAL_TRANSPORT_UNREACHABLE',
          `Kafka, topic ${name}: it was created, and no broker has it`,
        )
      await this.#environment.sleep(lookMs)
    }
  }

  async #check({ name, ofEvents }: Needed): Promise<void> {
    const settings = await this.#configured(name)
    const unfit = (detail: string) => new PabalError('PABAL_TRANSPORT_INVALID', `Kafka, topic ${name}: ${detail}`)
    if (ofEvents && settings.get('cleanup.policy')?.includes('compact') === true)
      throw unfit('it is compacted, so all but the last event of a key would vanish; set cleanup.policy=delete')
    const most = Number(settings.get('max.message.bytes') ?? Infinity)
    const { messageBytes } = this.#settings
    if (most < messageBytes) throw unfit(`its max.message.bytes is ${most}, less than messageBytes, ${messageBytes}`)
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
    try {
      await this.#admin.findCoordinator({ keyType: protocol.groupCoordinator, keys: [group] })
      if (fromEnd) await this.#placeAtEnd(group, topic)
    } catch (error) {
      throw transportError(error, `Kafka, group ${group}`)
    }
  }

  async #placeAtEnd(group: string, topic: string): Promise<void> {
    const { topics } = await this.#admin.metadata({ topics: [topic], forceUpdate: true })
    const partitions = Array.from({ length: topics.get(topic)?.partitionsCount ?? 0 }, (_, partition) => partition)
    const [committed] = await this.#admin.listConsumerGroupOffsets({
      groups: [{ groupId: group, topics: [{ name: topic, partitionIndexes: [...partitions] }] }],
    })
    const places = committed?.topics.flatMap((each) => each.partitions) ?? []
    if (places.some(({ committedOffset }) => committedOffset >= 0n)) return
    const ends = await this.#admin.listOffsets({
      topics: [
        {
          name: topic,
          partitions: partitions.map((partitionIndex) => ({ partitionIndex, timestamp: protocol.latest })),
        },
      ],
    })
    const partitionOffsets = ends.flatMap((each) =>
      each.partitions.map(({ partitionIndex, offset }) => ({ partition: partitionIndex, offset })),
    )
    try {
      await this.#admin.alterConsumerGroupOffsets({ groupId: group, topics: [{ name: topic, partitionOffsets }] })
    } catch (error) {
      // The group has members already, of which one was first.
      if (!has(error, 'UNKNOWN_MEMBER_ID') && !has(error, 'NON_EMPTY_GROUP')) throw error
    }
  }
}
