/** Filters: which events of a type a handler wants, by the attributes that their definition declares. */

import { PabalError } from '../core/errors.ts'
import { attributesOf } from './attributes.ts'
import type { AttributeOf, EntryDefinition } from './definition.ts'
import type { Raised } from './envelope.ts'

/** Of each name one of the values: several names are AND, several values OR. */
export type Filter = Readonly<Record<string, readonly string[]>>

/** A filter of these events: only names that all of them declare. */
export type FilterOf<E> = [AttributeOf<E>] extends [never]
  ? never
  : { readonly [Name in AttributeOf<E>]?: readonly string[] }

/** @throws PABAL_DEFINITION_INVALID */
export const checkFilter = (what: string, definitions: readonly EntryDefinition[], filter: Filter): void => {
  const invalid = (detail: string) => new PabalError('PABAL_DEFINITION_INVALID', `${what}: ${detail}`)
  if (Object.keys(filter).length === 0) throw invalid('its filter names no attribute')
  for (const [name, values] of Object.entries(filter)) {
    for (const { type, '~pabal': definition } of definitions)
      if (definition.attributes?.has(name) !== true)
        throw invalid(`it filters by '${name}', which ${type} does not declare`)
    if (!Array.isArray(values) || values.length === 0 || values.some((value) => typeof value !== 'string'))
      throw invalid(`its filter '${name}' must be a list of at least one text`)
  }
}

/**
 * Whether a filter wants an event. It is judged by its payload and the handler's own definition, so nothing that came with it is
 * trusted. What it gives throws where an attribute does.
 */
export const wanting = (
  filter: Filter,
  definitions: readonly EntryDefinition[],
): ((event: Pick<Raised, 'type' | 'data'>) => boolean) => {
  const byType = new Map(definitions.map((definition) => [definition.type, definition]))
  const names = Object.entries(filter)
  return ({ type, data }) => {
    const attributes = attributesOf(byType.get(type)!, data)
    return names.every(([name, values]) => {
      const value = attributes.get(name)
      return value !== undefined && values.includes(value)
    })
  }
}
