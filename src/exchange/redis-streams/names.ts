/** What the keys of a channel are called on the server. */

export interface Names {
  /** The stream of a context's public events. */
  readonly stream: string
}

export interface SubscriberNames extends Names {
  readonly group: string
  /** Who reads for the group at the moment. */
  readonly reader: string
  /** The stream of what the subscriber refused. */
  readonly refused: string
}

export const channelNames = (prefix: string, context: string): Names => ({ stream: `${prefix}pabal.${context}` })

export const subscriberNames = (prefix: string, context: string, subscriber: string): SubscriberNames => {
  const { stream } = channelNames(prefix, context)
  const group = `${stream}.${subscriber}`
  return { stream, group, reader: `${group}.reader`, refused: `${group}.refused` }
}
