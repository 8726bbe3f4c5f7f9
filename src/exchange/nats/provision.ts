/** What channels and their subscribers need on the broker: streams and consumers. What somebody else has made is left as it is. */

import type { Found, InUse, Resource } from '../resource.ts'
import { provide } from '../topology.ts'
import type { Channel, Needs } from '../transport.ts'
import type { ConsumerConfig, FoundConsumer, JetStreamManager, StreamConfig } from './driver.ts'
import { asPabalError, isNameTaken, isNotFound } from './errors.ts'
import { channelNames, covers, subscriberNames } from './names.ts'
import type { Settings } from './options.ts'

/** How a subscriber's consumers are in truth: who made them may have chosen other times. */
export interface Arrangement {
  readonly ackWaitMs: number
  readonly turnMs: number
  /** Messages that may be out at a time. */
  readonly batch: number
}

/** The broker, connected at its first use. */
export type Manager = () => Promise<JetStreamManager>

const nanos = (ms: number): number => ms * 1_000_000
const millis = (ns: number): number => ns / 1_000_000

/** @throws PABAL_TRANSPORT_INVALID naming what is missing or of another kind, PABAL_TRANSPORT_UNREACHABLE */
export const provideChannel = (manager: JetStreamManager, channel: Channel, settings: Settings): Promise<void> =>
  provideOn(manager, { publishes: [channel], receives: [] }, settings)

/** @throws as `provideChannel` */
export const provideSubscriber = async (
  manager: JetStreamManager,
  channel: Channel,
  subscriber: string,
  settings: Settings,
): Promise<Arrangement> => {
  await provideOn(manager, { publishes: [], receives: [{ channel, subscriber }] }, settings)
  const { stream } = channelNames(settings.prefix, channel)
  const { consumer, turn } = subscriberNames(settings.prefix, channel, subscriber)
  const infos = [manager.consumers.info(stream, consumer), manager.consumers.info(turn.stream, turn.consumer)]
  try {
    const [messages, turns] = await Promise.all(infos)
    return arrangementOf(messages!.config, turns!.config, settings)
  } catch (error) {
    throw asPabalError(error, `looking for consumer ${consumer} of stream ${stream}`)
  }
}

const provideOn = (manager: JetStreamManager, needs: Needs, settings: Settings): Promise<void> =>
  provide(
    'nats',
    resourcesOf(async () => manager, needs, settings),
    settings.provision,
  )

const arrangementOf = (messages: FoundConsumer, turns: FoundConsumer, settings: Settings): Arrangement => {
  const { batch, ackWaitMs } = settings
  const most = messages.max_ack_pending ?? batch
  return {
    ackWaitMs: millis(messages.ack_wait ?? nanos(ackWaitMs)),
    turnMs: millis(turns.ack_wait ?? nanos(2 * ackWaitMs)),
    batch: most > 0 ? Math.min(batch, most) : batch,
  }
}

export const resourcesOf = (
  manager: Manager,
  { publishes, receives }: Needs,
  settings: Settings,
): readonly Resource[] => [
  ...publishes.map((channel) => ownChannelStream(manager, channel, settings)),
  ...receives.flatMap(({ channel, subscriber }) => [
    channelStream(manager, channel, settings),
    ...ofSubscriber(manager, channel, subscriber, settings),
  ]),
]

const channelStream = (manager: Manager, channel: Channel, settings: Settings): Resource => {
  const { stream, subjects } = channelNames(settings.prefix, channel)
  if (channel.name !== undefined) return foreignStream(manager, stream)
  return streamOf(manager, streamConfig(settings, stream, subjects, 'public events of a context'))
}

const ownChannelStream = (manager: Manager, channel: Channel, settings: Settings): Resource => {
  const resource = channelStream(manager, channel, settings)
  const { name } = resource
  return {
    ...resource,
    inUse: async () => ({ ...(await messagesIn(manager, name)), users: await consumersOf(manager, name) }),
    remove: () => removeStream(manager, name),
  }
}

const ofSubscriber = (
  manager: Manager,
  channel: Channel,
  subscriber: string,
  settings: Settings,
): readonly Resource[] => {
  const { batch, ackWaitMs, fromNow, prefix } = settings
  const { stream } = channelNames(prefix, channel)
  const { consumer, refused, turn } = subscriberNames(prefix, channel, subscriber)
  return [
    {
      ...streamOf(
        manager,
        streamConfig(settings, refused.stream, refused.subject, 'messages that a context has refused'),
      ),
      inUse: () => messagesIn(manager, refused.stream),
      remove: () => removeStream(manager, refused.stream),
    },
    {
      // One message, which is never acknowledged; a second one is refused by the stream itself.
      ...streamOf(manager, {
        ...streamConfig(settings, turn.stream, turn.subject, 'whose turn it is to receive'),
        max_msgs: 1,
        max_age: 0,
      }),
      remove: () => removeStream(manager, turn.stream),
    },
    consumerOf(manager, stream, {
      ...consumerDefaults,
      durable_name: consumer,
      description: 'pabal: what a context has received of another',
      deliver_policy: fromNow ? 'new' : 'all',
      ack_wait: nanos(ackWaitMs),
      max_ack_pending: batch,
    }),
    consumerOf(
      manager,
      turn.stream,
      {
        ...consumerDefaults,
        durable_name: turn.consumer,
        description: 'pabal: whose turn it is to receive',
        deliver_policy: 'all',
        // Longer than messages wait, so that who takes over is first brought what the other had.
        ack_wait: nanos(2 * ackWaitMs),
        max_ack_pending: 1,
      },
      // With two messages out at a time two processes would have the turn.
      ['max_ack_pending'],
    ),
  ]
}

