/** Headers as clients hand them over (records, pairs, lists of values), counted before they are looked at, attributes sorted out. */

import { PabalError } from '../../core/errors.ts'
import type { Binding } from './binding.ts'
import { type MessageLimits, textOf } from './body.ts'
import { invalid, quoted } from './cloud-event.ts'

/** A record, a Map, the `Headers` of fetch, the headers of a NATS message, … */
export type HeadersIn = Readonly<Record<string, unknown>> | Iterable<readonly [string, unknown]>

export interface SortedHeaders {
  readonly contentType: string | undefined
  /** By the attribute's name, still as the binding writes them. */
  readonly attributes: ReadonlyMap<string, unknown>
  /** Headers of any kind. */
  readonly count: number
}

/** @throws PABAL_MESSAGE_TOO_LARGE, PABAL_MESSAGE_INVALID for an attribute that is there twice */
export const sortHeaders = (headers: HeadersIn, binding: Binding, limits: MessageLimits): SortedHeaders => {
  const attributes = new Map<string, unknown>()
  let contentType: string | undefined
  let count = 0
  let bytes = 0
  for (const [header, given] of pairsOf(headers)) {
    const values: readonly unknown[] = Array.isArray(given) ? given : [given]
    count += values.length
    bytes += Buffer.byteLength(header) + values.reduce<number>((sum, value) => sum + bytesOf(value), 0)
    if (count > limits.messageHeaders || bytes > limits.messageHeaderBytes)
      throw new PabalError(
        'PABAL_MESSAGE_TOO_LARGE',
        `the message has more than ${limits.messageHeaders} headers (messageHeaders) or ${limits.messageHeaderBytes} bytes of them (messageHeaderBytes)`,
      )
    const name = attributeName(header, binding)
    const isContentType = header.toLowerCase() === 'content-type'
    if (name === undefined && !isContentType) continue
    // A header without a value is one that is not there: JavaScript clients write them.
    const set = values.filter((value) => value !== null && value !== undefined)
    if (set.length === 0) continue
    if (set.length > 1 || (name === undefined ? contentType !== undefined : attributes.has(name)))
      throw invalid(`header ${quoted(header)} is there twice`)
    if (name === undefined) contentType = typed(set[0])
    else attributes.set(name, set[0])
  }
  return { contentType, attributes, count }
}

const pairsOf = (headers: HeadersIn): Iterable<readonly [string, unknown]> =>
  Symbol.iterator in headers ? (headers as Iterable<readonly [string, unknown]>) : Object.entries(headers)

/** Of what is no text and no bytes, a little: nobody reads it. */
const bytesOf = (value: unknown): number =>
  typeof value === 'string' ? Buffer.byteLength(value) : value instanceof Uint8Array ? value.length : 8

const attributeName = (header: string, { prefixes, anyCase }: Binding): string | undefined => {
  const name = anyCase ? header.toLowerCase() : header
  const prefix = prefixes.find((begin) => name.startsWith(begin))
  return prefix === undefined ? undefined : name.slice(prefix.length)
}

const typed = (value: unknown): string | undefined => {
  if (typeof value !== 'string' && !(value instanceof Uint8Array)) throw invalid('the content type is no text')
  return textOf(value, 'attribute', 'the content type').trim() || undefined
}
