/** What `pabal doctor` looks at on the server as a whole. */

import type { Finding } from '../store.ts'
import type { PostgresSession } from './connection.ts'
import { type Look, name, rowsOf, textOf, told } from './look.ts'
import { isTrue } from './migrate.ts'

const oldest = 14
const newest = 18

export const server: Look = async (session, { label }) => {
  const [row] = await rowsOf(
    session,
    `SELECT current_setting('server_version') AS version, current_setting('server_version_num')::integer / 10000 AS major,
       pg_is_in_recovery() AS standby, current_setting('default_transaction_read_only') AS read_only,
       current_setting('server_encoding') AS encoding, current_database() AS database`,
  )
  const { version, standby, read_only: readOnly, encoding, database } = row!
  const major = Number(row!['major'])
  const found: Finding[] = []
  const detail = `${label}: PostgreSQL ${String(version)}`
  if (major < oldest)
    found.push({
      level: 'problem',
      title: 'server',
      detail: `${detail} is older than ${oldest} and lacks what the log is numbered with`,
      remedy: `move to PostgreSQL ${oldest} to ${newest}`,
    })
  else if (major > newest)
    found.push({
      level: 'warning',
      title: 'server',
      detail: `${detail} is newer than any that this version of pabal was tried on (${oldest} to ${newest})`,
      remedy: 'look for a newer version of pabal',
    })
  else found.push({ level: 'ok', title: 'server', detail })
  if (isTrue(standby))
    found.push({
      level: 'problem',
      title: 'standby',
      detail: 'the server is a standby: nothing can be written, and no event gets a position here',
      remedy: 'connect to the primary',
    })
  else if (readOnly === 'on')
    found.push({
      level: 'problem',
      title: 'read-only',
      detail: 'transactions are read-only unless they say otherwise (default_transaction_read_only)',
      remedy: `ALTER DATABASE ${name(database)} SET default_transaction_read_only = off, or the same for the role`,
    })
  if (encoding !== 'UTF8')
    found.push({
      level: 'warning',
      title: 'encoding',
      detail: `the database is encoded as ${String(encoding)}: an event with a character that it lacks cannot be appended`,
      remedy: 'create the database with ENCODING UTF8',
    })
  return found
}

/** What may be lost when the machine fails. */
export const durability: Look = async (session) => {
  const settings = await rowsOf(
    session,
    `SELECT name, setting, source FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', 'synchronous_standby_names')`,
  )
  const given = new Map(settings.map((row) => [String(row['name']), row]))
  const valueOf = (setting: string): string => textOf(given.get(setting)?.['setting'])
  const found: Finding[] = []
  if (valueOf('fsync') === 'off')
    found.push({
      level: 'problem',
      title: 'durability',
      detail: 'fsync is off: when the machine fails the whole database may be lost, not only the last commits',
      remedy: 'ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf()',
    })
  if (valueOf('full_page_writes') === 'off')
    found.push({
      level: 'warning',
      title: 'durability',
      detail:
        'full_page_writes is off: when the machine fails pages may be half-written, unless the file system writes them whole',
      remedy: 'ALTER SYSTEM SET full_page_writes = on; SELECT pg_reload_conf()',
    })
  const commit = valueOf('synchronous_commit')
  const isStandbyWaitedFor = valueOf('synchronous_standby_names') !== ''
  if (isWeak(commit, isStandbyWaitedFor)) {
    const [to, remedy] = await commitRemedy(session, String(given.get('synchronous_commit')?.['source']))
    found.push({
      level: 'warning',
      title: 'durability',
      detail: `synchronous_commit is ${commit} ${to}: ${lossOf(commit)}`,
      remedy,
    })
  } else
    for (const each of await weakForOthers(session))
      if (isWeak(each.value, isStandbyWaitedFor))
        found.push({
          level: 'warning',
          title: 'durability',
          detail: `synchronous_commit is ${each.value} for ${each.whom}: whoever connects so, ${lossOf(each.value)}`,
          remedy: each.remedy,
        })
  if (found.length === 0)
    found.push({ level: 'ok', title: 'durability', detail: `fsync, full_page_writes, synchronous_commit=${commit}` })
  return found
}

const isWeak = (commit: string, isStandbyWaitedFor: boolean): boolean =>
  commit === 'off' || (isStandbyWaitedFor && (commit === 'local' || commit === 'remote_write'))

const lossOf = (commit: string): string =>
  commit === 'off'
    ? 'what commits without an event, such as the effects of a handler with its cursor, may be lost when the server fails; appends are made durable all the same'
    : 'a failover may lose what was committed last'

