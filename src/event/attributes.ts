/** Attributes of a public event, by which others may filter it: declared with it, and computed from its payload. */

import { PabalError } from '../core/errors.ts'

/** Undefined: this event does not have it. */
export type AttributeFunction<Data> = (data: Data) => string | undefined

export interface Attribute {
  readonly of: AttributeFunction<never>
  /** All events of a key have the same one, of whatever type they are. */
  readonly perKey: boolean
}

export interface AttributeOptions<Data, Name extends string> {
  /**
   * What others may filter by, from the payload: `{ country: ({ country }) => country }`. Names of 1 to 20 lower-case letters and
   * digits that CloudEvents and pabal do not use, at most 7 of them; values of 1 to 200 characters. They travel as attributes of
   * the CloudEvent, so they are for everybody on the way to see. Pure.
   */
  readonly attributes?: { readonly [N in Name]: AttributeFunction<Data> }
  /**
   * Those of them that stay the same for a key: once an event of a key has one, all later ones have the same, of whatever type.
   * A broker that can then leaves out whole keys that nobody wants. Every public event of the context, on the same stream, says so
   * of the same names; the relay refuses a key that changes.
   */
  readonly perKey?: readonly NoInfer<Name>[]
}

/** What CloudEvents allows in a String attribute. */
export const plainText: RegExp = /^[^\p{Cc}\p{Cs}\p{NChar}]+$/u

/** SNS discards a message of more than ten attributes when it delivers it raw; three are the adapter's own. */
const attributesMax = 7
const valueMax = 200
const attributeName = /^[a-z0-9]{1,20}$/

/** Of CloudEvents with its documented extensions, and ours. */
const reserved: ReadonlySet<string> = new Set(
  `specversion id source type time datacontenttype dataschema subject data dataref
  partitionkey sequence sequencetype sampledrate traceparent tracestate
  streamversion previousversion previousid stream incarnation dataversion correlationid causationid hopcount metadata`.split(
    /\s+/,
  ),
)

/** Whether a CloudEvent's attribute is none that an event declares. */
export const isReservedAttribute = (name: string): boolean => reserved.has(name)

/** @throws PABAL_DEFINITION_INVALID */
export const attributesFrom = (
  type: string,
  { attributes = {}, perKey = [] }: AttributeOptions<never, string>,
): ReadonlyMap<string, Attribute> => {
  const invalid = (detail: string) => new PabalError('PABAL_DEFINITION_INVALID', `${type}: ${detail}`)
  const found = new Map<string, Attribute>()
  for (const [name, of] of Object.entries(attributes)) {
    if (!attributeName.test(name))
      throw invalid(`the attribute ${JSON.stringify(name)} is not of 1 to 20 lower-case letters and digits`)
    if (isReservedAttribute(name)) throw invalid(`the attribute '${name}' is one of CloudEvents or of pabal`)
    if (typeof of !== 'function') throw invalid(`the attribute '${name}' must be a function of the payload`)
    found.set(name, { of, perKey: perKey.includes(name) })
  }
  if (found.size > attributesMax) throw invalid(`it has ${found.size} attributes, at most ${attributesMax} are carried`)
  for (const name of perKey) if (!found.has(name)) throw invalid(`perKey names '${name}', which is no attribute of it`)
  return found
}

interface Attributed {
  readonly type: string
  readonly '~pabal': { readonly attributes?: ReadonlyMap<string, Attribute> }
}

/** Those that an event with this payload has. @throws PABAL_PAYLOAD_INVALID, and what the functions throw */
export const attributesOf = (
  { type, '~pabal': { attributes } }: Attributed,
  data: unknown,
): ReadonlyMap<string, string> => {
  const values = new Map<string, string>()
  for (const [name, { of }] of attributes ?? []) {
    const value: unknown = of(data as never)
    if (value === undefined) continue
    if (typeof value !== 'string' || value.length > valueMax || !plainText.test(value))
      throw new PabalError(
        'PABAL_PAYLOAD_INVALID',
        `${type}: its attribute '${name}' must be a text of 1 to ${valueMax} characters without control characters, noncharacters or lone surrogates`,
      )
    values.set(name, value)
  }
  return values
}

/** Names of those that stay the same for a key. */
export const perKeyNames = ({ '~pabal': { attributes } }: Attributed): readonly string[] =>
  [...(attributes ?? [])].flatMap(([name, { perKey }]) => (perKey ? [name] : []))
