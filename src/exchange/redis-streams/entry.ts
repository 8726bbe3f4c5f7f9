/**
 * Events as entries of a stream. There is no binding of CloudEvents for Redis: an event goes as JSON in the field `event`. An entry
 * without that field is read in binary mode, as on Kafka: attributes in fields `ce_…`, `content-type`, and `data`.
 */

import { type Binding, kafka } from '../../event/cloudevents/binding.ts'
import { invalid } from '../../event/cloudevents/cloud-event.ts'
import { fromMessage } from '../../event/cloudevents/message.ts'
import { fromJson } from '../../event/cloudevents/structured.ts'
import type { Incoming } from '../transport.ts'

export const eventField = 'event'
const dataField = 'data'

/** Fields that are looked through for those two; an entry may have millions. */
const fieldsMax = 200

const binding: Binding = { ...kafka, name: 'Redis Streams' }

/** Names and values by turns, as the server gives them. */
export type Fields = readonly Buffer[]

export const incoming = (fields: Fields): Incoming => ({
  decode: (limits) => {
    const event = valueOf(fields, eventField)
    if (event !== undefined) return fromJson(event, limits)
    const decoded = fromMessage({ headers: headersOf(fields), body: valueOf(fields, dataField) }, binding, limits)
    if (decoded.mode === 'batch') throw invalid('an entry is one event')
    return decoded.event
  },
})

/** The event in JSON, or the data; null where neither is there. */
export const bodyOf = (fields: Fields): Buffer | null =>
  valueOf(fields, eventField) ?? valueOf(fields, dataField) ?? null

const valueOf = (fields: Fields, name: string): Buffer | undefined => {
  for (let at = 0; at + 1 < fields.length && at < 2 * fieldsMax; at += 2)
    if (fields[at]!.length === name.length && fields[at]!.toString('latin1') === name) return fields[at + 1]
  return undefined
}

function* headersOf(fields: Fields): Iterable<readonly [string, unknown]> {
  for (let at = 0; at + 1 < fields.length; at += 2) {
    const name = fields[at]!.toString()
    if (name !== dataField) yield [name, fields[at + 1]!]
  }
}
