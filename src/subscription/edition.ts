/** What one version of a handler wants of a source, as `Editions` keeps it. */

import type { ContextStore, Session } from '../store/store.ts'
import type { SubscriptionParts } from './lane.ts'

interface Wants {
  readonly types: readonly string[]
  readonly filter: unknown
}

/** This process runs the handler, in its version. Returns the number of that. In the transaction that registers the consumer. */
export const joinEdition = async (parts: SubscriptionParts, session: Session): Promise<number> => {
  const { branchOf } = parts.source
  // What an older version takes there it would take twice, from its first event here on.
  if (branchOf !== undefined) await join(parts, session, branchOf.source, branchOf.wants)
  return join(parts, session, parts.source.name, parts.source.wants)
}

const join = async (
  { spec, runtime }: SubscriptionParts,
  session: Session,
  source: string,
  types: readonly string[],
): Promise<number> => {
  // In words that are the same for the same.
  const wants: Wants = { types: types.toSorted(), filter: spec.filter ?? null }
  return runtime.contextStore.editions.join(session, { consumer: spec.name, source }, JSON.stringify(wants))
}

/** This process runs the handler no more. */
export const leaveEdition = async (
  { spec: { name: consumer }, source, runtime }: SubscriptionParts,
  session: Session,
): Promise<void> => {
  const { editions } = runtime.contextStore
  await editions.leave(session, { consumer, source: source.name })
  const { branchOf } = source
  if (branchOf?.wants.length === 0) await editions.leave(session, { consumer, source: branchOf.source })
}

/** The types that any process wants of what was received. */
export const typesWanted = async (
  { editions }: ContextStore,
  session: Session,
  source: string,
): Promise<ReadonlySet<string>> =>
  new Set((await editions.wanted(session, source)).flatMap((text) => (JSON.parse(text) as Wants).types))
