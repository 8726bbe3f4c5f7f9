/** What the keys of a channel are called on the server. */

import type { Channel } from '../transport.ts'

export interface Names {
  /** The stream of what a context publishes, or of a foreign producer's own. */
  readonly stream: string
  /** The stream is a foreign producer's. */
  readonly isForeign: boolean
}

export interface SubscriberNames extends Names {
  readonly group: string
  /** Who reads for the group at the moment. */
  readonly reader: string
  /** The stream of what the subscriber refused. */
  readonly refused: string
}

const ownStreamOf = (prefix: string, { context }: Channel): string => `${prefix}pabal.${context}`

export const channelNames = (prefix: string, channel: Channel): Names => ({
  stream: channel.name ?? ownStreamOf(prefix, channel),
  isForeign: channel.name !== undefined,
})

export const subscriberNames = (prefix: string, channel: Channel, subscriber: string): SubscriberNames => {
  const group = `${ownStreamOf(prefix, channel)}.${subscriber}`
  return { ...channelNames(prefix, channel), group, reader: `${group}.reader`, refused: `${group}.refused` }
}

/** Of keys and channels. */
export const faultInName = (name: string): string | undefined => (name === '' ? 'it is empty' : undefined)
