/** Whether what the captured server would send begins where a capture stands. What it cannot tell is never passed over in silence. */

import type { CapturePlace } from './capture-cursor.ts'
import { lsnText } from './lsn.ts'
import type { ReplicationConnection } from './replication-connection.ts'
import { publicationGap, type Slot, type Source, switchPoint } from './replication-slot.ts'

/** A capture that has begun. */
export type BegunPlace = CapturePlace & { readonly lsn: bigint }

/** Why changes may be missing, or undefined. */
export const gapOf = async (
  connection: ReplicationConnection,
  captured: { readonly slot: string; readonly tables: Iterable<number> },
  source: Source,
  place: BegunPlace,
  found: Slot | undefined,
): Promise<string | undefined> =>
  slotGap(captured.slot, source, place, found) ??
  (await publicationGap(connection, captured.slot, captured.tables)) ??
  (place.timeline === source.timeline ? undefined : await timelineGap(connection, source, place))

const slotGap = (name: string, source: Source, place: BegunPlace, slot: Slot | undefined): string | undefined => {
  if (place.systemIdentifier !== source.systemIdentifier) return 'the server is another one'
  if (slot === undefined) return `the slot ${name} is not there any more`
  if (slot.lost !== undefined) return `the server has given up the slot ${name} (${slot.lost})`
  if (slot.confirmed > place.lsn)
    return `the slot ${name} begins at ${lsnText(slot.confirmed)}: it was created anew, or somebody else has read from it`
  if (source.position < place.lsn) return `the server's log ends at ${lsnText(source.position)}: it is an older copy`
  return undefined
}

/** After a failover: was all that is captured on the server that has taken over? */
const timelineGap = async (
  connection: ReplicationConnection,
  source: Source,
  place: BegunPlace,
): Promise<string | undefined> => {
  const left = await switchPoint(connection, place.timeline, source.timeline)
  if (left !== undefined && place.lsn <= left) return undefined
  return `the server has gone another way${left === undefined ? '' : ` since ${lsnText(left)}`}: it lacks transactions that were captured`
}
