/** Events as records of Kafka and back: CloudEvents in binary mode, the key beside them; both modes are read. */

import { kafka } from '../../event/cloudevents/binding.ts'
import { invalid } from '../../event/cloudevents/cloud-event.ts'
import { fromMessage, toMessage } from '../../event/cloudevents/message.ts'
import type { Incoming, Outgoing } from '../transport.ts'
import type { RawRecord } from './client.ts'

/** A record that is to be written. */
export interface Written {
  readonly key: Buffer
  /** Null: no data, which on a compacted topic is a tombstone. */
  readonly value: Buffer | null
  readonly headers: readonly (readonly [name: Buffer, value: Buffer])[]
}

/** A record that was read, and where. */
export interface Read {
  readonly partition: number
  readonly offset: bigint
  readonly record: RawRecord
}

/** @throws PABAL_MESSAGE_INVALID */
export const toRecord = ({ key, event }: Outgoing): Written => {
  const { headers, body } = toMessage(event, kafka, 'binary')
  return {
    key: Buffer.from(key),
    value: body === null ? null : bytes(body),
    headers: Object.entries(headers).map(([name, value]) => [Buffer.from(name), Buffer.from(value)]),
  }
}

const bytes = (body: string | Uint8Array): Buffer =>
  typeof body === 'string' ? Buffer.from(body) : Buffer.from(body.buffer, body.byteOffset, body.byteLength)

export const incomingOf = ({ record }: Read): Incoming => ({
  decode: (limits) => {
    const headers = record.headers.map(([name, value]): [string, unknown] => [name?.toString() ?? '', value])
    const decoded = fromMessage({ headers, body: record.value }, kafka, limits)
    if (decoded.mode === 'batch') throw invalid('Kafka has no batches')
    return decoded.event
  },
})

/** Of a batch that has nothing else in it: what `max.message.bytes` is compared with, at most. */
export const bytesOf = ({ key, value, headers }: Written): number => {
  let total = overheadBytes.record + key.length + (value?.length ?? 0)
  for (const [name, text] of headers) total += overheadBytes.header + name.length + text.length
  return total
}

/** Beside what it says: lengths of a header's name and value; the heads of a batch, 61 bytes, and of a record. */
const overheadBytes = { header: 10, record: 92 } as const