/** Who set it for this session, and what takes it back. */
const commitRemedy = async (session: PostgresSession, source: string): Promise<readonly [string, string]> => {
  const [row] = await rowsOf(session, 'SELECT current_user AS role, current_database() AS database')
  const role = `ROLE ${name(row!['role'])}`
  const database = `DATABASE ${name(row!['database'])}`
  switch (source) {
    case 'user':
      return ['for this role', `ALTER ${role} RESET synchronous_commit`]
    case 'database':
      return ['for this database', `ALTER ${database} RESET synchronous_commit`]
    case 'database user':
      return ['for this role in this database', `ALTER ${role} IN ${database} RESET synchronous_commit`]
    case 'client':
      return ['by the options of the pool', "take synchronous_commit out of the pool's `options`"]
    default:
      return ['on this server', 'ALTER SYSTEM RESET synchronous_commit; SELECT pg_reload_conf()']
  }
}

const weakForOthers = async (
  session: PostgresSession,
): Promise<readonly { readonly whom: string; readonly value: string; readonly remedy: string }[]> => {
  const rows = await rowsOf(
    session,
    `SELECT r.rolname AS role, d.datname AS database, split_part(c.setting, '=', 2) AS value
     FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) AS c (setting)
     LEFT JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase
     WHERE c.setting LIKE 'synchronous_commit=%' AND (s.setdatabase = 0 OR d.datname = current_database())`,
  )
  return rows.map(({ role, database, value }) => {
    const parts = [
      ...(role === null ? [] : [`ROLE ${name(role)}`]),
      ...(database === null ? [] : [`DATABASE ${name(database)}`]),
    ]
    return {
      whom: parts.join(' in ').toLowerCase(),
      value: String(value),
      remedy: `ALTER ${parts.join(' IN ')} RESET synchronous_commit`,
    }
  })
}

export const poolers: Look = async (_session, { pooler }) => {
  if (pooler === 'none') return []
  if (pooler === 'session')
    return [
      {
        level: 'ok',
        title: 'pooler',
        detail: 'one stands in between, and leaves each client its connection: nothing is lost by it',
      },
    ]
  return [
    pooler === 'declared'
      ? {
          level: 'ok',
          title: 'pooler',
          detail:
            'declared: statements are parsed each time, events of other processes are found by looking, up to a second later, and the lease of a process that was killed runs out before another one goes on',
        }
      : {
          level: 'problem',
          title: 'pooler',
          detail:
            'one stands in between, and gives each transaction another connection: what is prepared or listened for is lost',
          remedy: 'say `pooler: true` in the options of the store, or connect without it',
        },
  ]
}

const nearlyAll = 0.95
const many = 0.8

export const connections: Look = async (session) => {
  const [row] = await rowsOf(
    session,
    `SELECT (SELECT count(*) FROM pg_stat_activity WHERE usesysid IS NOT NULL AND coalesce(backend_type, 'client backend') = 'client backend') AS used,
       current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
         - coalesce(current_setting('reserved_connections', true)::integer, 0) AS most`,
  )
  const used = Number(row!['used'])
  const most = Number(row!['most'])
  if (used < most * many) return []
  return [
    {
      level: used < most * nearlyAll ? 'warning' : 'problem',
      title: 'connections',
      detail: `${used} of ${most} are taken: a process that starts, or the one that numbers events, may get none`,
      remedy: 'lower `max` of the pools, put a pooler in front, or raise max_connections',
    },
  ]
}

/** Write-ahead log that is kept for nobody. */
const walMegabytes = 64
const walProblemMegabytes = 10_240

/** A logical slot without a reader keeps the write-ahead log until the disk is full. */
export const slots: Look = async (session) => {
  const rows = await rowsOf(
    session,
    `SELECT slot_name, database, (pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, restart_lsn) / 1048576)::bigint AS megabytes
     FROM pg_replication_slots WHERE slot_type = 'logical' AND NOT active AND restart_lsn IS NOT NULL ORDER BY restart_lsn`,
  )
  const kept = rows.filter(({ megabytes }) => Number(megabytes) >= walMegabytes)
  return told('replication slot', kept, ({ slot_name: slot, megabytes }) => ({
    level: Number(megabytes) >= walProblemMegabytes ? 'problem' : 'warning',
    detail: `nobody reads from ${String(slot)}: the server keeps ${String(megabytes)} MB of write-ahead log for it, and more with each change, until the disk is full`,
    remedy: `start its reader, or SELECT pg_drop_replication_slot('${String(slot).replaceAll("'", "''")}'); max_slot_wal_keep_size bounds all slots`,
  }))
}
