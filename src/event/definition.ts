/** What can happen or be asked for: events (private and public), commands with their refusals, one-way messages. */

import { isPromise } from '../core/awaitable.ts'
import { PabalError } from '../core/errors.ts'
import { type Attribute, attributesFrom, type AttributeOptions, plainText } from './attributes.ts'
import { isOperatorType, operatorKeyPrefix } from './reserved.ts'
import { type Input, isStandardSchema, type JsonSchema, type Output, parseWith } from './schema.ts'

/** What a public event is for: see `definePublicEvent`. */
export type Kind = 'domain' | 'notification' | 'snapshot' | 'delta'
export type Scope = 'private' | 'public' | 'message'

/** Turns the payload of one older version into that of the next; pure. */
export type Upcaster = (data: never) => unknown

/** What every entry of a log is an instance of. The brand is a string key, so that two copies of the package agree. */
export interface EntryDefinition<
  Type extends string = string,
  Data = unknown,
  In = never,
  S extends Scope = Scope,
  Name extends string = never,
> {
  readonly type: Type
  /** Version of the payload, from 1. */
  readonly version: number
  /** What people call it, shown by every tool, for example '계약해지됨'. */
  readonly title: string | undefined
  readonly '~pabal': {
    readonly scope: S
    readonly kind?: Kind
    readonly data?: Data
    readonly input?: (input: In) => void
    readonly attribute?: (name: Name) => void
    /** What others may filter by, by name; of public events only. */
    readonly attributes?: ReadonlyMap<string, Attribute>
    /** Validates at raise and at the border; reading does not run it again. */
    parse(input: unknown): unknown
    /** The key that order is kept for; undefined for a message without one. */
    key(data: unknown): string | undefined
    /** False for a message without one. */
    readonly hasKey: boolean
    readonly upcasters: ReadonlyMap<number, (data: unknown) => unknown>
  }
}
export type EventDefinition<Type extends string = string, Data = unknown, In = never> = EntryDefinition<
  Type,
  Data,
  In,
  'private'
>
/** `Name`: of its attributes, by which others may filter. */
export type PublicEventDefinition<
  Type extends string = string,
  Data = unknown,
  In = never,
  Name extends string = never,
> = EntryDefinition<Type, Data, In, 'public', Name>
export type MessageDefinition<Type extends string = string, Data = unknown, In = never> = EntryDefinition<
  Type,
  Data,
  In,
  'message'
>
/** What contexts share, each by its definition alone: public events, and messages of one to another. */
export type SharedDefinition = EntryDefinition<string, unknown, never, 'public' | 'message'>

export const isMessage = (definition: EntryDefinition): definition is MessageDefinition =>
  definition['~pabal'].scope === 'message'

/** The context that handles a message: it is named after it. */
export const receiverOf = ({ type }: Pick<MessageDefinition, 'type'>): string => type.slice(0, type.indexOf('.'))

export interface CommandDefinition<Type extends string = string, Data = unknown, In = never, Refusals = unknown> {
  readonly type: Type
  readonly title: string | undefined
  readonly '~pabal': {
    readonly scope: 'command'
    readonly data?: Data
    readonly input?: (input: In) => void
    readonly refusals?: Refusals
    parse(input: unknown): unknown
    parseRefusal(code: string, detail: unknown): unknown
  }
}

/** The payload's type, after validation. */
export type DataOf<D> = D extends { readonly '~pabal': { readonly data?: infer T } } ? T : never
/** Names of the attributes that all of these public events have. */
export type AttributeOf<D> = [D] extends [{ readonly '~pabal': { readonly attribute?: (name: infer Name) => void } }]
  ? Name & string
  : never
/** What `raise` and `send` take: the payload before validation. */
export type InputOf<D> = D extends { readonly '~pabal': { readonly input?: (input: infer T) => void } } ? T : never

export interface EventOptions<S extends JsonSchema> {
  readonly schema: S
  /** The key that order is kept for, usually the aggregate's id. Keys of one context share one space: prefix what could collide ('order:42'). */
  readonly key: (data: Output<S>) => string
  /** Version of the payload. Default 1. */
  readonly version?: number
  /** From version n to n + 1, for every n below `version`; pure; applied wherever an event is read, parked ones too. */
  readonly upcast?: { readonly [fromVersion: number]: Upcaster }
  readonly title?: string
}

