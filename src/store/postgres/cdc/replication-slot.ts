/** What a capture needs on the captured server: a publication of its tables, and a slot that keeps the log for it. */

import { codeOf } from '../errors.ts'
import type { SourceIdentity } from './capture-cursor.ts'
import { checkWalLevel } from './logical-replication.ts'
import { lsnOf } from './lsn.ts'
import { identifier, literal, type ReplicationConnection, unavailable } from './replication-connection.ts'

export interface Source extends SourceIdentity {
  /** Where its log ends. */
  readonly position: bigint
  readonly version: number
  /** True when nothing bounds what a slot without a reader keeps. */
  readonly keepsAll: boolean
}

/** @throws PABAL_REPLICATION_UNAVAILABLE */
export const identify = async (connection: ReplicationConnection, label: string): Promise<Source> => {
  const [system] = await connection.rows('IDENTIFY_SYSTEM')
  const [settings] = await connection.rows(
    `SELECT current_setting('wal_level') AS wal_level, current_setting('server_version_num') AS version,
       current_setting('max_slot_wal_keep_size') AS keep`,
  )
  checkWalLevel(settings!['wal_level'], label)
  return {
    systemIdentifier: system!['systemid']!,
    timeline: Number(system!['timeline']),
    position: lsnOf(system!['xlogpos']!),
    version: Number(settings!['version']),
    keepsAll: settings!['keep'] === '-1',
  }
}

/** One process at a time, as long as the connection lasts: between the creation of a slot and its first reader nothing else says so. */
export const tryLock = async (connection: ReplicationConnection, slot: string): Promise<boolean> => {
  const [row] = await connection.rows(
    `SELECT pg_try_advisory_lock(hashtextextended(${literal(`pabal capture ${slot}`)}, 0)) AS locked`,
  )
  return row!['locked'] === 't'
}

/** The tables by their oids. @throws PABAL_REPLICATION_UNAVAILABLE */
export const tablesOf = async <T extends string>(
  connection: ReplicationConnection,
  names: readonly T[],
): Promise<ReadonlyMap<number, T>> => {
  const tables = new Map<number, T>()
  for (const name of names) {
    const [table] = await connection.rows(
      `SELECT c.oid::text, c.relreplident AS identity,
         EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) AS has_key
       FROM pg_class c WHERE c.oid = to_regclass(${literal(name)}) AND c.relkind IN ('r', 'p')`,
    )
    if (table === undefined) throw unavailable(`there is no table ${name}`)
    // A publication on it would make its updates and deletes fail, for whoever writes them.
    if (table['identity'] === 'n' || (table['identity'] === 'd' && table['has_key'] !== 't'))
      throw unavailable(`${name} has no primary key; ALTER TABLE ${name} REPLICA IDENTITY FULL`)
    tables.set(Number(table['oid']), name)
  }
  return tables
}

/** For a capture that begins: a publication of exactly these tables. @throws PABAL_REPLICATION_UNAVAILABLE */
export const publish = async (
  connection: ReplicationConnection,
  publication: string,
  oids: Iterable<number>,
): Promise<void> => {
  if ((await publicationGap(connection, publication, oids)) === undefined) return
  const [names] = await connection.rows(
    `SELECT string_agg(o::regclass::text, ', ') AS tables,
       EXISTS (SELECT 1 FROM pg_publication WHERE pubname = ${literal(publication)}) AS is_there
     FROM unnest('{${[...oids].join()}}'::oid[]) AS o`,
  )
  const statement =
    names!['is_there'] === 't'
      ? `ALTER PUBLICATION ${identifier(publication)} SET TABLE ${names!['tables']}`
      : `CREATE PUBLICATION ${identifier(publication)} FOR TABLE ${names!['tables']} WITH (publish_via_partition_root = true)`
  try {
    await connection.rows(statement)
  } catch (error) {
    if (codeOf(error) !== '42501') throw error
    throw unavailable(`${(error as Error).message}; let an owner of the tables run: ${statement}`, error)
  }
}

/** What its publication does not tell, or undefined. */
export const publicationGap = async (
  connection: ReplicationConnection,
  publication: string,
  oids: Iterable<number>,
): Promise<string | undefined> => {
  const [found] = await connection.rows(
    `SELECT p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate AS all_of_it,
       (SELECT string_agg(prrelid::text, ',' ORDER BY prrelid) FROM pg_publication_rel WHERE prpubid = p.oid) AS tables
     FROM pg_publication p WHERE p.pubname = ${literal(publication)}`,
  )
  if (found === undefined) return `the publication ${publication} is not there`
  const wanted = [...oids].toSorted((a, b) => a - b).join()
  if (found['all_of_it'] !== 't' || found['tables'] !== wanted)
    return `the publication ${publication} is not one of all changes of exactly these tables; ALTER PUBLICATION makes it so`
  return undefined
}

export interface Slot {
  /** What was committed before is not sent any more. */
  readonly confirmed: bigint
  /** Why the server has given it up. */
  readonly lost: string | undefined
}

export const slotOf = async (connection: ReplicationConnection, slot: string): Promise<Slot | undefined> => {
  const [found] = await connection.rows(
    `SELECT confirmed_flush_lsn::text AS confirmed, wal_status, to_jsonb(s) ->> 'invalidation_reason' AS reason
     FROM pg_replication_slots s
     WHERE slot_name = ${literal(slot)} AND database = current_database() AND plugin = 'pgoutput'`,
  )
  if (found === undefined) return undefined
  const lost = found['wal_status'] === 'lost' ? (found['reason'] ?? 'max_slot_wal_keep_size') : undefined
  return { confirmed: lsnOf(found['confirmed'] ?? '0/0'), lost }
}

/** It waits for the transactions that are open on the server. `snapshot` shows what was committed before the slot begins. */
export const createSlot = async (
  connection: ReplicationConnection,
  slot: string,
  version: number,
): Promise<{ readonly lsn: bigint; readonly snapshot: string }> => {
  // From Postgres 17 on a slot can be kept on a standby too, so that a failover does not lose it.
  const options = version < 170_000 ? 'EXPORT_SNAPSHOT' : `(SNAPSHOT 'export', FAILOVER)`
  const [created] = await connection
    .rows(`CREATE_REPLICATION_SLOT ${identifier(slot)} LOGICAL pgoutput ${options}`, 0)
    .catch((error: unknown) => {
      if (codeOf(error) === '53400') throw unavailable((error as Error).message, error)
      if (codeOf(error) !== '42710') throw error
      throw unavailable(`another database of this server has a slot ${slot}; name another one with \`slot\``, error)
    })
  return { lsn: lsnOf(created!['consistent_point']!), snapshot: created!['snapshot_name']! }
}

export const dropSlot = async (connection: ReplicationConnection, slot: string): Promise<void> => {
  await connection.rows(`SELECT pg_drop_replication_slot(${literal(slot)})`)
}

/** Where the server's history leaves a timeline; undefined when it has never been on it. */
export const switchPoint = async (
  connection: ReplicationConnection,
  from: number,
  to: number,
): Promise<bigint | undefined> => {
  const [history] = await connection.rows(`TIMELINE_HISTORY ${to}`)
  for (const line of (history!['content'] ?? '').split('\n')) {
    const [timeline, lsn] = line.trim().split(/\s+/)
    if (timeline === String(from) && lsn !== undefined) return lsnOf(lsn)
  }
  return undefined
}
