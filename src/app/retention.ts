/** Retention: events older than a context wants to keep, and below everything that still needs them. */

import type { ContextRuntime } from '../context/runtime.ts'
import { isReceived } from '../exchange/received-log.ts'

/** Events looked at and dropped by one transaction. */
const perTransaction = 1_000

/**
 * Drops events that are older than `keepMs`, but none that a cursor, a parked key or a registered reader has not passed (L22).
 * Sequences of keys go on where they were. Returns how many were dropped.
 */
export const dropOld = async (
  { database, contextStore, environment, name }: ContextRuntime,
  keepMs: number,
): Promise<number> => {
  const { log, cursors, parking, readers } = contextStore
  const before = environment.now() - keepMs
  for (let dropped = 0; ; ) {
    const count = await database.transaction(async (session) => {
      // Its own events, and what it has received, which stands in the same log.
      const own = (await cursors.cursors(session)).filter(({ source }) => source === name || isReceived(source))
      const bounds = [...own, ...(await readers.list(session))].map(({ position }) => position)
      // After the cursors: one that moves on meanwhile may leave a parked key behind.
      for (const source of new Set([name, ...own.map((cursor) => cursor.source)])) {
        const parked = await parking.oldestNeeded(session, source)
        if (parked !== undefined) bounds.push(parked - 1)
      }
      const { events } = await log.readAfter(session, { after: (await log.oldest(session)) - 1, limit: perTransaction })
      const kept = events.findIndex(({ position, time_ms }) => time_ms >= before || position > Math.min(...bounds))
      const last = events[(kept === -1 ? events.length : kept) - 1]
      return last === undefined ? 0 : log.dropThrough(session, last.position)
    })
    dropped += count
    if (count < perTransaction) return dropped
  }
}