const typePattern = /^[a-z][a-z0-9_]*(?:[.-][a-z0-9_]+)*$/

const checkType = (type: string, dotted: boolean): void => {
  if (!typePattern.test(type) || (dotted && !type.includes('.')) || type.length > 200)
    throw new PabalError(
      'PABAL_DEFINITION_INVALID',
      `${JSON.stringify(type)} is not a name like 'context.what-happened' (lower case, digits, '-', '_', at least one dot, at most 200 characters)`,
    )
  if (isOperatorType(type))
    throw new PabalError('PABAL_DEFINITION_INVALID', `${type}: the prefix 'pabal.' is reserved for what operators do`)
}

const upcastersOf = (type: string, version: number, upcast: EventOptions<JsonSchema>['upcast']) => {
  if (!Number.isInteger(version) || version < 1)
    throw new PabalError('PABAL_DEFINITION_INVALID', `${type}: version must be an integer from 1, not ${version}`)
  const upcasters = new Map<number, (data: unknown) => unknown>()
  for (const [from, upcaster] of Object.entries(upcast ?? {})) {
    if (typeof upcaster !== 'function')
      throw new PabalError('PABAL_DEFINITION_INVALID', `${type}: the upcaster from version ${from} is not a function`)
    upcasters.set(Number(from), upcaster as (data: unknown) => unknown)
  }
  for (let from = 1; from < version; from++)
    if (!upcasters.has(from))
      throw new PabalError(
        'PABAL_DEFINITION_INVALID',
        `${type}: version ${version} needs an upcaster from version ${from}`,
      )
  if (upcasters.size !== version - 1)
    throw new PabalError(
      'PABAL_DEFINITION_INVALID',
      `${type}: upcasters must lead from 1 to ${version}, and no further`,
    )
  return upcasters
}

interface EntryOptions {
  readonly schema: JsonSchema
  readonly key?: (data: never) => string
  readonly version?: number
  readonly upcast?: EventOptions<JsonSchema>['upcast']
  readonly title?: string
}

const checkSchema = (schema: unknown, what: string): void => {
  if (!isStandardSchema(schema))
    throw new PabalError(
      'PABAL_DEFINITION_INVALID',
      `${what}: schema is not a Standard Schema (zod, valibot, arktype, …)`,
    )
}

const defineEntry = (
  type: string,
  scope: Scope,
  options: EntryOptions,
  own: Pick<EntryDefinition['~pabal'], 'kind' | 'attributes'> = {},
): EntryDefinition => {
  checkType(type, true)
  const { schema, key, version = 1, title } = options
  checkSchema(schema, type)
  if (typeof key !== 'function' && (scope !== 'message' || key !== undefined))
    throw new PabalError(
      'PABAL_DEFINITION_INVALID',
      `${type}: key must be a function that gives what order is kept for`,
    )
  return {
    type,
    version,
    title,
    '~pabal': {
      scope,
      ...own,
      parse: (input) => parseWith(schema, input, type),
      key: (data) => {
        if (key === undefined) return undefined
        const value: unknown = key(data as never)
        if (typeof value !== 'string' || value.length > 500 || !plainText.test(value))
          throw new PabalError(
            'PABAL_PAYLOAD_INVALID',
            `${type}: its key must be a text of 1 to 500 characters without control characters, noncharacters or lone surrogates`,
          )
        if (value.startsWith(operatorKeyPrefix))
          throw new PabalError(
            'PABAL_PAYLOAD_INVALID',
            `${type}: keys that begin with '${operatorKeyPrefix}' are reserved for what operators do`,
          )
        return value
      },
      hasKey: key !== undefined,
      upcasters: upcastersOf(type, version, options.upcast),
    },
  }
}

/**
 * Something that happened inside one context, named in the past tense with the context as its prefix: 'ordering.order-placed'.
 * A fact: it cannot be refused. Only its own context sees it; others see what the context publishes.
 * @throws PABAL_DEFINITION_INVALID
 */
export const defineEvent = <const Type extends string, S extends JsonSchema>(
  type: Type,
  options: EventOptions<S>,
): EventDefinition<Type, Output<S>, Input<S>> =>
  defineEntry(type, 'private', options) as EventDefinition<Type, Output<S>, Input<S>>

