/** Events as messages of SNS and back: structured CloudEvents in JSON, since there is no binding, with what subscribers filter by beside. */

import type { MessageLimits } from '../../event/cloudevents/body.ts'
import type { CloudEvent } from '../../event/cloudevents/cloud-event.ts'
import { isReservedAttribute } from '../../event/attributes.ts'
import type { Incoming, Outgoing, Refused } from '../transport.ts'
import { fromAscii, toAscii } from './ascii.ts'
import type { MessageAttribute, PublishEntry, ReceivedMessage } from './driver.ts'
import { isAttributeValue } from './filter-policy.ts'
import { deduplicationOf, groupOf } from './names.ts'

/** Of a message with its attributes, and of all messages of one request: what SNS takes unless an account asks for more. */
export const bytesMax = 262_144

/** Says of a body in ASCII that its escapes were made on the way. More than ten attributes, and raw delivery discards the message. */
const escapedName = 'pabal-json'
const escapedAs = 'ascii'

/** Of a refused message: why. */
const reasonName = 'refused'
/** That a message may have, by the rules of AWS. */
const attributesMax = 10

export type Entry = Omit<PublishEntry, 'Id'>

/** @throws PABAL_MESSAGE_INVALID */
export const toEntry = ({ key, id, event }: Outgoing, fifo: boolean): Entry => {
  const { text, escaped } = toAscii(event)
  const attributes: Record<string, MessageAttribute> = {}
  for (const [name, value] of event.attributes)
    if ((name === 'type' || name === 'source' || !isReservedAttribute(name)) && isAttributeValue(value))
      attributes[name] = attribute(value)
  if (escaped) attributes[escapedName] = attribute(escapedAs)
  const order = fifo ? { MessageGroupId: groupOf(key), MessageDeduplicationId: deduplicationOf(id) } : {}
  return { Message: text, MessageAttributes: attributes, ...order }
}

export const attribute = (value: string): MessageAttribute => ({ DataType: 'String', StringValue: value })

/** As AWS counts: all of it is ASCII. */
export const bytesOf = ({ Message, MessageAttributes }: Entry): number =>
  Object.entries(MessageAttributes).reduce(
    (sum, [name, { DataType, StringValue }]) => sum + name.length + DataType.length + StringValue.length,
    Message.length,
  )

export const bytesOfEvent = (event: CloudEvent): number => bytesOf(toEntry({ key: '', id: '', event }, false))

/** Untrusted. @throws as `Incoming.decode` */
export const fromMessage = ({ Body = '', MessageAttributes }: ReceivedMessage, limits: MessageLimits): CloudEvent =>
  fromAscii({ text: Body, escaped: MessageAttributes?.[escapedName]?.StringValue === escapedAs }, limits)

export const incoming = (message: ReceivedMessage): Incoming => ({ decode: (limits) => fromMessage(message, limits) })

/** Those of the message as far as there is room for them, and the reason. */
export const refusedAttributes = (
  { MessageAttributes = {} }: ReceivedMessage,
  reason: Error,
): Record<string, MessageAttribute> => {
  const attributes: Record<string, MessageAttribute> = {}
  // First the one without which the body could not be read as it was meant.
  for (const name of [escapedName, ...Object.keys(MessageAttributes)]) {
    const { DataType, StringValue } = MessageAttributes[name] ?? {}
    if (DataType !== undefined && StringValue !== undefined && Object.keys(attributes).length < attributesMax - 1)
      attributes[name] = { DataType, StringValue }
  }
  return { ...attributes, [reasonName]: attribute(printable(reason.message)) }
}

const printable = (text: string): string => text.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, 500) || '?'

export const refusedOf = (message: ReceivedMessage): Refused => {
  const { MessageId = '', Body, MessageAttributes } = message
  return {
    id: MessageId,
    reason: MessageAttributes?.[reasonName]?.StringValue,
    incoming: incoming(message),
    body: Body ?? null,
  }
}
