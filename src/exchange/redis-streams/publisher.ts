/** Publishing: messages as entries of the channel's stream, in transactions, so that of a key nothing is there before what is in front of it. */

import { describeError, PabalError } from '../../core/errors.ts'
import type { Outgoing, Published, Traits } from '../transport.ts'
import type { Connection } from './connection.ts'
import { eventField } from './entry.ts'
import { unreachable } from './failure.ts'
import { type Sendable, sendable } from './sendable.ts'

/** Of one transaction, during which the server does nothing else. */
const perTransaction = 1_000
const transactionBytes = 4_194_304

export interface PublisherParts {
  readonly connection: Connection
  readonly traits: Traits
  readonly provision: boolean
  /** That must have confirmed as well. */
  readonly replicas: number
  readonly timeoutMs: number
}

/**
 * What is wrong with the stream or the server is no message's failure: it rejects, and all of it is tried again.
 * @throws when nothing was published; the signal's reason when it aborts before the answer
 */
export const publish = async (
  parts: PublisherParts,
  stream: string,
  messages: readonly Outgoing[],
  signal: AbortSignal,
): Promise<readonly Published[]> => {
  signal.throwIfAborted()
  const outcomes: Published[] = messages.map(() => undefined)
  const parted = chunks(sendable(messages, parts.traits, outcomes))
  for (const [n, chunk] of parted.entries())
    try {
      await send(parts, stream, chunk, signal)
    } catch (error) {
      if (n === 0) throw error
      // Behind what failed nothing is sent: it would be there before it.
      const rest = { error: new Error(`not published: ${describeError(error)}`) }
      for (const { index } of parted.slice(n).flat()) outcomes[index] = rest
      break
    }
  return outcomes
}

const chunks = (messages: readonly Sendable[]): readonly (readonly Sendable[])[] => {
  const parted: Sendable[][] = []
  let bytes = 0
  for (const message of messages) {
    const last = parted.at(-1)
    bytes += message.bytes
    if (last === undefined || last.length === perTransaction || bytes > transactionBytes) {
      parted.push([message])
      bytes = message.bytes
    } else last.push(message)
  }
  return parted
}

/** All of it is there, or it throws. */
const send = async (
  { connection, provision, replicas, timeoutMs }: PublisherParts,
  stream: string,
  chunk: readonly Sendable[],
  signal: AbortSignal,
): Promise<void> => {
  const place = provision ? [stream, '*'] : [stream, 'NOMKSTREAM', '*']
  const commands = chunk.map(({ text }) => ['xadd', ...place, eventField, text])
  // Half of the time for an answer: it has to come back as well.
  const wait = { replicas, ms: Math.floor(timeoutMs / 2) }
  const { replies, confirmed } = await connection.transaction(commands, wait, signal)
  if (replies.length < chunk.length) throw unreachable('the server has answered less than it was asked')
  for (const reply of replies) {
    if ('error' in reply) throw reply.error
    if (reply.value === null) throw new PabalError('PABAL_TRANSPORT_INVALID', `the stream '${stream}' is missing`)
  }
  if (confirmed < replicas) throw unreachable(`${confirmed} of ${replicas} replicas have confirmed`)
}