/**
 * A part of a context's published language, known to other contexts by this definition alone: 'shop.order-placed.v1'.
 * `kind` says what a reader may rely on: `domain` (all that describes the happening), `notification` (thin, with a link to
 * fetch details under the reader's own rights), `snapshot` or `delta` (event-carried state transfer: the whole state, the
 * changed fields). The key is the private event's key. `attributes` are what its readers may filter by.
 * @throws PABAL_DEFINITION_INVALID
 */
export const definePublicEvent = <const Type extends string, S extends JsonSchema, Name extends string = never>(
  type: Type,
  options: Omit<EventOptions<S>, 'version' | 'upcast'> & { readonly kind: Kind } & AttributeOptions<Output<S>, Name>,
): PublicEventDefinition<Type, Output<S>, Input<S>, Name> => {
  if (!['domain', 'notification', 'snapshot', 'delta'].includes(options.kind))
    throw new PabalError('PABAL_DEFINITION_INVALID', `${type}: kind must be domain, notification, snapshot or delta`)
  const attributes = attributesFrom(type, options)
  const own = { kind: options.kind, ...(attributes.size === 0 ? {} : { attributes }) }
  return defineEntry(type, 'public', options, own) as PublicEventDefinition<Type, Output<S>, Input<S>, Name>
}

/**
 * A one-way message: no reply, no fact ("send the SMS"). It is named after the context that handles it, 'notification.send-sms', with
 * `on`. That context lists it in `messages` and may post it; others list it in `sends`, know it by this definition alone, and post it as
 * part of their own transaction. Without `key` messages have no order among each other, and none is sent to another context.
 * @throws PABAL_DEFINITION_INVALID
 */
export const defineMessage = <const Type extends string, S extends JsonSchema>(
  type: Type,
  options: Omit<EventOptions<S>, 'key'> & { readonly key?: (data: Output<S>) => string },
): MessageDefinition<Type, Output<S>, Input<S>> =>
  defineEntry(type, 'message', options) as MessageDefinition<Type, Output<S>, Input<S>>

/**
 * Something asked for, imperative: 'ordering.place-order'. It can be refused, with one of the declared refusals.
 * @throws PABAL_DEFINITION_INVALID
 */
export const defineCommand = <
  const Type extends string,
  S extends JsonSchema,
  R extends Record<string, JsonSchema> = Record<never, JsonSchema>,
>(
  type: Type,
  options: { readonly schema: S; readonly refusals?: R; readonly title?: string },
): CommandDefinition<Type, Output<S>, Input<S>, { [Code in keyof R]: Output<R[Code]> }> => {
  checkType(type, true)
  checkSchema(options.schema, type)
  const refusals = new Map<string, JsonSchema>(Object.entries(options.refusals ?? {}))
  for (const [code, schema] of refusals) checkSchema(schema, `${type}, refusal ${code}`)
  return {
    type,
    title: options.title,
    '~pabal': {
      scope: 'command',
      parse: (input) => parseWith(options.schema, input, type),
      parseRefusal: (code, detail) => {
        const schema = refusals.get(code)
        if (schema === undefined)
          throw new PabalError('PABAL_DEFINITION_INVALID', `${type} declares no refusal named ${JSON.stringify(code)}`)
        return parseWith(schema, detail, `${type}, refusal ${code}`)
      },
    },
  }
}

/** The payload of a stored version, brought to the definition's version. @throws PABAL_UNKNOWN_EVENT_VERSION, PABAL_UPCAST_FAILED */
export const upcast = (definition: EntryDefinition, version: number, data: unknown): unknown => {
  if (version === definition.version) return data
  if (version > definition.version)
    throw new PabalError(
      'PABAL_UNKNOWN_EVENT_VERSION',
      `${definition.type} is stored in version ${version}, this code knows up to ${definition.version}`,
    )
  let current = data
  for (let from = version; from < definition.version; from++) {
    const step = definition['~pabal'].upcasters.get(from)
    if (step === undefined)
      throw new PabalError('PABAL_UNKNOWN_EVENT_VERSION', `${definition.type} has no upcaster from version ${from}`)
    try {
      current = step(current)
    } catch (error) {
      throw new PabalError('PABAL_UPCAST_FAILED', `${definition.type}, from version ${from}: ${String(error)}`, {
        cause: error,
      })
    }
    if (current === undefined || isPromise(current))
      throw new PabalError(
        'PABAL_UPCAST_FAILED',
        `${definition.type}, from version ${from}: it must return the payload, not ${current === undefined ? 'undefined' : 'a promise'}`,
      )
  }
  return current
}
