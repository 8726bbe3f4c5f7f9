/**
 * Whose turn it is to receive: the one message of a stream of its own, which the server gives to one process at a time and takes
 * back from one that is not heard of. It keeps order, and nothing depends on it but that: who overslept its turn may still be
 * storing, and the receiver sorts that out.
 */

import type { Environment } from '../../core/environment.ts'
import type { JetStreamMessage } from './driver.ts'
import { asPabalError } from './errors.ts'
import type { Connected } from './link.ts'
import type { SubscriberNames } from './names.ts'

export interface Turn {
  /** Until others may have it. */
  readonly leftMs: number
  readonly mine: boolean
  renew(): void
  /** To whoever waits. Only what is mine: else it would be taken from another. */
  giveBack(): void
}

export const turnOf = (message: JetStreamMessage, turnMs: number, environment: Environment): Turn => {
  let since = environment.now()
  return {
    get leftMs() {
      return Math.max(0, since + turnMs - environment.now())
    },
    get mine() {
      return this.leftMs > 0
    },
    renew: () => {
      since = environment.now()
      message.working()
    },
    giveBack: () => message.nak(),
  }
}

/** Makes sure that there is a turn to be had, and only one: of two who try, the stream lets one. */
export const seedTurn = async (
  { manager, jetstream }: Connected,
  { stream, subject }: SubscriberNames['turn'],
): Promise<void> => {
  try {
    const { state } = await manager.streams.info(stream)
    if (state.messages > 0) return
    await jetstream
      .publish(subject, 'turn', { expect: { streamName: stream, lastSequence: state.last_seq } })
      .catch(async (error: unknown) => {
        if ((await manager.streams.info(stream)).state.messages === 0) throw error
      })
  } catch (error) {
    throw asPabalError(error, `looking after the turn of ${stream}`)
  }
}
