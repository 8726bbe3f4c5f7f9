/** Numbered migrations of one context's schema, forward only, each in the transaction that also records it. */

import { PabalError } from '../../core/errors.ts'
import type { MigrationState } from '../store.ts'
import { type PostgresSession, statement } from './connection.ts'
import { log } from './migrations/0001-log.ts'

/** The schema of a context, as SQL names it and as text. */
export interface SchemaName {
  readonly name: string
  readonly sql: string
}

/** Names beyond are cut by the server. */
const nameBytes = 63
/** Nothing that would have to be escaped in a name, a text or a format. */
const plain = /^[\p{L}_][\p{L}\p{N}_$.-]*$/u

export const schemaName = (name: string): SchemaName => {
  if (!plain.test(name) || Buffer.byteLength(name) > nameBytes)
    throw new PabalError(
      'PABAL_COMPOSITION_INVALID',
      `${JSON.stringify(name)} cannot name a schema: letters, digits, _ $ . -, at most ${nameBytes} bytes`,
    )
  return { name, sql: `"${name}"` }
}

/** A migration's text, for a schema. */
export interface Migration {
  readonly version: number
  readonly name: string
  readonly sql: (schema: SchemaName) => string
}

/** Applied in order; a version, once released, never changes. */
export const migrations: readonly Migration[] = [{ version: 1, name: 'log', sql: log }]

export const ddlOf = (schema: SchemaName): string =>
  migrations.map(({ version, name, sql }) => `-- migration ${version}: ${name}\n${sql(schema).trim()}\n`).join('\n')

interface Applied {
  readonly version: number
  readonly name: string
  readonly atMs: number
}

const tableOf = statement(`SELECT to_regclass($1::text) IS NOT NULL AND has_schema_privilege($2::text, 'USAGE')`)

const appliedIn = async (session: PostgresSession, schema: SchemaName): Promise<readonly Applied[]> => {
  const found = await session.rows(schemaThere, [schema.name])
  if (found.length === 0) return []
  const [row] = await session.rows(tableOf, [`${schema.sql}.migration`, schema.name])
  if (!isTrue(row?.[0])) return []
  const rows = await session.rows(
    statement(`SELECT version, name, at_ms FROM ${schema.sql}.migration ORDER BY version`),
    [],
  )
  return rows.map(([version, name, atMs]) => ({ version: Number(version), name: String(name), atMs: Number(atMs) }))
}

const schemaThere = statement('SELECT 1 FROM pg_namespace WHERE nspname = $1::text')

/** Booleans come as 't', 'true' or true, as the driver likes them. */
export const isTrue = (value: unknown): boolean => value === true || value === 't' || value === 'true'

/** The migrations that a context lacks, without writing. @throws PABAL_STORE_NEWER */
export const pendingMigrations = async (
  session: PostgresSession,
  schema: SchemaName,
): Promise<readonly Migration[]> => {
  const from = (await appliedIn(session, schema)).at(-1)?.version ?? 0
  const known = migrations.at(-1)!.version
  if (from > known)
    throw new PabalError(
      'PABAL_STORE_NEWER',
      `the tables in schema ${schema.name} have version ${from}, this code knows up to ${known}`,
    )
  return migrations.filter(({ version }) => version > from)
}

export const migrationStates = async (
  session: PostgresSession,
  context: string,
  schema: SchemaName,
): Promise<MigrationState[]> => {
  const applied = await appliedIn(session, schema)
  const missing = migrations.filter(({ version }) => !applied.some((known) => known.version === version))
  return [...applied, ...missing.map(({ version, name }) => ({ version, name, atMs: null }))].map((state) => ({
    context,
    ...state,
  }))
}

/** Processes that start at once migrate one after the other. */
const alone = statement(`SELECT pg_advisory_xact_lock(hashtextextended('pabal migration ' || $1::text, 0))`)

/** Inside a transaction. @throws PABAL_STORE_NEWER, PABAL_STORE_FORBIDDEN */
export const migrate = async (
  session: PostgresSession,
  schema: SchemaName,
  { nowMs, incarnation }: { readonly nowMs: number; readonly incarnation: string },
): Promise<void> => {
  await session.rows(alone, [schema.name])
  for (const { version, name, sql } of await pendingMigrations(session, schema)) {
    if (version === 1) await session.rows(statement(`CREATE SCHEMA IF NOT EXISTS ${schema.sql}`), [])
    await session.command(sql(schema))
    await session.rows(
      statement(
        `INSERT INTO ${schema.sql}.migration (version, name, at_ms) VALUES ($1::text::integer, $2, $3::text::bigint)`,
      ),
      [String(version), name, String(nowMs)],
    )
  }
  await session.rows(statement(`UPDATE ${schema.sql}.meta SET incarnation = $1 WHERE incarnation = ''`), [incarnation])
  await session.rows(statement(`SELECT ${schema.sql}.create_partitions()`), [])
}
