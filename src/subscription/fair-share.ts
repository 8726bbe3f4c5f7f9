/** How processes that run the same consumer come to have about as many lanes each: who may ask whom, and for which. */

import type { LaneHolder } from '../store/store.ts'

/**
 * The lanes that a process may wish for. Only one that has less than its fair share asks, and only one that has more is asked:
 * then no lane goes to and fro. Of what the other has work in, at least half stays with it: one busy lane goes nowhere.
 */
export const lanesToWishFor = (
  holders: readonly LaneHolder[],
  me: string,
  withWork: ReadonlySet<number>,
): readonly number[] => {
  const counts = new Map<string | null, number>([[me, 0]])
  // What somebody else wishes for is as good as theirs, and that they wish makes them one of those who share.
  const holderOf = ({ owner, wisher }: LaneHolder) => (wisher === null || wisher === me ? owner : wisher)
  const held = holders.map(holderOf).filter((holder) => holder !== null)
  for (const holder of held) counts.set(holder, (counts.get(holder) ?? 0) + 1)
  // Lanes of nobody do not count: they are claimed as soon as there is work in them.
  const fair = Math.floor(held.length / counts.size)
  const countOf = (holder: string | null): number => counts.get(holder) ?? 0

  const open = holders.filter((row) => row.owner !== me && holderOf(row) === row.owner && withWork.has(row.lane))
  const most = open.reduce<string | null>((a, { owner }) => (countOf(owner) > countOf(a) ? owner : a), null)
  // The same for all who look at once, so that of two one gets them, and the other sees that it did.
  const theirs = open.filter(({ owner }) => owner === most).toReversed()
  const repeated = theirs.toSorted((a, b) => Number(b.wisher === me) - Number(a.wisher === me))
  const count = Math.min(fair - countOf(me), countOf(most) - fair, Math.floor(theirs.length / 2))
  return repeated.slice(0, Math.max(0, count)).map(({ lane }) => lane)
}
