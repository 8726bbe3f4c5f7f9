/** Publishing to the topic or queue of a channel: in requests of ten, several under way, each message with its own outcome. */

import type { Channel, Outgoing, Published, Traits } from '../transport.ts'
import { tooLarge } from '../transport.ts'
import { sendInBatches, type Waiting } from './batches.ts'
import type { Call } from './calls.ts'
import { isMissing, isRefused } from './failures.ts'
import { bytesOf, type Entry, toEntry } from './message.ts'
import type { Outlet } from './outlet.ts'
import type { Settings } from './settings.ts'

export interface PublisherParts {
  readonly outlet: Outlet
  readonly call: Call
  readonly traits: Traits
  readonly settings: Pick<Settings, 'fifo' | 'inFlight'>
}

export class Publisher {
  readonly #parts: PublisherParts

  constructor(parts: PublisherParts) {
    this.#parts = parts
  }

  async publish(channel: Channel, messages: readonly Outgoing[], signal: AbortSignal): Promise<readonly Published[]> {
    signal.throwIfAborted()
    const { outlet, settings } = this.#parts
    const outcomes: Published[] = messages.map(() => undefined)
    const waiting = this.#prepare(messages, outcomes)
    if (waiting.length === 0) return outcomes
    const target = await unlessAborted(outlet.targetOf(channel), signal)
    const unknown = new Set<unknown>()
    await sendInBatches(waiting, outcomes, (entries) => this.#send(channel.context, target, entries, signal), {
      inFlight: settings.inFlight,
      isForOne: isRefused,
      isForAll: (error) => {
        if (isRefused(error)) return false
        unknown.add(error)
        return true
      },
    })
    if (outcomes.every((outcome) => unknown.has(outcome?.error))) throw outcomes[0]!.error
    return outcomes
  }

  /** Those that can be sent; the outcome of all others is known. */
  #prepare(messages: readonly Outgoing[], outcomes: Published[]): Waiting<Entry>[] {
    const { settings, traits } = this.#parts
    const failed = new Map<string, Published>()
    const waiting: Waiting<Entry>[] = []
    for (const [index, outgoing] of messages.entries()) {
      const prepared = failed.get(outgoing.key) ?? prepare(outgoing, settings.fifo, traits)
      if ('error' in prepared) {
        outcomes[index] = prepared
        failed.set(outgoing.key, prepared)
      } else waiting.push({ index, group: prepared.entry.MessageGroupId ?? outgoing.key, ...prepared })
    }
    return waiting
  }

  async #send(
    context: string,
    target: string,
    entries: readonly Entry[],
    signal: AbortSignal,
  ): Promise<readonly Published[]> {
    const { outlet, call } = this.#parts
    const numbered = entries.map((entry, at) => ({ Id: String(at), ...entry }))
    try {
      const { Successful = [], Failed = [] } = await call(
        outlet.action,
        (options) => outlet.send(target, numbered, options),
        { signal },
      )
      const confirmed = new Set(Successful.map(({ Id }) => Id))
      return entries.map((_, at): Published => {
        if (confirmed.has(String(at))) return undefined
        const { Code = 'no answer', Message = '' } = Failed.find(({ Id }) => Id === String(at)) ?? {}
        return { error: new Error(`${outlet.action} has not taken it: ${Code} ${Message}`.trim()) }
      })
    } catch (error) {
      throw isMissing(error) ? outlet.gone(context, target, error) : error
    }
  }
}

/** What others wait for too goes on without us. */
const unlessAborted = <T>(work: Promise<T>, signal: AbortSignal): Promise<T> => {
  const { promise, reject } = Promise.withResolvers<never>()
  const abort = (): void => reject(signal.reason as Error)
  signal.addEventListener('abort', abort, { once: true })
  return Promise.race([work, promise]).finally(() => signal.removeEventListener('abort', abort))
}

const prepare = (
  outgoing: Outgoing,
  fifo: boolean,
  traits: Traits,
): { readonly entry: Entry; readonly bytes: number } | { readonly error: unknown } => {
  try {
    const entry = toEntry(outgoing, fifo)
    const bytes = bytesOf(entry)
    return bytes > traits.messageBytes ? tooLarge(outgoing, bytes, traits) : { entry, bytes }
  } catch (error) {
    return { error }
  }
}
