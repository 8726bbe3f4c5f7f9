/** Bytes and texts of messages: UTF-8 or refused, and measured before anything looks into them. */

import { PabalError } from '../../core/errors.ts'
import type { Limits } from '../../core/limits.ts'
import { textDepth, utf8Bytes } from '../json.ts'
import { type Attributes, identityOf, invalid } from './cloud-event.ts'

export type MessageLimits = Pick<
  Limits,
  'payloadBytes' | 'payloadDepth' | 'messageHeaders' | 'messageHeaderBytes' | 'batchEvents' | 'batchBytes'
>

/** Whether it is more than so many bytes of UTF-8. A text that is hostile gets no exact count. */
export const exceeds = (body: string | Uint8Array, bytes: number): boolean =>
  body.length > bytes || (typeof body === 'string' && body.length * 3 > bytes && utf8Bytes(body) > bytes)

/** @throws PABAL_PAYLOAD_TOO_LARGE */
export const checkPayloadSize = (data: string | Uint8Array, { payloadBytes }: MessageLimits, of?: Attributes): void => {
  if (exceeds(data, payloadBytes))
    throw new PabalError('PABAL_PAYLOAD_TOO_LARGE', `the data is larger than ${payloadBytes} bytes`, {
      context: identityOf(of),
    })
}

/** By its brackets, without parsing. @throws PABAL_PAYLOAD_TOO_DEEP */
export const checkDepth = (text: string, depth: number, of?: Attributes): void => {
  if (textDepth(text) > depth)
    throw new PabalError('PABAL_PAYLOAD_TOO_DEEP', `the message is nested deeper than ${depth}`, {
      context: identityOf(of),
    })
}

const decoders = {
  /** A byte order mark is no part of a document. */
  document: new TextDecoder('utf-8', { fatal: true }),
  /** In an attribute it is a character like any other. */
  attribute: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }),
}

/** @throws PABAL_MESSAGE_INVALID */
export const textOf = (
  body: string | Uint8Array,
  kind: 'document' | 'attribute',
  what: string,
  of?: Attributes,
): string => {
  if (typeof body === 'string') return body
  try {
    return decoders[kind].decode(body)
  } catch {
    throw invalid(`${what} is not UTF-8`, of)
  }
}

/** Only the alphabet of RFC 4648 with its padding: `Buffer` takes anything. */
export const bytesOfBase64 = (text: string, of?: Attributes): Uint8Array => {
  if (text.length % 4 !== 0 || /[^A-Za-z0-9+/]/.test(text.replace(/={1,2}$/, '')))
    throw invalid('data_base64 is not base64', of)
  return new Uint8Array(Buffer.from(text, 'base64'))
}

export const base64Of = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64')

const isJsonText = (text: string): boolean => {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

/** A text that is written where bytes will be. @throws PABAL_MESSAGE_INVALID for a lone surrogate, which UTF-8 has no bytes for */
export const checkWritable = (text: string, of?: Attributes): void => {
  if (!text.isWellFormed()) throw invalid('the data has a lone surrogate, which UTF-8 cannot carry', of)
}

/**
 * What came in binary mode was never parsed, and `1,"id":"forged"` must not become members of an envelope.
 * @throws PABAL_MESSAGE_INVALID
 */
export const checkEmbeddable = (text: string, of?: Attributes): void => {
  checkWritable(text, of)
  if (!isJsonText(text)) throw invalid('the data is not JSON, although its content type says so', of)
}
