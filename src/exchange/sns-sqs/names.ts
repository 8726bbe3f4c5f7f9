/** How topics, queues and groups of messages are called: our words, in the characters and lengths that AWS allows. */

import { createHash } from 'node:crypto'
import { PabalError } from '../../core/errors.ts'
import type { Channel } from '../transport.ts'

export interface Names {
  topic(channel: Channel): string
  /** Without a subscriber the one of the channel itself, over SQS alone. */
  queue(context: string, subscriber?: string): string
  /** Where messages go that the subscriber has refused. */
  refused(context: string, subscriber?: string): string
}

const topicLength = 256
const queueLength = 80

/**
 * `pabal-<context>` and `pabal-<context>-<subscriber>`. Names of contexts have no hyphen, so that no two of them share a name; what
 * the channel itself has refused has two.
 * @throws PABAL_COMPOSITION_INVALID for a prefix that AWS does not allow in a name
 */
export const namesWith = (prefix: string, fifo: boolean): Names => {
  if (!/^[A-Za-z0-9_-]{0,40}$/.test(prefix))
    throw new PabalError(
      'PABAL_COMPOSITION_INVALID',
      `the prefix ${JSON.stringify(prefix)} of SNS and SQS is not of at most 40 letters, digits, '-' and '_'`,
    )
  const named = (length: number, ...parts: readonly string[]): string => {
    const suffix = fifo ? '.fifo' : ''
    return `${fitted(`${prefix}pabal-${parts.join('-')}`, length - suffix.length)}${suffix}`
  }
  return {
    topic: ({ context, name }) => name ?? named(topicLength, context),
    queue: (context, subscriber) =>
      named(queueLength, ...(subscriber === undefined ? [context] : [context, subscriber])),
    refused: (context, subscriber = '') => named(queueLength, context, subscriber, 'refused'),
  }
}

/** Of a topic. A FIFO queue can be subscribed to no other, and a standard queue would lose the order of one. */
export const faultInTopic =
  (fifo: boolean) =>
  (topic: string): string | undefined => {
    if (!/^[A-Za-z0-9_-]+(?:\.fifo)?$/.test(topic) || topic.length > topicLength)
      return `it is a topic, whose name is of 1 to ${topicLength} letters, digits, '-' and '_', and ends in '.fifo' where it is FIFO`
    if (topic.endsWith('.fifo') === fifo) return undefined
    return fifo
      ? 'that is a standard topic, which fills no FIFO queue: it is read with `fifo: false`'
      : 'that is a FIFO topic, and with `fifo: false` its order would be lost'
  }

/** A name that is too long loses its end, and has a digest of all of it instead. */
const fitted = (name: string, length: number): string =>
  name.length <= length ? name : `${name.slice(0, length - 17)}-${digest(name).slice(0, 16)}`

/** The group of a key's messages, for which AWS keeps order. Two keys in one group would only wait for each other. */
export const groupOf = (key: string): string => inAscii(key.toWellFormed())

/** By which AWS drops repetitions for five minutes. */
export const deduplicationOf = (id: string): string => inAscii(id.toWellFormed())

/** Groups and ids have 1 to 128 printable characters of ASCII. */
const inAscii = (text: string): string => {
  const encoded = text.replaceAll(/[^\x21-\x24\x26-\x7e]+/g, encodeURIComponent)
  return encoded.length <= idLength ? encoded : `sha256:${digest(text)}`
}

const idLength = 128

const digest = (text: string): string => createHash('sha256').update(text).digest('hex')
