/** A batch as a receiver takes it: each message is read by itself, and what cannot be read is refused alone. */

import { isPabalError } from '../core/errors.ts'
import type { Incoming, Taken } from './transport.ts'

/**
 * `read` gives what is to be entered, or undefined for what is of no interest, or throws why the message is of no use. Rejects when
 * nothing of it was stored.
 */
export const takeBatch = async <Read>(
  batch: readonly Incoming[],
  read: (incoming: Incoming) => Read | undefined,
  enter: (read: readonly Read[]) => Promise<void>,
): Promise<readonly Taken[]> => {
  const found: Read[] = []
  const taken = batch.map((incoming): Taken => {
    try {
      const each = read(incoming)
      if (each !== undefined) found.push(each)
      return undefined
    } catch (error) {
      if (!isPabalError(error)) throw error
      return { refused: error }
    }
  })
  if (found.length > 0) await enter(found)
  return taken
}
