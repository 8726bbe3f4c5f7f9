/** What `pabal doctor` looks at in the schema of each context: partitions, numbering, cursors. */

import type { Finding } from '../store.ts'
import type { PostgresSession } from './connection.ts'
import { defaultPatience, type Look, rowsOf } from './look.ts'
import { isTrue, type SchemaName } from './migrate.ts'

export const logs: Look = async (session, { schemas, patience = defaultPatience }) => {
  const found: Finding[] = []
  const heads = new Map<string, number>()
  for (const { context, schema } of schemas) heads.set(context, await headOf(session, schema))
  for (const { context, schema } of schemas) {
    const of = schemas.length === 1 ? '' : `'${context}': `
    const its = [
      ...(await partitions(session, schema)),
      ...(await ids(session, schema)),
      ...(await numbering(session, schema, patience.numbering)),
      ...(await cursors(session, schema, heads)),
    ]
    found.push(...its.map((finding) => ({ ...finding, detail: `${of}${finding.detail}` })))
  }
  return found
}

const headOf = async (session: PostgresSession, { sql: s }: SchemaName): Promise<number> =>
  Number((await rowsOf(session, `SELECT head FROM ${s}.sequencer ORDER BY n DESC LIMIT 1`))[0]!['head'])

/** Partitions ahead with which there is no hurry. */
const aheadMin = 2

/** An append without a partition fails. */
const partitions = async (session: PostgresSession, { name, sql: s }: SchemaName): Promise<readonly Finding[]> => {
  const rows = await rowsOf(
    session,
    `SELECT p.relname AS of, c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bound,
       CASE p.relname WHEN 'event' THEN (SELECT last_value + 1 FROM ${s}.event_id)
         ELSE (SELECT head + 1 FROM ${s}.sequencer ORDER BY n DESC LIMIT 1) END AS next
     FROM pg_class p JOIN pg_namespace n ON n.oid = p.relnamespace
     LEFT JOIN pg_inherits i ON i.inhparent = p.oid LEFT JOIN pg_class c ON c.oid = i.inhrelid
     WHERE n.nspname = $1 AND p.relname IN ('event', 'run') AND p.relkind = 'p'`,
    [name],
  )
  const remedy = `SELECT ${s}.create_partitions(); every process of the app does it each minute, and says in its warnings why it cannot`
  const found: Finding[] = []
  const aheads: string[] = []
  for (const table of ['event', 'run']) {
    const own = rows.filter((row) => row['of'] === table)
    const next = Number(own[0]?.['next'])
    const ranges = own.map(({ bound }) => rangeOf(String(bound)))
    const ahead = ranges.filter((range) => range !== undefined && range.low > next).length
    const what = table === 'event' ? 'appends' : 'the numbering of events'
    aheads.push(`${ahead} of ${table === 'event' ? 'events' : 'positions'}`)
    for (const { bound, name: partition } of own)
      if (bound === 'DEFAULT')
        found.push({
          level: 'warning',
          title: 'partitions',
          detail: `${String(partition)} is a default partition: it is searched before each new one, and everybody waits meanwhile`,
          remedy: `ALTER TABLE ${s}.${table} DETACH PARTITION ${s}.${String(partition)}`,
        })
    if (!ranges.some((range) => range !== undefined && range.low <= next && next < range.high))
      found.push({
        level: 'problem',
        title: 'partitions',
        detail: `there is none for ${next.toLocaleString('en')}: ${what} fail`,
        remedy,
      })
    else if (ahead < aheadMin) {
      const end = Math.max(...ranges.map((range) => range?.high ?? 0))
      found.push({
        level: ahead === 0 ? 'problem' : 'warning',
        title: 'partitions',
        detail: `after ${(end - next).toLocaleString('en')} more ${what} fail: no partition was made ahead lately`,
        remedy,
      })
    }
  }
  return found.length > 0 ? found : [{ level: 'ok', title: 'partitions', detail: `ahead: ${aheads.join(', ')}` }]
}

const rangeOf = (bound: string): { readonly low: number; readonly high: number } | undefined => {
  const [, low, high] = /^FOR VALUES FROM \('(\d+)'\) TO \('(\d+)'\)$/.exec(bound) ?? []
  return low === undefined ? undefined : { low: Number(low), high: Number(high) }
}

