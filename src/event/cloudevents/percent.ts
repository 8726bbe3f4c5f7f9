/** Attribute values in headers that hold ASCII only: percent-encoding as the HTTP and NATS bindings say it (HTTP binding §3.1.3.2). */

import { invalid, quoted } from './cloud-event.ts'

/** Space, double quote, percent, and everything outside of U+0021 to U+007E, in UTF-8 with upper-case digits. */
export const percentEncode = (text: string): string => text.replaceAll(/[^!#$&-~]+/g, encodeURIComponent)

/** A quoted string is unescaped first: earlier versions of the spec wrote spaces so. Then one round of percent-decoding. */
export const percentDecode = (header: string, name: string): string => {
  // Protocols allow white space around a value; within, it is encoded.
  const value = header.trim()
  if (!/^[\t\x20-\x7e]*$/.test(value)) throw invalid(`attribute ${quoted(name)} is not percent-encoded ASCII`)
  const text = value.startsWith('"') ? unquote(value, name) : value
  try {
    // Refuses what is no UTF-8, overlong forms and encoded surrogates too.
    return decodeURIComponent(text)
  } catch {
    throw invalid(`attribute ${quoted(name)} is percent-encoded wrongly, or not in UTF-8`)
  }
}

const unquote = (value: string, name: string): string => {
  if (!/^"(?:[^"\\]|\\.)*"$/.test(value))
    throw invalid(`attribute ${quoted(name)} begins a quoted string without an end`)
  return value.slice(1, -1).replaceAll(/\\(.)/g, '$1')
}
