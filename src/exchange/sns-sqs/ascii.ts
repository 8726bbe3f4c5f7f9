/**
 * Events in JSON of nothing but ASCII, and back letter for letter: SQS takes the characters of XML 1.0 only, and a letter that is
 * escaped is taken everywhere. Who knows nothing of this reads the same JSON.
 */

import type { MessageLimits } from '../../event/cloudevents/body.ts'
import { type CloudEvent, isJsonType } from '../../event/cloudevents/cloud-event.ts'
import { fromJson, toJson } from '../../event/cloudevents/structured.ts'

export interface AsciiJson {
  readonly text: string
  /** Letters beyond ASCII were escaped here, and have to be set free again. */
  readonly escaped: boolean
}

/** @throws PABAL_MESSAGE_INVALID */
export const toAscii = (event: CloudEvent): AsciiJson => {
  const text = toJson(event)
  if (!beyondAscii.test(text)) return { text, escaped: false }
  // Data that had both letters and escapes of letters would come back with letters only.
  const { attributes, data } = event
  if (typeof data === 'string' && escapeOfItsOwn.test(data) && isJsonType(attributes.get('datacontenttype')))
    return { text: escape(toJson({ attributes, data: new TextEncoder().encode(data) })), escaped: true }
  return { text: escape(text), escaped: true }
}

/** Untrusted. @throws PABAL_MESSAGE_INVALID, PABAL_MESSAGE_TOO_LARGE, PABAL_PAYLOAD_TOO_LARGE, PABAL_PAYLOAD_TOO_DEEP */
export const fromAscii = ({ text, escaped }: AsciiJson, limits: MessageLimits): CloudEvent =>
  fromJson(escaped ? unescape(text) : text, limits)

const beyondAscii = /[^\0-\x7f]/

/** Takes a backslash that is itself escaped for the beginning of one: that costs base64 where none was needed, and no more. */
const escapeOfItsOwn = /\\u(?!00[0-7])/

const escape = (text: string): string =>
  text.replaceAll(/[^\0-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)

/** In JSON a backslash stands in strings only, and always with what it escapes. */
const unescape = (text: string): string =>
  text.replaceAll(/\\(?:u([0-9a-f]{4})|[^])/g, (whole, hex: string | undefined) => {
    const unit = hex === undefined ? 0 : Number.parseInt(hex, 16)
    return unit > 0x7f ? String.fromCharCode(unit) : whole
  })