/** Ids are taken under the lock of the key; a session with ids in stock would take an old one (A5). */
const ids = async (session: PostgresSession, { sql: s }: SchemaName): Promise<readonly Finding[]> => {
  const [row] = await rowsOf(
    session,
    `SELECT seqcache AS cache FROM pg_sequence WHERE seqrelid = '${s}.event_id'::regclass`,
  )
  const cache = Number(row?.['cache'] ?? 1)
  if (cache === 1) return []
  return [
    {
      level: 'problem',
      title: 'ids',
      detail: `the sequence event_id hands out ${cache} at a time: events of a key may be numbered in the wrong order (P3)`,
      remedy: `ALTER SEQUENCE ${s}.event_id CACHE 1`,
    },
  ]
}

/** Ids back from the last that are looked at. */
const idsBack = 100_000

/** Committed events that nobody gives a position are read by nobody. */
const numbering = async (
  session: PostgresSession,
  { sql: s }: SchemaName,
  seconds: number,
): Promise<readonly Finding[]> => {
  const look = async () => {
    const [row] = await rowsOf(
      session,
      `SELECT count(*) AS events, min(e.id) AS first, (SELECT max(n) FROM ${s}.sequencer) AS tick,
         (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name ~ '^(pabal|pooled):') AS processes
       FROM (SELECT * FROM ${s}.sequencer ORDER BY n DESC LIMIT 1) q, ${s}.event e
       WHERE e.id > greatest(q.floor, least(q.mark, (SELECT min(m) FROM unnest(q.open_marks) m)), (SELECT last_value FROM ${s}.event_id) - ${idsBack})
         AND NOT pg_visible_in_snapshot(e.xid::text::xid8, q.done)
         AND NOT EXISTS (
           SELECT 1 FROM (SELECT r.id, r.events FROM ${s}.run r WHERE r.id <= e.id ORDER BY r.id DESC LIMIT 1) r WHERE e.id < r.id + r.events
         )`,
    )
    const { events, first, tick, processes } = row!
    return { events: Number(events), first: Number(first), tick: Number(tick), processes: Number(processes) }
  }
  const before = await look()
  if (before.events > 0) await rowsOf(session, `SELECT pg_sleep(${seconds})::text`)
  const after = before.events === 0 ? before : await look()
  if (after.events === 0 || after.first !== before.first)
    return [{ level: 'ok', title: 'numbering', detail: 'every committed event has its position' }]
  const detail = `${after.events.toLocaleString('en')} committed events have no position, so nobody reads them`
  if (after.tick > before.tick)
    return [
      {
        level: 'warning',
        title: 'numbering',
        detail: `${detail}; they are being numbered, look again`,
        remedy: 'pabal doctor',
      },
    ]
  return [
    after.processes === 0
      ? {
          level: 'warning',
          title: 'numbering',
          detail: `${detail}: no process of the app is here`,
          remedy: 'start the app; it goes on where it was',
        }
      : {
          level: 'problem',
          title: 'numbering',
          detail: `${detail}, although ${after.processes} ${after.processes === 1 ? 'process is' : 'processes are'} here`,
          remedy: 'look at their warnings for `ticking`; the user of the app needs all rights on the schema',
        },
  ]
}

/** A cursor beyond the end of the log has handled what is not there any more (P8). */
const cursors = async (
  session: PostgresSession,
  { sql: s }: SchemaName,
  heads: ReadonlyMap<string, number>,
): Promise<readonly Finding[]> => {
  const rows = await rowsOf(
    session,
    `SELECT c.consumer, c.source, max(c.position) AS position, coalesce(bool_or(k.state = 'paused'), false) AS paused
     FROM ${s}.cursor c LEFT JOIN ${s}.consumer k ON k.name = c.consumer GROUP BY c.consumer, c.source ORDER BY c.consumer`,
  )
  return rows.flatMap(({ consumer, source, position, paused }): Finding[] => {
    const head = heads.get(String(source))
    if (head === undefined || Number(position) <= head) return []
    return [
      {
        level: 'problem',
        title: 'rewound',
        detail: `${String(consumer)} stands at ${Number(position).toLocaleString('en')} of '${String(source)}', which ends at ${head.toLocaleString('en')}: the log is an older copy${isTrue(paused) ? '; the consumer is paused' : ''}`,
        remedy: `compare what it has done with the log, then: pabal consumer reset ${String(consumer)} --to ${head}`,
      },
    ]
  })
}
