/** Messages as JSON, those that can go. */

import { toJson } from '../../event/cloudevents/structured.ts'
import { type Outgoing, type Published, tooLarge, type Traits } from '../transport.ts'

export interface Sendable {
  /** Among the messages. */
  readonly index: number
  readonly text: string
  readonly bytes: number
}

/** One that cannot go holds back the rest of its key; what became of those is set in `outcomes`. */
export const sendable = (messages: readonly Outgoing[], traits: Traits, outcomes: Published[]): readonly Sendable[] => {
  const held = new Set<string>()
  return messages.flatMap((message, index): Sendable[] => {
    const made = held.has(message.key)
      ? { error: new Error('an event in front of it in its key was not published') }
      : madeOf(message, traits)
    if (!('error' in made)) return [{ index, ...made }]
    held.add(message.key)
    outcomes[index] = made
    return []
  })
}

const madeOf = (message: Outgoing, traits: Traits): { text: string; bytes: number } | { error: unknown } => {
  try {
    const text = toJson(message.event)
    const bytes = Buffer.byteLength(text)
    return bytes > traits.messageBytes ? tooLarge(message, bytes, traits) : { text, bytes }
  } catch (error) {
    return { error }
  }
}
