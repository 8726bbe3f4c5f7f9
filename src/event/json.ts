/** The codec of payloads: exact JSON text in, exact JSON text out, and nothing that JSON would change on the way. */

import { PabalError } from '../core/errors.ts'

export interface JsonLimits {
  readonly payloadBytes: number
  readonly payloadDepth: number
}

const forbidden = (key: string): boolean => key === '__proto__' || key === 'constructor'

const refuseKey = (key: string, what: string): never => {
  throw new PabalError('PABAL_PAYLOAD_FORBIDDEN_KEY', `${what} has a key named ${JSON.stringify(key)}`)
}
const refuseDepth = (limits: JsonLimits, what: string): never => {
  throw new PabalError('PABAL_PAYLOAD_TOO_DEEP', `${what} is nested deeper than ${limits.payloadDepth}`)
}
const refuseValue = (why: string, what: string): never => {
  throw new PabalError('PABAL_PAYLOAD_NOT_JSON', `${what} holds ${why}`)
}

/** Refuses what `JSON.stringify` would silently change: NaN, Infinity, -0, undefined in arrays, class instances, cycles (by depth). */
const check = (value: unknown, depth: number, limits: JsonLimits, what: string): void => {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return
    case 'number':
      if (!Number.isFinite(value)) refuseValue(`${value}, which JSON has no word for`, what)
      if (value === 0 && 1 / value < 0) refuseValue('negative zero, which JSON text does not keep', what)
      return
    case 'object':
      break
    default:
      refuseValue(`a ${typeof value}`, what)
  }
  if (value === null) return
  if (depth >= limits.payloadDepth) refuseDepth(limits, what)
  if (Array.isArray(value)) {
    for (const item of value) check(item, depth + 1, limits, what)
    return
  }
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null)
    refuseValue(
      `an instance of ${(prototype as { constructor?: { name?: string } }).constructor?.name ?? 'a class'}`,
      what,
    )
  for (const key of Object.keys(value as object)) {
    if (forbidden(key)) refuseKey(key, what)
    const item = (value as Record<string, unknown>)[key]
    // An absent optional property and one that is undefined are the same JSON.
    if (item !== undefined) check(item, depth + 1, limits, what)
  }
}

const encoder = new TextEncoder()
export const utf8Bytes = (text: string): number => encoder.encode(text).length

// UTF-16 length bounds UTF-8 from below, three times it from above: most payloads need no exact count, hostile ones get none.
const checkSize = (text: string, { payloadBytes }: JsonLimits, what: string): void => {
  if (text.length * 3 <= payloadBytes) return
  if (text.length > payloadBytes || utf8Bytes(text) > payloadBytes)
    throw new PabalError('PABAL_PAYLOAD_TOO_LARGE', `${what} is larger than ${payloadBytes} bytes`)
}

/**
 * The JSON text of a value that schemas have accepted.
 * @throws PABAL_PAYLOAD_NOT_JSON, PABAL_PAYLOAD_TOO_DEEP, PABAL_PAYLOAD_TOO_LARGE, PABAL_PAYLOAD_FORBIDDEN_KEY
 */
export const encodeJson = (value: unknown, limits: JsonLimits, what: string): string => {
  check(value, 0, limits, what)
  const text = JSON.stringify(value)
  checkSize(text, limits, what)
  return text
}

/** Depth of a JSON text by its brackets, without parsing it: a hostile text must not reach the parser's stack. */
export const textDepth = (text: string): number => {
  let depth = 0
  let deepest = 0
  let inString = false
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i)
    if (inString) {
      if (c === 92) i++
      else if (c === 34) inString = false
    } else if (c === 34) inString = true
    else if (c === 123 || c === 91) deepest = Math.max(deepest, ++depth)
    else if (c === 125 || c === 93) depth--
  }
  return deepest
}

/**
 * An integer that a double cannot hold, and what overflows to Infinity or underflows to 0, would change on the way. 1.10 and
 * 1e2 are the same value written otherwise; the last digits of a fraction are no double's business.
 */
const exact = (source: string, value: number): boolean => {
  if (!Number.isFinite(value)) return false
  if (value === 0) return !/^[^eE]*[1-9]/.test(source)
  return (
    Number.isSafeInteger(value) ||
    !/^-?\d+$/.test(source) ||
    String(value) === source ||
    BigInt(value).toString() === source
  )
}

/**
 * Parses text that came from outside.
 * @throws PABAL_PAYLOAD_NOT_JSON (also for a number that a double would round: integers beyond 2^53), PABAL_PAYLOAD_TOO_DEEP,
 * PABAL_PAYLOAD_TOO_LARGE, PABAL_PAYLOAD_FORBIDDEN_KEY
 */
export const decodeJson = (text: string, limits: JsonLimits, what: string): unknown => {
  checkSize(text, limits, what)
  if (textDepth(text) > limits.payloadDepth) refuseDepth(limits, what)
  try {
    return plain(text) ? JSON.parse(text) : parseCarefully(text, what)
  } catch (error) {
    // The parser's own message quotes the text, which may be private.
    if (error instanceof SyntaxError) refuseValue('text that is not JSON', what)
    throw error
  }
}

/**
 * Nothing in it can be a forbidden key, however it is written, nor a number of more than 15 digits or with an exponent. What says
 * so of a string costs time only: a reviver takes ten times that of the parser.
 */
const plain = (text: string): boolean => !suspicious.test(text)
const suspicious = /__proto__|constructor|\\u|\d{16}|(?:^|[:,[\s])-?\d+(?:\.\d+)?[eE]/

const parseCarefully = (text: string, what: string): unknown =>
  JSON.parse(text, function reviver(this: unknown, key: string, value: unknown, context?: { source?: string }) {
    if (forbidden(key) && !Array.isArray(this)) refuseKey(key, what)
    if (typeof value === 'number' && context?.source !== undefined && !exact(context.source, value))
      refuseValue('a number that would be rounded', what)
    return value
  } as (this: unknown, key: string, value: unknown) => unknown)
