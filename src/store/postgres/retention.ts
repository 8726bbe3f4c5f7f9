/**
 * Retention drops whole partitions. What is dropped in the middle of one is hidden at once and goes with the rest of it: rows are
 * never deleted one by one, which would cost more than they were worth (L19).
 */

import { type PostgresSession, statement } from './connection.ts'

/** Readers and appenders are not kept waiting for longer than this; the next run tries again. */
const lockTimeoutMs = 200

/** Hides everything up to a position; returns how many events that are. Sequences of keys go on where they were. */
export const dropThrough = async (
  session: PostgresSession,
  s: string,
  between: string,
  position: number,
): Promise<number> => {
  const [row] = await session.rows(
    statement(
      `WITH before AS (SELECT dropped FROM ${s}.meta FOR UPDATE), gone AS (
         SELECT e.position, e.key, e.type, e.sequence FROM ${between}
       ), kept AS (
         INSERT INTO ${s}.key_dropped AS d (key, type, sequence) SELECT key, type, max(sequence) FROM gone GROUP BY key, type ORDER BY 1, 2
         ON CONFLICT (key, type) DO UPDATE SET sequence = greatest(d.sequence, excluded.sequence)
       ), moved AS (
         UPDATE ${s}.meta SET dropped = (SELECT max(position) FROM gone) WHERE EXISTS (SELECT 1 FROM gone)
       )
       SELECT count(*) FROM gone`,
    ),
    [String(position)],
  )
  return Number(row![0])
}

/**
 * Drops the partitions of which everything is hidden, on the connection of the sequencer, so that none is numbered meanwhile.
 * Returns their names; one that is in use for too long stays until the next time.
 */
export const dropPartitions = (s: string): string => `SELECT ${s}.drop_partitions(${lockTimeoutMs})`