const streamConfig = (
  { keepMs, replicas }: Settings,
  name: string,
  subject: string,
  description: string,
): StreamConfig => ({
  name,
  description: `pabal: ${description}`,
  subjects: [subject],
  // Everybody reads the whole, and a full stream refuses what is new: nothing is dropped unread but by age.
  retention: 'limits',
  storage: 'file',
  discard: 'new',
  max_age: nanos(keepMs),
  max_msgs: -1,
  num_replicas: replicas,
})

const consumerDefaults = { ack_policy: 'explicit', replay_policy: 'instant', max_deliver: -1 } as const

const streamOf = (manager: Manager, config: StreamConfig): Resource => {
  const { name, subjects } = config
  return {
    kind: 'stream',
    name,
    details: [`with subjects ${subjects.join(', ')}`],
    look: async (): Promise<Found | undefined> => {
      const there = await configOf(manager, name)
      if (there === undefined) return undefined
      return {
        unfit: [
          ...(subjects.every((subject) => (there.subjects ?? []).some((pattern) => covers(pattern, subject)))
            ? []
            : [`does not take ${subjects.join(', ')}`]),
          ...forOneSubscriber(there),
          ...(there.no_ack === true ? ['does not confirm what is published (no_ack)'] : []),
        ],
        differs: differences(there, config, ['storage', 'discard', 'max_age', 'max_msgs', 'num_replicas']),
      }
    },
    make: () => make(`stream ${name}`, async () => (await manager()).streams.add(config)),
  }
}

/** With whatever subjects, and kept as long as its owner has it. */
const foreignStream = (manager: Manager, name: string): Resource => ({
  kind: 'stream',
  name,
  foreign: true,
  look: async (): Promise<Found | undefined> => {
    const there = await configOf(manager, name)
    return there === undefined ? undefined : { unfit: forOneSubscriber(there) }
  },
})

const configOf = async (manager: Manager, stream: string) =>
  (await find(`stream ${stream}`, async () => (await manager()).streams.info(stream)))?.config

const forOneSubscriber = ({ retention }: { readonly retention?: string }): readonly string[] =>
  retention === 'workqueue' ? ['is a work queue: each message would go to one subscriber only'] : []

type Setting = 'ack_wait' | 'max_ack_pending' | 'max_deliver'
const consumerSettings: readonly Setting[] = ['ack_wait', 'max_ack_pending', 'max_deliver']

/** `fixed`: what must not be otherwise. */
const consumerOf = (
  manager: Manager,
  stream: string,
  config: ConsumerConfig,
  fixed: readonly Setting[] = [],
): Resource => {
  const name = `${config.durable_name} of stream ${stream}`
  const what = `consumer ${name}`
  return {
    kind: 'consumer',
    name,
    details: ['durable, pull, acknowledged one by one'],
    look: async (): Promise<Found | undefined> => {
      const info = async () => (await manager()).consumers.info(stream, config.durable_name)
      const there = (await find(what, info))?.config
      if (there === undefined) return undefined
      const isOfAnotherKind =
        there.deliver_subject || there.ack_policy !== 'explicit' || there.filter_subject || there.filter_subjects
      return {
        unfit: [
          ...(isOfAnotherKind ? ['must be a pull consumer of all subjects with explicit acknowledgements'] : []),
          ...differences(there, config, fixed),
        ],
        differs: differences(
          there,
          config,
          consumerSettings.filter((setting) => !fixed.includes(setting)),
        ),
      }
    },
    make: () => make(what, async () => (await manager()).consumers.add(stream, config)),
    remove: () =>
      unless(isNotFound, `removing ${what}`, async () =>
        (await manager()).consumers.delete(stream, config.durable_name),
      ),
  }
}

/** Times are nanoseconds. */
const differences = <Name extends string>(
  there: { readonly [N in Name]?: unknown },
  wanted: { readonly [N in Name]: unknown },
  names: readonly Name[],
): readonly string[] =>
  names
    .filter((name) => there[name] !== undefined && there[name] !== wanted[name])
    .map((name) => `has ${name} = ${String(there[name])} instead of ${String(wanted[name])}`)

const messagesIn = async (manager: Manager, stream: string): Promise<InUse> => {
  const found = await find(`stream ${stream}`, async () => (await manager()).streams.info(stream))
  return { messages: found?.state.messages ?? 0 }
}

const consumersOf = async (manager: Manager, stream: string): Promise<readonly string[]> => {
  const names: string[] = []
  try {
    for await (const { name } of (await manager()).consumers.list(stream)) names.push(name)
  } catch (error) {
    throw asPabalError(error, `looking at the consumers of stream ${stream}`)
  }
  return names
}

const removeStream = (manager: Manager, name: string): Promise<void> =>
  unless(isNotFound, `removing stream ${name}`, async () => (await manager()).streams.delete(name))

const find = async <T>(what: string, look: () => Promise<T>): Promise<T | undefined> => {
  try {
    return await look()
  } catch (error) {
    if (isNotFound(error)) return undefined
    throw asPabalError(error, `looking for ${what}`)
  }
}

/** Another process may be faster. */
const make = (what: string, work: () => Promise<unknown>): Promise<void> => unless(isNameTaken, `making ${what}`, work)

const unless = async (
  isDone: (error: unknown) => boolean,
  doing: string,
  work: () => Promise<unknown>,
): Promise<void> => {
  try {
    await work()
  } catch (error) {
    if (!isDone(error)) throw asPabalError(error, doing)
  }
}
