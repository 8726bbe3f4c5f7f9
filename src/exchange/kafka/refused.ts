/**
 * What a subscriber has refused: a topic of copies, each with the reason. Nothing can be deleted out of its middle: what is told to
 * go is cut off where nothing that stays stands before it; else it is marked as gone at the end, and cut off with its mark later.
 */

import type { OpenTransport, Refused } from '../transport.ts'
import { transportError } from './errors.ts'
import { outOfRange, type Reader } from './reader.ts'
import { bytesOf, incomingOf, type Read, type Written } from './record.ts'
import type { Span } from './topics.ts'

const header = { reason: 'pabal-refused', from: 'pabal-refused-from', gone: 'pabal-refused-gone' } as const

/** A copy of a message that was of no use, with the reason and where it stood. Its data stays behind where it is too large. */
export const refusedRecord = (
  { partition, offset, record }: Read,
  topic: string,
  reason: Error,
  messageBytes: number,
): Written => {
  const why = [
    [header.reason, reason.message.slice(0, reasonLength)],
    [header.from, `${topic}/${partition}/${offset}`],
  ].map(([name, value]) => [Buffer.from(name!), Buffer.from(value!)] as const)
  const copy: Written = {
    key: record.key ?? none,
    value: record.value,
    headers: [...record.headers.map(([name, value]) => [name ?? none, value ?? none] as const), ...why],
  }
  return bytesOf(copy) <= messageBytes ? copy : { key: none, value: null, headers: why }
}

const none = Buffer.alloc(0)
/** Characters of a reason, which may quote what came. */
const reasonLength = 1_000

export interface RefusedPlace {
  readonly topic: string
  readonly reader: Reader
  /** Undefined: the topic is not there. */
  readonly span: () => Promise<Span | undefined>
  /** Deletes what stands before. */
  readonly cut: (offset: bigint) => Promise<void>
  readonly write: (record: Written) => Promise<void>
}

/** Shows what is kept, the oldest first; what `judge` answers true for is not shown again. */
export const judgeRefused = async (
  place: RefusedPlace,
  limit: number,
  judge: Parameters<NonNullable<OpenTransport['refused']>>[3],
): Promise<void> => {
  const span = await place.span()
  if (span === undefined) return
  const gone = new Set<string>()
  for await (const { record } of readAll(place, span)) {
    const offset = markedIn(record)
    if (offset !== undefined) gone.add(offset)
  }
  let shown = 0
  let went = false
  let firstToStay: bigint | undefined
  let behind = span.begin
  for await (const read of readAll(place, span)) {
    const { offset, record } = read
    if (markedIn(record) === undefined && !gone.has(String(offset))) {
      const goes = shown++ < limit && (await judge(asRefused(read)))
      if (!goes) firstToStay ??= offset
      if (shown > limit) break
      if (goes) await (firstToStay === undefined ? place.cut(offset + 1n) : place.write(markOf(offset)))
      went ||= goes
    }
    behind = offset + 1n
  }
  // With what had gone before, and its marks.
  if (went) await place.cut(firstToStay ?? behind)
}

/** Of a copy, which has two headers at least, it cannot be told by what a stranger wrote into the original. */
const markedIn = ({ headers }: Read['record']): string | undefined =>
  headers.length === 1 && String(headers[0]![0]) === header.gone ? String(headers[0]![1]) : undefined

const markOf = (offset: bigint): Written => ({
  key: none,
  value: null,
  headers: [[Buffer.from(header.gone), Buffer.from(String(offset))]],
})

const asRefused = (read: Read): Refused => {
  const { offset, record } = read
  // Those of the original stand before.
  const reason = record.headers.findLast(([name]) => String(name) === header.reason)?.[1]
  const own: readonly string[] = Object.values(header)
  const headers = record.headers.filter(([name]) => !own.includes(String(name)))
  return {
    id: String(offset),
    reason: reason?.toString(),
    incoming: incomingOf({ ...read, record: { ...record, headers } }),
    body: record.value,
  }
}

/** To the end as it was when it was asked for: who refuses meanwhile holds nobody up. */
async function* readAll({ topic: name, reader, span }: RefusedPlace, { begin, end }: Span): AsyncGenerator<Read> {
  for (let at = begin; at < end; ) {
    const { records, next } = await fetchFrom(reader, at).catch(async (error: unknown) => {
      if (outOfRange(error).length === 0) throw transportError(error, `Kafka, topic ${name}`)
      // Somebody else has cut it, or its records had their time.
      return { records: [], next: (await span())?.begin }
    })
    for (const read of records) if (read.offset < end) yield read
    if (next === undefined || next <= at) return
    at = next
  }
}

const fetchFrom = async (
  reader: Reader,
  at: bigint,
): Promise<{ records: readonly Read[]; next: bigint | undefined }> => {
  const topic = await reader.topic()
  const { records, ends } = await reader.fetch(topic, topic.partitions[0]!.leader, new Map([[0, at]]))
  return { records, next: ends.get(0) }
}
