/**
 * What everything is called on the broker. Names of streams and consumers hold no dots, and names of contexts no hyphens, so a
 * hyphen stands where a dot would, and no two names meet.
 */

import { PabalError } from '../../core/errors.ts'
import type { Channel } from '../transport.ts'

export interface ChannelNames {
  readonly stream: string
  /** All that a stream of pabal takes. */
  readonly subjects: string
}

export interface SubscriberNames {
  readonly consumer: string
  readonly refused: { readonly stream: string; readonly subject: string }
  /** The stream of one message whose holder receives, and its only consumer. */
  readonly turn: { readonly stream: string; readonly subject: string; readonly consumer: string }
}

const prefixPattern = /^[A-Za-z0-9_-]{1,40}$/

/** @throws PABAL_COMPOSITION_INVALID */
export const checkPrefix = (prefix: string): void => {
  if (!prefixPattern.test(prefix))
    throw new PabalError(
      'PABAL_COMPOSITION_INVALID',
      `nats: the prefix ${JSON.stringify(prefix)} is not of letters, digits, '_' and '-', 40 at most`,
    )
}

export const faultInName = (stream: string): string | undefined =>
  /^[^\s.*>/\\\p{Cc}]{1,255}$/u.test(stream)
    ? undefined
    : "it is a stream, whose name has 1 to 255 characters, and no space, '.', '*', '>', '/' or '\\'"

export const channelNames = (prefix: string, { context, name }: Channel): ChannelNames => ({
  stream: name ?? `${prefix}-${context}`,
  subjects: `${prefix}.${context}.>`,
})

export const subscriberNames = (prefix: string, { context }: Channel, subscriber: string): SubscriberNames => {
  const consumer = `${prefix}-${context}-${subscriber}`
  // Not below the channel's own subjects, which its stream takes all of: streams share no subject.
  return {
    consumer,
    refused: { stream: `${consumer}-refused`, subject: `${prefix}-refused.${context}.${subscriber}` },
    turn: { stream: `${consumer}-turn`, subject: `${prefix}-turn.${context}.${subscriber}`, consumer: 'turn' },
  }
}

/**
 * Of one message. It ends in the event's type, so that others may subscribe to some types only; the key is left to the headers:
 * it may hold anything and be longer than a subject may, and the server keeps a state of each subject in memory.
 */
export const subjectOf = (prefix: string, { context }: Channel, type: string): string =>
  `${prefix}.${context}.${type.split('.').map(token).join('.')}`

/** Types of pabal are tokens as they are. */
const token = (text: string): string =>
  text === ''
    ? '='
    : text.replaceAll(/[^A-Za-z0-9_-]/g, (character) => `=${character.codePointAt(0)!.toString(16).toUpperCase()}`)

/** Whether all of `subject` is taken by who listens to `pattern`. */
export const covers = (pattern: string, subject: string): boolean => {
  const [patterns, tokens] = [pattern.split('.'), subject.split('.')]
  const end = patterns.indexOf('>')
  if (end === -1 ? patterns.length !== tokens.length : tokens.length <= end) return false
  const fixed = end === -1 ? patterns : patterns.slice(0, end)
  return fixed.every((part, i) => part === tokens[i] || (part === '*' && tokens[i] !== '>'))
}
