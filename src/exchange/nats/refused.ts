/** What a subscriber has refused: a stream of copies, each with the reason. */

import { isPabalError } from '../../core/errors.ts'
import { percentDecode, percentEncode } from '../../event/cloudevents/percent.ts'
import type { OpenTransport, Refused } from '../transport.ts'
import type { JetStreamManager, JetStreamMessage, MessageHeaders, StoredMessage } from './driver.ts'
import { asPabalError, isNoMessage, isNotFound, isTooMuch } from './errors.ts'
import type { Connected } from './link.ts'
import type { ChannelNames, SubscriberNames } from './names.ts'
import { incoming } from './message.ts'

export interface RefusedPlace {
  readonly connected: Connected
  readonly headers: () => MessageHeaders
  readonly names: ChannelNames
  readonly own: SubscriberNames
  readonly timeoutMs: number
}

/** The reason is for people, and goes with a message that may fill its space already. */
const reasonCharacters = 200

/** Resolves when the broker has the copy. */
export const copyRefused = async (
  { connected, headers, names, own, timeoutMs }: RefusedPlace,
  message: JetStreamMessage,
  reason: Error,
): Promise<void> => {
  const { stream, subject } = own.refused
  const publish = (original: readonly (readonly [string, string])[], body: Uint8Array): Promise<unknown> => {
    const copy = headers()
    for (const [name, value] of [...original, ...reasonsOf(message, reason)]) copy.append(name, value)
    return connected.jetstream.publish(subject, body, {
      headers: copy,
      msgID: `${names.stream}-${message.seq}`,
      timeout: timeoutMs,
      expect: { streamName: stream },
    })
  }
  try {
    await publish(originalOf(message), message.data).catch((error: unknown) => {
      if (!isTooMuch(error)) throw error
      // With the reason it is more than the server carries. In the channel's own stream it is whole.
      return publish([], new Uint8Array())
    })
  } catch (error) {
    throw asPabalError(error, `keeping a refused message in ${stream}`)
  }
}

const reasonsOf = (message: JetStreamMessage, reason: Error): readonly (readonly [string, string])[] => [
  ['Pabal-Refused', percentEncode(isPabalError(reason) ? reason.code : reason.name)],
  ['Pabal-Refused-Reason', percentEncode(reason.message.slice(0, reasonCharacters).toWellFormed())],
  ['Pabal-Subject', message.subject],
  ['Pabal-Sequence', String(message.seq)],
]

/** As it came, but for what the broker would take as said to itself. */
const originalOf = (message: JetStreamMessage): readonly (readonly [string, string])[] => {
  try {
    return [...(message.headers ?? [])].flatMap(([name, values]) =>
      /^nats-/i.test(name) ? [] : values.map((value): readonly [string, string] => [name, value]),
    )
  } catch {
    return []
  }
}

/** Shows what is kept, the oldest first; what `judge` answers true for is deleted. */
export const judgeRefused = async (
  manager: JetStreamManager,
  { stream, subject }: SubscriberNames['refused'],
  limit: number,
  judge: Parameters<NonNullable<OpenTransport['refused']>>[3],
): Promise<void> => {
  const asked = <T>(answer: Promise<T>): Promise<T> =>
    answer.catch((error: unknown) => {
      throw asPabalError(error, `looking at what was refused in ${stream}`)
    })
  for (let seq = 1, shown = 0; shown < limit; shown++) {
    const kept = await asked(
      manager.streams.getMessage(stream, { seq, next_by_subj: subject }).catch((error: unknown) => {
        if (!isNoMessage(error) && !isNotFound(error)) throw error
        return null
      }),
    )
    if (kept === null) return
    if (await judge(refusedOf(kept))) await asked(manager.streams.deleteMessage(stream, kept.seq, false))
    seq = kept.seq + 1
  }
}

const refusedOf = ({ seq, header: headers, data }: StoredMessage): Refused => {
  const own = new Map([...headers].map(([name, [value = '']]) => [name.toLowerCase(), value]))
  const said = ['pabal-refused', 'pabal-refused-reason'].map((name) => percentDecode(own.get(name) ?? '', name))
  return { id: String(seq), reason: said.join(': '), incoming: incoming({ data, headers }), body: data }
}
