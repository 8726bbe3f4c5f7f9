/** Who stands in the way: transactions that are open for long, or prepared and forgotten. */

import { defaultPatience, type Found, type Look, lasting, name, rowsOf, textOf, told } from './look.ts'
import { isTrue } from './migrate.ts'

/** Appenders hold up the readers of their keys; old snapshots and idle transactions hold up vacuum. */
export const transactions: Look = async (session, { schemas, patience = defaultPatience }) => {
  const rows = await rowsOf(
    session,
    `SELECT a.pid, a.usename AS role, a.application_name AS application, a.state, to_char(a.xact_start, 'YYYY-MM-DD HH24:MI:SS TZ') AS since,
       extract(epoch FROM clock_timestamp() - a.xact_start)::bigint AS seconds, a.backend_xmin IS NOT NULL AS snapshot,
       a.usesysid IS NOT NULL AND a.query = '<insufficient privilege>' AS hidden,
       EXISTS (
         SELECT 1 FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE l.pid = a.pid AND l.granted AND l.mode = 'RowExclusiveLock' AND l.database = a.datid AND c.relname = 'event' AND n.nspname = ANY ($1::text::text[])
       ) AS appended
     FROM pg_stat_activity a WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() ORDER BY a.xact_start NULLS LAST, a.pid`,
    [`{${schemas.map(({ schema }) => schema.sql).join(',')}}`],
  )
  const seconds = (row: Found): number => Number(row['seconds'] ?? 0)
  const isAppender = (row: Found) => isTrue(row['appended'])
  const appenders = rows.filter((row) => isAppender(row) && row['since'] !== null && seconds(row) >= patience.appending)
  const idle = rows.filter(
    (row) =>
      !isAppender(row) && String(row['state']).startsWith('idle in transaction') && seconds(row) >= patience.idle,
  )
  const snapshots = rows.filter(
    (row) => !isAppender(row) && !idle.includes(row) && isTrue(row['snapshot']) && seconds(row) >= patience.snapshot,
  )
  const hidden = rows.filter((row) => isTrue(row['hidden']))
  const end = ({ pid }: Found): string => `SELECT pg_terminate_backend(${String(pid)})`
  return [
    ...told('open transaction', appenders, (row) => ({
      level: seconds(row) >= patience.stuck ? 'problem' : 'warning',
      detail: `events wait for ${sessionOf(row)}, open for ${lasting(seconds(row))}, since ${String(row['since'])}: its own, and later ones of their keys; all others go on`,
      remedy: end(row),
    })),
    ...told('idle transaction', idle, (row) => ({
      level: 'warning',
      detail: `${sessionOf(row)} does nothing in a transaction since ${String(row['since'])}, ${lasting(seconds(row))}: vacuum cannot clean up behind it, and partitions that it has read stay`,
      remedy: `${end(row)}; idle_in_transaction_session_timeout ends such sessions by itself`,
    })),
    ...told('old snapshot', snapshots, (row) => ({
      level: 'warning',
      detail: `${sessionOf(row)} looks at the database as it was at ${String(row['since'])}, ${lasting(seconds(row))} ago: vacuum keeps all that has changed since, so cursors and heads of keys become slow`,
      remedy: end(row),
    })),
    ...(hidden.length === 0
      ? []
      : [
          {
            level: 'warning',
            title: 'rights',
            detail: `${hidden.length} sessions of other users cannot be looked into: what they hold up is not told here`,
            remedy: 'GRANT pg_read_all_stats to the user that runs the doctor',
          } as const,
        ]),
  ]
}

/** Transactions of two-phase commit that nobody has ended: they outlive their session and the server. */
export const prepared: Look = async (session, { schemas, patience = defaultPatience }) => {
  const rows = await rowsOf(
    session,
    `SELECT x.gid, x.owner, x.database, x.database = current_database() AS here, to_char(x.prepared, 'YYYY-MM-DD HH24:MI:SS TZ') AS since,
       extract(epoch FROM clock_timestamp() - x.prepared)::bigint AS seconds,
       EXISTS (
         SELECT 1 FROM pg_locks own JOIN pg_locks l ON l.virtualtransaction = own.virtualtransaction
         JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE own.pid IS NULL AND own.transactionid = x.transaction AND l.pid IS NULL AND l.mode = 'RowExclusiveLock' AND c.relname = 'event' AND n.nspname = ANY ($1::text::text[])
           AND x.database = current_database()
       ) AS appended
     FROM pg_prepared_xacts x ORDER BY x.prepared`,
    [`{${schemas.map(({ schema }) => schema.sql).join(',')}}`],
  )
  const old = rows.filter(
    ({ seconds, appended, here }) =>
      Number(seconds) >= (isTrue(appended) ? patience.appending : isTrue(here) ? patience.prepared : patience.foreign),
  )
  return told('prepared transaction', old, ({ gid, owner, database, since, seconds, appended, here }) => {
    const what = `'${String(gid)}' in ${name(database)} is prepared since ${String(since)}, ${lasting(Number(seconds))}, and nobody has ended it`
    const why = isTrue(appended)
      ? 'its events wait, and whoever appends to one of their keys waits with them'
      : isTrue(here)
        ? 'it keeps its locks, and vacuum cannot clean up behind it'
        : 'old partitions are not dropped meanwhile'
    const text = `'${String(gid).replaceAll("'", "''")}'`
    return {
      level: isTrue(appended) && Number(seconds) >= patience.stuck ? 'problem' : 'warning',
      detail: `${what}: ${why}`,
      remedy: `COMMIT PREPARED ${text} or ROLLBACK PREPARED ${text}, as ${name(owner)} in ${name(database)}`,
    }
  })
}

const sessionOf = ({ pid, role, application, state }: Found): string => {
  const what = [application, role].filter((each) => each !== null && each !== '').join(', ')
  return `session ${String(pid)} (${what}${state === null ? '' : `; ${textOf(state)}`})`
}
