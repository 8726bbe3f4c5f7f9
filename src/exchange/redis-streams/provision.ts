/** What channels and their subscribers need on the server: streams and their groups. */

import type { Found, Resource } from '../resource.ts'
import type { Needs } from '../transport.ts'
import type { Connection } from './connection.ts'
import { isInvalid } from './failure.ts'
import { channelNames, type SubscriberNames, subscriberNames } from './names.ts'
import { makeStream } from './scripts.ts'

export const resourcesOf = (
  connection: Connection,
  prefix: string,
  { publishes, receives }: Needs,
): readonly Resource[] => [
  ...publishes.map((channel) => ownStream(connection, channelNames(prefix, channel).stream)),
  ...receives.flatMap(({ channel, subscriber }) =>
    ofSubscriber(connection, subscriberNames(prefix, channel, subscriber)),
  ),
]

export const ofSubscriber = (connection: Connection, names: SubscriberNames): readonly Resource[] => [
  names.isForeign ? foreignStream(connection, names.stream) : streamOf(connection, names.stream),
  groupOf(connection, names),
  refusedStream(connection, names.refused),
]

const look = (connection: Connection, name: string) => async (): Promise<Found | undefined> => {
  const groups = await groupsOf(connection, name)
  if (groups === 'no stream') return { unfit: ['is a key of another type, and no stream'] }
  return groups === 'missing' ? undefined : {}
}

const foreignStream = (connection: Connection, name: string): Resource => ({
  kind: 'stream',
  name,
  foreign: true,
  look: look(connection, name),
})

const streamOf = (connection: Connection, name: string): Resource => ({
  kind: 'stream',
  name,
  look: look(connection, name),
  make: async () => void (await connection.command('EVAL', [makeStream.text, makeStream.keys, name])),
})

const ownStream = (connection: Connection, name: string): Resource => ({
  ...streamOf(connection, name),
  inUse: async () => {
    const groups = await groupsOf(connection, name)
    return { messages: await lengthOf(connection, name), users: typeof groups === 'string' ? [] : groups }
  },
  remove: () => removeKey(connection, name),
})

const groupOf = (connection: Connection, { stream, group, isForeign }: SubscriberNames): Resource => {
  // From 0: who subscribes later gets what is kept.
  const create = ['CREATE', stream, group, '0', ...(isForeign ? [] : ['MKSTREAM'])]
  return {
    kind: 'group',
    name: group,
    details: [`XGROUP ${create.join(' ')}`],
    look: async () => {
      const groups = await groupsOf(connection, stream)
      return typeof groups !== 'string' && groups.includes(group) ? {} : undefined
    },
    make: async () => {
      try {
        await connection.command('XGROUP', create)
      } catch (error) {
        // Another process was first.
        if (!/\bBUSYGROUP\b/.test(String(error))) throw error
      }
    },
    remove: async () => void (await connection.command('XGROUP', ['DESTROY', stream, group])),
  }
}

/** It comes with the first message that is refused. */
const refusedStream = (connection: Connection, name: string): Resource => ({
  kind: 'stream',
  name,
  look: async () => ((await connection.command('EXISTS', [name])) === 1 ? {} : undefined),
  inUse: async () => ({ messages: await lengthOf(connection, name) }),
  remove: () => removeKey(connection, name),
})

type Groups = readonly string[] | 'missing' | 'no stream'

/** Of a stream. */
const groupsOf = async (connection: Connection, stream: string): Promise<Groups> => {
  try {
    const groups = (await connection.command('XINFO', ['GROUPS', stream])) as readonly (readonly unknown[])[]
    return groups.map((group) => String(group[1]))
  } catch (error) {
    if (isInvalid(error) && String(error).includes('is missing')) return 'missing'
    if (isInvalid(error) && String(error).includes('is no stream')) return 'no stream'
    throw error
  }
}

const lengthOf = async (connection: Connection, stream: string): Promise<number> =>
  Number(await connection.command('XLEN', [stream]))

const removeKey = async (connection: Connection, key: string): Promise<void> =>
  void (await connection.command('DEL', [key]))
