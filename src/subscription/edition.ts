/** What one version of a handler wants of a source, as `Editions` keeps it. */

import type { ContextStore, Session } from '../store/store.ts'
import type { SubscriptionParts } from './lane.ts'

interface Wants {
  readonly types: readonly string[]
  readonly filter: unknown
}

/** This process runs the handler, in its version. Returns the number of that. In the transaction that registers the consumer. */
export const joinEdition = async ({ spec, source, runtime }: SubscriptionParts, session: Session): Promise<number> => {
  // In words that are the same for the same.
  const wants: Wants = { types: source.wants.toSorted(), filter: spec.filter ?? null }
  const of = { consumer: spec.name, source: source.name }
  return runtime.contextStore.editions.join(session, of, JSON.stringify(wants))
}

/** The types that any process wants of what was received. */
export const typesWanted = async (
  { editions }: ContextStore,
  session: Session,
  source: string,
): Promise<ReadonlySet<string>> =>
  new Set((await editions.wanted(session, source)).flatMap((text) => (JSON.parse(text) as Wants).types))
