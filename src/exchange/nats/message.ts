/** A message of NATS as it is received: an event in any of the modes of its binding. */

import { PabalError } from '../../core/errors.ts'
import { nats } from '../../event/cloudevents/binding.ts'
import { fromMessage } from '../../event/cloudevents/message.ts'
import type { Incoming } from '../transport.ts'
import type { JetStreamMessage, MessageHeaders } from './driver.ts'

export type Sent = Pick<JetStreamMessage, 'data' | 'headers'>

export const incoming = (message: Sent): Incoming => ({
  decode: (limits) => {
    const decoded = fromMessage({ headers: headersOf(message), body: message.data }, nats, limits)
    if (decoded.mode === 'batch') throw new PabalError('PABAL_MESSAGE_INVALID', 'NATS has no batches')
    return decoded.event
  },
})

/** The client reads them only now, and may find that they are none. */
const headersOf = (message: Sent): MessageHeaders | Record<string, never> => {
  try {
    return message.headers ?? {}
  } catch (error) {
    throw new PabalError('PABAL_MESSAGE_INVALID', 'its headers cannot be read', { cause: error })
  }
}
