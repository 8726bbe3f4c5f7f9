/** Makes what is needed on the broker, or finds out that it is there; what somebody else has made is left as it is. */

import type { ConsumerConfig, FoundConsumer, JetStreamManager, StreamConfig, StreamInfo } from './driver.ts'
import { asPabalError, isNameTaken, isNotFound, wrong } from './errors.ts'
import { type ChannelNames, covers, type SubscriberNames } from './names.ts'
import type { Settings } from './options.ts'

/** How a subscriber's consumers are in truth: who made them may have chosen other times. */
export interface Arrangement {
  readonly ackWaitMs: number
  readonly turnMs: number
  /** Messages that may be out at a time. */
  readonly batch: number
}

const nanos = (ms: number): number => ms * 1_000_000
const millis = (ns: number): number => ns / 1_000_000

/** @throws PABAL_TRANSPORT_INVALID naming what is missing or of another kind, PABAL_TRANSPORT_UNREACHABLE */
export const provideChannel = async (
  manager: JetStreamManager,
  names: ChannelNames,
  settings: Settings,
): Promise<void> => {
  const provision = new Provision(manager, settings)
  await provision.channel(names)
  provision.check()
}

/** @throws as `provideChannel` */
export const provideSubscriber = async (
  manager: JetStreamManager,
  names: ChannelNames,
  subscriber: SubscriberNames,
  settings: Settings,
): Promise<Arrangement> => {
  const provision = new Provision(manager, settings)
  await provision.channel(names)
  const arrangement = await provision.subscriber(names, subscriber)
  provision.check()
  return arrangement
}

class Provision {
  readonly #manager: JetStreamManager
  readonly #settings: Settings
  readonly #missing: string[] = []

  constructor(manager: JetStreamManager, settings: Settings) {
    this.#manager = manager
    this.#settings = settings
  }

  check(): void {
    if (this.#missing.length > 0) throw wrong(`with provision: false, these are missing: ${this.#missing.join('; ')}`)
  }

  async channel({ stream, subjects }: ChannelNames): Promise<void> {
    await this.#stream(stream, subjects, { description: 'pabal: public events of a context' })
  }

  async subscriber({ stream }: ChannelNames, { consumer, refused, turn }: SubscriberNames): Promise<Arrangement> {
    const { batch, ackWaitMs, fromNow } = this.#settings
    await this.#stream(refused.stream, refused.subject, { description: 'pabal: messages that a context has refused' })
    // One message, which is never acknowledged; a second one is refused by the stream itself.
    await this.#stream(turn.stream, turn.subject, {
      description: 'pabal: whose turn it is to receive',
      max_msgs: 1,
      max_age: 0,
    })
    const messages = await this.#consumer(stream, {
      ...consumerDefaults,
      durable_name: consumer,
      description: 'pabal: what a context has received of another',
      deliver_policy: fromNow ? 'new' : 'all',
      ack_wait: nanos(ackWaitMs),
      max_ack_pending: batch,
    })
    // Longer than messages wait, so that who takes over is first brought what the other had.
    const turns = await this.#consumer(turn.stream, {
      ...consumerDefaults,
      durable_name: turn.consumer,
      description: 'pabal: whose turn it is to receive',
      deliver_policy: 'all',
      ack_wait: nanos(2 * ackWaitMs),
      max_ack_pending: 1,
    })
    if ((turns.max_ack_pending ?? 0) !== 1)
      throw wrong(`consumer ${turn.consumer} of stream ${turn.stream} must have max_ack_pending 1`)
    const most = messages.max_ack_pending ?? batch
    return {
      ackWaitMs: millis(messages.ack_wait ?? nanos(ackWaitMs)),
      turnMs: millis(turns.ack_wait ?? nanos(2 * ackWaitMs)),
      batch: most > 0 ? Math.min(batch, most) : batch,
    }
  }

  async #stream(name: string, subject: string, given: Partial<StreamConfig>): Promise<void> {
    const { keepMs, replicas, provision } = this.#settings
    const doing = `stream ${name}`
    const found = await this.#find(doing, () => this.#manager.streams.info(name))
    if (found !== undefined) return checkStream(name, subject, found)
    if (!provision) {
      this.#missing.push(`${doing} with subjects ${subject}`)
      return
    }
    const made = await this.#make(doing, () =>
      this.#manager.streams.add({
        name,
        subjects: [subject],
        // Everybody reads the whole, and a full stream refuses what is new: nothing is dropped unread but by age.
        retention: 'limits',
        storage: 'file',
        discard: 'new',
        max_age: nanos(keepMs),
        max_msgs: -1,
        num_replicas: replicas,
        description: 'pabal',
        ...given,
      }),
    )
    if (!made) checkStream(name, subject, await this.#manager.streams.info(name))
  }

  async #consumer(stream: string, config: ConsumerConfig): Promise<FoundConsumer> {
    const name = config.durable_name
    const doing = `consumer ${name} of stream ${stream}`
    const find = () => this.#manager.consumers.info(stream, name)
    const found = await this.#find(doing, find)
    if (found === undefined && !this.#settings.provision) {
      this.#missing.push(`${doing} (durable, pull, acknowledged one by one)`)
      return config
    }
    if (found === undefined && (await this.#make(doing, () => this.#manager.consumers.add(stream, config))))
      return config
    const { config: there } = found ?? (await find())
    if (there.deliver_subject || there.ack_policy !== 'explicit' || there.filter_subject || there.filter_subjects)
      throw wrong(
        `${doing} is of another kind: it must be a pull consumer of all subjects with explicit acknowledgements`,
      )
    return there
  }

  async #find<T>(doing: string, find: () => Promise<T>): Promise<T | undefined> {
    try {
      return await find()
    } catch (error) {
      if (isNotFound(error)) return undefined
      throw asPabalError(error, `looking for ${doing}`)
    }
  }

  /** False: another process has been faster. */
  async #make(doing: string, make: () => Promise<unknown>): Promise<boolean> {
    try {
      await make()
      return true
    } catch (error) {
      if (isNameTaken(error)) return false
      throw asPabalError(error, `making ${doing}`)
    }
  }
}

const consumerDefaults = { ack_policy: 'explicit', replay_policy: 'instant', max_deliver: -1 } as const

/** @throws PABAL_TRANSPORT_INVALID */
const checkStream = (name: string, subject: string, { config }: StreamInfo): void => {
  const reasons = [
    (config.subjects ?? []).some((pattern) => covers(pattern, subject)) ? undefined : `it does not take ${subject}`,
    config.retention === 'workqueue' ? 'it is a work queue: each message would go to one subscriber only' : undefined,
    config.no_ack === true ? 'it does not confirm what is published (no_ack)' : undefined,
  ].filter((reason) => reason !== undefined)
  if (reasons.length > 0) throw wrong(`stream ${name} is of another kind: ${reasons.join('; ')}`)
}
