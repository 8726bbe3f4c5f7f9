/** What no message can hold is refused when it is raised: in the log it would wait at the relay for a person, its key with it. */

import type { Limits } from '../core/limits.ts'
import { type StreamPlace, toCloudEvent } from '../event/cloudevents/to-cloud-event.ts'
import type { EventRecord } from '../event/envelope.ts'
import { type Publication, toPublic } from '../event/publication.ts'
import { bytesInJson, tooLarge, type Transport } from './transport.ts'

/** An event with fewer letters than this part of a message's bytes is not looked at: its public form is seldom so much larger. */
const worthALook = 1 / 8

/** As long as those that are given when the event is appended. */
const someId = '00000000-0000-0000-0000-000000000000'

export interface CarriableOptions {
  readonly publication: Publication
  readonly transport: Transport
  readonly stream: string
  readonly limits: Limits
}

/**
 * Asked before commit, so that the unit fails whole. It maps and measures what is large; the relay measures all, to the byte.
 * @throws PABAL_MESSAGE_TOO_LARGE
 */
export const checkCarriable =
  ({ publication, transport, stream, limits }: CarriableOptions) =>
  (event: EventRecord): void => {
    const { traits, bytesOf = bytesInJson } = transport
    if (event.text.length < traits.messageBytes * worthALook) return
    const published = publicOf(publication, event, limits)
    if (published === undefined) return
    published.previousSequence = 0
    const place: StreamPlace = { stream, incarnation: someId, previousId: someId }
    const bytes = bytesOf(toCloudEvent(published, { place }))
    if (bytes > traits.messageBytes) throw tooLarge(event, bytes, traits).error
  }

/** A mapping that fails is no matter of size: it parks the key at the relay, as one that fails for a small event does. */
const publicOf = (publication: Publication, event: EventRecord, limits: Limits): EventRecord | undefined => {
  try {
    return toPublic(publication, event, limits)
  } catch {
    return undefined
  }
}
