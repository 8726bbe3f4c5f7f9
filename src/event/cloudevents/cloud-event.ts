/** A CloudEvent 1.0 in hand: its attributes by name and its data as it is, and the rules that attributes keep (spec 1.0.2). */

import { PabalError } from '../../core/errors.ts'
import { instantOf } from './timestamp.ts'

/** Integers and Booleans where the message said so; all other types in their canonical text. */
export type AttributeValue = string | number | boolean

export interface CloudEvent {
  /** A Map, since names come from outside. */
  readonly attributes: ReadonlyMap<string, AttributeValue>
  /**
   * A text (of JSON letter for letter, where `datacontenttype` says JSON or is not there), or bytes. Undefined: no data, which
   * is not the JSON text `null`.
   */
  readonly data: string | Uint8Array | undefined
  /** Made of a public event here: our own codecs have written its data and its times, and neither is looked at again. */
  readonly ours?: true | undefined
}

export type Attributes = CloudEvent['attributes']

/** To be thrown. `of` is what is known of the event already: an event whose data cannot be had can be set aside by its key. */
export const invalid = (reason: string, of?: Attributes): PabalError =>
  new PabalError('PABAL_MESSAGE_INVALID', reason, { context: identityOf(of) })

/** Never the data, and of the attributes no more than it takes to find the event. */
export const identityOf = (attributes: Attributes | undefined): Record<string, unknown> =>
  Object.fromEntries(
    ['id', 'source', 'type', 'subject', 'partitionkey', 'streamversion'].flatMap((name) =>
      attributes?.has(name) ? [[name, attributes.get(name)]] : [],
    ),
  )

/** A text from outside in an error's message: short, and on one line. */
export const quoted = (text: string): string => JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text)

const attributeName = /^[a-z0-9]+$/
const disallowed = /[\p{Cc}\p{Cs}\p{NChar}]/u
// RFC 3986, with what RFC 3987 adds: Java's URI, which other SDKs rely on, lets it pass.
const uriReference = /^(?:[A-Za-z0-9\-._~:/?#[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2}|[^\0-\x7f])+$/
const absoluteUri = /^[A-Za-z][A-Za-z0-9+.-]*:./

/** CE-1 and CE-4, for any attribute. @throws PABAL_MESSAGE_INVALID */
const checkAttribute = (name: string, value: AttributeValue): void => {
  if (!attributeName.test(name) || name === 'data')
    throw invalid(`${quoted(name)} is no name of an attribute: those are of a to z and 0 to 9, and never 'data'`)
  if (typeof value === 'number' && !isInteger(value))
    throw invalid(`attribute ${quoted(name)} is no integer of 32 bits, the only number that there is`)
  if (typeof value === 'string' && disallowed.test(value))
    throw invalid(`attribute ${quoted(name)} has a control character, a noncharacter or a lone surrogate`)
}

export const isInteger = (value: number): boolean => Number.isInteger(value) && value >= -(2 ** 31) && value < 2 ** 31

const filled = (value: AttributeValue): boolean => typeof value === 'string' && value !== ''

/** What the spec says of its own attributes, beyond the rules for any. */
const own: Readonly<Record<string, { readonly is: string; readonly fits: (value: AttributeValue) => boolean }>> = {
  specversion: { is: "'1.0', the only version that is known", fits: (value) => value === '1.0' },
  id: { is: 'a text that is not empty', fits: filled },
  source: { is: 'a URI reference', fits: (value) => typeof value === 'string' && uriReference.test(value) },
  type: { is: 'a text that is not empty', fits: filled },
  datacontenttype: { is: 'a text that is not empty', fits: filled },
  dataschema: {
    is: 'an absolute URI',
    fits: (value) => typeof value === 'string' && absoluteUri.test(value) && uriReference.test(value),
  },
  subject: { is: 'a text that is not empty', fits: filled },
  time: {
    is: 'a time as RFC 3339 writes it',
    fits: (value) => typeof value === 'string' && instantOf(value) !== undefined,
  },
}
const required = ['specversion', 'id', 'source', 'type']

/**
 * CE-1 to CE-4, on the way out as on the way in. What is said names attributes and rules, never values: those may be private.
 * Of an event that is `ours` only what a user has a say in: names and characters.
 * @throws PABAL_MESSAGE_INVALID
 */
export const checkAttributes = ({ attributes, ours }: Omit<CloudEvent, 'data'>): void => {
  if (ours) {
    for (const [name, value] of attributes) checkAttribute(name, value)
    return
  }
  const missing = required.filter((name) => !attributes.has(name))
  if (missing.length > 0) throw invalid(`it lacks what a CloudEvent must have: ${missing.join(', ')}`)
  for (const [name, value] of attributes) {
    checkAttribute(name, value)
    // `Object.hasOwn`: 'constructor' is a name that an attribute may have.
    if (Object.hasOwn(own, name) && !own[name]!.fits(value))
      throw invalid(`attribute ${name} must be ${own[name]!.is}`, attributes)
  }
}

/** Media types that hold JSON: `json`, and what ends with `+json`, whatever the case and the parameters (CE-3). None means JSON (CE-7). */
export const isJsonType = (contentType: AttributeValue | undefined): boolean =>
  contentType === undefined ||
  (typeof contentType === 'string' && /^[^/;\s]+\/(?:[^/;\s]+\+)?json\s*(?:;|$)/i.test(contentType))
