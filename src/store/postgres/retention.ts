/**
 * Retention drops whole partitions. What is dropped in the middle of one is hidden at once and goes with the rest of it: rows are
 * never deleted one by one, which would cost more than they were worth.
 */

import { type PostgresSession, statement } from './connection.ts'

/** Hides everything up to a position; returns how many events that are. Sequences of keys go on where they were. */
export const dropThrough = async (
  session: PostgresSession,
  s: string,
  between: string,
  position: number,
): Promise<number> => {
  // By itself: a statement that both waits for this row and writes it would look at its parts again when another one has changed
  // it meanwhile, which ends the server's process where one of those parts writes (up to Postgres 18.4).
  const [before] = await session.rows(statement(`SELECT dropped FROM ${s}.meta FOR UPDATE`), [])
  const [row] = await session.rows(
    statement(
      `WITH before AS (SELECT $2::text::bigint AS dropped), gone AS (
         SELECT e.position, e.key, e.type, e.sequence FROM ${between}
       ), kept AS (
         INSERT INTO ${s}.key_dropped AS d (key, type, sequence) SELECT key, type, max(sequence) FROM gone GROUP BY key, type ORDER BY 1, 2
         ON CONFLICT (key, type) DO UPDATE SET sequence = greatest(d.sequence, excluded.sequence)
       ), moved AS (
         UPDATE ${s}.meta SET dropped = (SELECT max(position) FROM gone) WHERE EXISTS (SELECT 1 FROM gone)
       )
       SELECT count(*) FROM gone`,
    ),
    [String(position), String(before![0])],
  )
  return Number(row![0])
}

/** Drops partitions of which everything is hidden; one that is in use for too long stays until the next time. */
export const dropPartitions = (s: string, lockMs: number): string => `SELECT ${s}.drop_partitions(${lockMs})`
