/** An event as a message of AMQP 0-9-1, in binary mode: attributes are headers, the data is the body. */

import { amqp } from '../../event/cloudevents/binding.ts'
import { invalid } from '../../event/cloudevents/cloud-event.ts'
import { fromMessage, toMessage } from '../../event/cloudevents/message.ts'
import { type Incoming, type Outgoing, tooLarge, type Traits } from '../transport.ts'
import type { RabbitMessage, RabbitProperties } from './driver.ts'

export interface Encoded {
  readonly outgoing: Outgoing
  readonly routingKey: string
  readonly content: Buffer
  readonly properties: RabbitProperties
}

/** One that cannot be sent. */
export interface Failed {
  readonly error: unknown
}

export const encoded = (outgoing: Outgoing, traits: Traits): Encoded | Failed => {
  try {
    const { event, id } = outgoing
    const { headers, contentType, body } = toMessage(event, amqp, 'binary')
    const content = bytesOf(body)
    const bytes = Object.entries(headers).reduce(
      (sum, [name, value]) => sum + Buffer.byteLength(name) + Buffer.byteLength(value),
      content.length,
    )
    if (bytes > traits.messageBytes) return tooLarge(outgoing, bytes, traits)
    return {
      outgoing,
      routingKey: String(event.attributes.get('type')),
      content,
      properties: { persistent: true, messageId: id, headers, ...(contentType === undefined ? {} : { contentType }) },
    }
  } catch (error) {
    return { error }
  }
}

const bytesOf = (body: string | Uint8Array | null): Buffer => {
  if (body === null) return Buffer.alloc(0)
  return typeof body === 'string' ? Buffer.from(body) : Buffer.from(body.buffer, body.byteOffset, body.byteLength)
}

export const incoming = ({ content, properties: { contentType, headers = {} } }: RabbitMessage): Incoming => ({
  decode: (limits) => {
    const decoded = fromMessage(
      {
        headers: Object.entries(headers).map(([name, value]) => [name, dated(value)] as const),
        contentType: typeof contentType === 'string' ? contentType : undefined,
        body: content,
      },
      amqp,
      limits,
    )
    if (decoded.mode === 'batch') throw invalid('several events are no message here')
    return decoded.event
  },
})

/** The client gives a timestamp, which AMQP 0-9-1 has in seconds, as an object of its own. */
export const dated = (value: unknown): unknown => {
  if (typeof value !== 'object' || value === null) return value
  const { '!': type, value: seconds } = value as { readonly '!'?: unknown; readonly value?: unknown }
  return type === 'timestamp' && typeof seconds === 'number' ? new Date(seconds * 1_000) : value
}
