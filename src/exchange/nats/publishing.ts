/**
 * Publishes a batch over one connection, so that the stream has it in the order in which it was sent, and waits for the
 * confirmation of each message. Of a key of which one failed nothing more is sent.
 */

import { nats } from '../../event/cloudevents/binding.ts'
import { type Message, toMessage } from '../../event/cloudevents/message.ts'
import { type Outgoing, type Published, tooLarge, type Traits } from '../transport.ts'
import type { MessageHeaders } from './driver.ts'
import { asPabalError, isNobodyThere, isTimeout, unreachable, wrong } from './errors.ts'
import { type Connected, unlessAborted } from './link.ts'

export interface Publishing {
  readonly connected: Connected
  readonly headers: () => MessageHeaders
  readonly stream: string
  readonly subjectOf: (type: string) => string
  readonly traits: Traits
  readonly timeoutMs: number
  /** The stream is not there any more. */
  readonly onMissing: () => void
}

/** Unconfirmed at a time: enough to fill a connection, and no more than a process can hold. */
const unconfirmedMax = 256
const unconfirmedBytesMax = 4_194_304

interface Ready {
  readonly outgoing: Outgoing
  readonly message: Message
  readonly bytes: number
  /** In the batch. */
  readonly at: number
}

/** Rejects when nothing was confirmed and the connection is to blame, or the signal has aborted. */
export const publishBatch = async (
  publishing: Publishing,
  messages: readonly Outgoing[],
  signal: AbortSignal,
): Promise<readonly Published[]> => {
  const { connected, traits } = publishing
  signal.throwIfAborted()
  const outcomes: Published[] = messages.map(() => undefined)
  /** Where each key has failed first. */
  const failedAt = new Map<string, number>()
  const fail = (at: number, outcome: Published): void => {
    outcomes[at] = outcome
    const { key } = messages[at]!
    failedAt.set(key, Math.min(at, failedAt.get(key) ?? at))
  }

  const ready: Ready[] = []
  for (const [at, outgoing] of messages.entries()) {
    const made = encoded(outgoing, publishing)
    if ('error' in made) fail(at, made)
    else if (made.bytes > traits.messageBytes) fail(at, tooLarge(outgoing, made.bytes, traits))
    else ready.push({ outgoing, at, ...made })
  }

  const stopped = AbortSignal.any([signal, connected.lost])
  let confirmed = 0
  let timedOut = false
  const rounds = roundsOf(ready)
  for (const [index, round] of rounds.entries()) {
    const open = new Set<Ready>()
    const send = async (one: Ready): Promise<void> => {
      const before = failedAt.get(one.outgoing.key)
      if (before !== undefined && before < one.at) return fail(one.at, outcomes[before])
      open.add(one)
      try {
        await publishOne(publishing, one)
        confirmed++
      } catch (error) {
        timedOut ||= isTimeout(error)
        fail(one.at, { error: explained(error, publishing) })
      }
      open.delete(one)
    }
    try {
      await unlessAborted(Promise.all(round.map(send)), stopped)
    } catch (error) {
      const unknown = { error }
      for (const { at } of [...open, ...rounds.slice(index + 1).flat()]) fail(at, unknown)
      if (confirmed === 0 || signal.aborted) throw error
      break
    }
    if (timedOut) {
      // The rest would wait as long, for nothing.
      const unsent = { error: unreachable('the broker did not confirm what was sent before') }
      for (const { at } of rounds.slice(index + 1).flat()) fail(at, unsent)
      await connected.probe()
      if (confirmed === 0) throw unsent.error
      break
    }
  }
  return outcomes
}

const encoded = (outgoing: Outgoing, { stream }: Publishing): Omit<Ready, 'outgoing' | 'at'> | { error: unknown } => {
  try {
    const message = toMessage(outgoing.event, nats, 'binary')
    return { message, bytes: bytesOf(message, outgoing.id, stream) }
  } catch (error) {
    return { error }
  }
}

/** As the server counts: the block of headers and the body. Headers are ASCII. */
const bytesOf = ({ headers, body }: Message, id: string, stream: string): number => {
  const own = 'NATS/1.0\r\n\r\n'.length + `Nats-Msg-Id: ${id}\r\nNats-Expected-Stream: ${stream}\r\n`.length
  const all = Object.entries(headers).reduce((sum, [name, value]) => sum + name.length + value.length + 4, own)
  return all + (body === null ? 0 : Buffer.byteLength(body))
}

const roundsOf = (ready: readonly Ready[]): readonly (readonly Ready[])[] => {
  const rounds: Ready[][] = []
  let bytes = 0
  for (const one of ready) {
    const round = rounds.at(-1)
    if (round === undefined || round.length === unconfirmedMax || bytes + one.bytes > unconfirmedBytesMax) {
      rounds.push([one])
      bytes = one.bytes
    } else {
      round.push(one)
      bytes += one.bytes
    }
  }
  return rounds
}

const publishOne = async (publishing: Publishing, { outgoing, message }: Ready): Promise<void> => {
  const { connected, stream, subjectOf, timeoutMs } = publishing
  const headers = publishing.headers()
  for (const [name, value] of Object.entries(message.headers)) headers.append(name, value)
  const type = String(outgoing.event.attributes.get('type'))
  await connected.jetstream.publish(subjectOf(type), message.body ?? '', {
    // A repetition within the stream's window (two minutes) is confirmed and not stored again.
    msgID: outgoing.id,
    headers,
    timeout: timeoutMs,
    // Or a stream of somebody else that takes the same subjects would confirm it.
    expect: { streamName: stream },
  })
}

const explained = (error: unknown, { stream, onMissing }: Publishing): unknown => {
  if (!isNobodyThere(error)) return asPabalError(error, `publishing to ${stream}`)
  onMissing()
  return wrong(`publishing to ${stream}: nobody takes it; the stream is not there, or JetStream is not enabled`, error)
}
