/** What the filter of a handler leaves out, judged here as the handler judges it. */

import type { DurableSpec } from '../context/handler.ts'
import type { Raised } from '../event/envelope.ts'
import { wanting } from '../event/filter.ts'

/**
 * By the filter that the opened app has: with another one at the time, the handler may have decided otherwise. What cannot be
 * judged fails in the handler too, so that it is not left out.
 */
export const filteredBy = ({
  filter,
  definitions,
}: DurableSpec): ((event: Pick<Raised, 'type' | 'data'>) => boolean) => {
  if (filter === undefined) return () => false
  const wants = wanting(filter, definitions)
  return (event) => {
    try {
      return !wants(event)
    } catch {
      return false
    }
  }
}
