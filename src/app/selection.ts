/**
 * What a context wants of a stream, as far as a broker may keep the rest from it: whole keys, by attributes that stay the same for
 * a key. So nothing is missing between two events that come, and what is lost still shows.
 */

import { perKeyNames } from '../event/attributes.ts'
import type { Filter } from '../event/filter.ts'
import type { EntryDefinition } from '../event/definition.ts'
import type { Selection } from '../exchange/transport.ts'

/** One handler's filter on one type; absent: it wants all. */
export interface Want {
  readonly definition: EntryDefinition
  readonly filter: Filter | undefined
}

/**
 * Values that any of them wants, of each attribute by which all of them filter; undefined where there is none. It lets through
 * more than they want together, never less: their handlers filter too.
 */
export const selectionFor = (wants: readonly Want[]): Selection | undefined => {
  const [first, ...rest] = wants.map(({ definition, filter = {} }) => {
    const perKey = new Set(perKeyNames(definition))
    return new Map(Object.entries(filter).filter(([name]) => perKey.has(name)))
  })
  const names = [...(first?.keys() ?? [])].filter((name) => rest.every((each) => each.has(name)))
  if (first === undefined || names.length === 0) return undefined
  return Object.fromEntries(
    names.map((name) => [name, [...new Set([first, ...rest].flatMap((each) => each.get(name)!))]]),
  )
}
