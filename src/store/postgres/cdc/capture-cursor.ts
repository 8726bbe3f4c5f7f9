/** How far a capture is, in a table of its context: it moves in the transaction of the events that it has led to. */

import { PabalError } from '../../../core/errors.ts'
import type { OwnTransaction } from '../join/own-transaction.ts'
import { lsnOf, lsnText } from './lsn.ts'

/** The server whose write-ahead log the place is in. */
export interface SourceIdentity {
  readonly systemIdentifier: string
  readonly timeline: number
}

export interface CapturePlace extends SourceIdentity {
  /** All that was committed before is captured. Undefined: the capture has not begun, or begins anew. */
  readonly lsn: bigint | undefined
  readonly movedMs: number
  /** The transaction that the translator fails on. */
  readonly failed: { readonly lsn: string; readonly error: string } | undefined
}

/** Another process moved it, or a person began anew: whatever was done on the old place is undone. */
export class CursorMoved extends Error {}

/** Acknowledged is what is durable, also where COMMIT is set to be answered before it is. */
const durable = `CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', true) END`

const textOf = (value: unknown): string => String(value)

export class CaptureCursor {
  readonly #name: string
  readonly #schema: string
  readonly #now: () => number

  constructor(name: string, schema: string, now: () => number) {
    this.#name = name
    this.#schema = `"${schema.replaceAll('"', '""')}"`
    this.#now = now
  }

  /** Creates the tables where they are not there yet. @throws PABAL_STORE_FOREIGN */
  async prepare(sql: OwnTransaction): Promise<void> {
    const s = this.#schema
    const { rows } = await sql.query(
      `SELECT to_regclass($1::text)::text AS log, to_regclass($2::text)::text AS capture`,
      [`${s}.meta`, `${s}.capture_skipped`],
    )
    if (rows[0]!['log'] === null)
      throw new PabalError(
        'PABAL_STORE_FOREIGN',
        `capture '${this.#name}': no log of the context is in the schema ${s}; name its schema with \`schema\``,
      )
    if (rows[0]!['capture'] !== null) return
    await sql.query(
      `CREATE TABLE IF NOT EXISTS ${s}.capture (
         name text COLLATE "C" PRIMARY KEY,
         lsn pg_lsn,
         system_identifier text NOT NULL DEFAULT '',
         timeline integer NOT NULL DEFAULT 0,
         moved_ms bigint NOT NULL,
         failed_lsn pg_lsn,
         error text
       ) WITH (fillfactor = 50)`,
      [],
    )
    await sql.query(
      `CREATE TABLE IF NOT EXISTS ${s}.capture_skipped (
         name text COLLATE "C" NOT NULL,
         lsn pg_lsn NOT NULL,
         what text NOT NULL,
         reason text NOT NULL,
         by text NOT NULL,
         error text,
         at_ms bigint NOT NULL,
         PRIMARY KEY (name, lsn, what)
       )`,
      [],
    )
  }

  async read(sql: OwnTransaction): Promise<CapturePlace | undefined> {
    const { rows } = await sql.query(
      `SELECT lsn::text, system_identifier, timeline::text, moved_ms::text, failed_lsn::text, error
       FROM ${this.#schema}.capture WHERE name = $1`,
      [this.#name],
    )
    const [row] = rows
    if (row === undefined) return undefined
    return {
      lsn: row['lsn'] === null ? undefined : lsnOf(textOf(row['lsn'])),
      systemIdentifier: textOf(row['system_identifier']),
      timeline: Number(row['timeline']),
      movedMs: Number(row['moved_ms']),
      failed: row['failed_lsn'] === null ? undefined : { lsn: textOf(row['failed_lsn']), error: textOf(row['error']) },
    }
  }

  /** Before there is a slot, so that one which nobody knows is never taken for an own one. */
  async announce(sql: OwnTransaction): Promise<void> {
    await sql.query(
      `INSERT INTO ${this.#schema}.capture (name, moved_ms) VALUES ($1, $2::text::bigint) ON CONFLICT (name) DO NOTHING`,
      [this.#name, String(this.#now())],
    )
  }

  async begin(sql: OwnTransaction, lsn: bigint, source: SourceIdentity): Promise<void> {
    const { rowCount } = await sql.query(
      `UPDATE ${this.#schema}.capture
       SET lsn = $2::text::pg_lsn, system_identifier = $3, timeline = $4::text::integer, moved_ms = $5::text::bigint
       WHERE name = $1 AND lsn IS NULL`,
      [this.#name, lsnText(lsn), source.systemIdentifier, String(source.timeline), String(this.#now())],
    )
    if (rowCount !== 1) throw new CursorMoved('another process has begun this capture')
  }

  /**
   * The fence, and what makes a transaction that comes again harmless: `done` when the place is behind it already. Whoever calls
   * it holds the row until the end of the transaction. @throws CursorMoved
   */
  async move(sql: OwnTransaction, from: bigint, to: bigint): Promise<'moved' | 'skipped' | 'done'> {
    const s = this.#schema
    const { rows } = await sql.query(
      `UPDATE ${s}.capture SET lsn = $2::text::pg_lsn, moved_ms = $3::text::bigint, failed_lsn = NULL, error = NULL
       WHERE name = $1 AND lsn = $4::text::pg_lsn
       RETURNING EXISTS (
         SELECT 1 FROM ${s}.capture_skipped k WHERE k.name = capture.name AND k.lsn = capture.lsn AND k.what = 'transaction'
       )::text AS skipped, ${durable} AS durable`,
      [this.#name, lsnText(to), String(this.#now()), lsnText(from)],
    )
    if (rows[0] !== undefined) return rows[0]['skipped'] === 'true' ? 'skipped' : 'moved'
    const there = (await this.read(sql))?.lsn
    if (there !== undefined && there >= to) return 'done'
    throw new CursorMoved(`the capture stands at ${there === undefined ? 'its beginning' : lsnText(there)}`)
  }

  /** The server's timeline is another one since a failover, and the place is on both. */
  async follow(sql: OwnTransaction, timeline: number): Promise<void> {
    await sql.query(`UPDATE ${this.#schema}.capture SET timeline = $2::text::integer WHERE name = $1`, [
      this.#name,
      String(timeline),
    ])
  }

  async fail(sql: OwnTransaction, lsn: bigint, error: string): Promise<void> {
    await sql.query(
      `UPDATE ${this.#schema}.capture SET failed_lsn = $2::text::pg_lsn, error = $3
       WHERE name = $1 AND lsn < $4::text::pg_lsn`,
      [this.#name, lsnText(lsn), error, lsnText(lsn)],
    )
  }

  async skip(sql: OwnTransaction, lsn: bigint, reason: string, by: string): Promise<void> {
    const { rowCount } = await sql.query(
      `INSERT INTO ${this.#schema}.capture_skipped (name, lsn, what, reason, by, error, at_ms)
       SELECT name, failed_lsn, 'transaction', $2, $3, error, $4::text::bigint FROM ${this.#schema}.capture
       WHERE name = $1 AND failed_lsn = $5::text::pg_lsn
       ON CONFLICT (name, lsn, what) DO UPDATE SET reason = excluded.reason, by = excluded.by`,
      [this.#name, reason, by, String(this.#now()), lsnText(lsn)],
    )
    if (rowCount === 1) return
    const waiting = (await this.read(sql))?.failed?.lsn
    throw new PabalError(
      'PABAL_PLAN_CHANGED',
      `capture '${this.#name}': the transaction at ${lsnText(lsn)} is not the one that fails; ${waiting === undefined ? 'none does' : `that is ${waiting}`}`,
    )
  }

  async restart(sql: OwnTransaction, reason: string, by: string): Promise<void> {
    const s = this.#schema
    await sql.query(
      `INSERT INTO ${s}.capture_skipped (name, lsn, what, reason, by, error, at_ms)
       SELECT name, lsn, 'everything until the next start', $2, $3, error, $4::text::bigint FROM ${s}.capture
       WHERE name = $1 AND lsn IS NOT NULL ON CONFLICT DO NOTHING`,
      [this.#name, reason, by, String(this.#now())],
    )
    await sql.query(`UPDATE ${s}.capture SET lsn = NULL, failed_lsn = NULL, error = NULL WHERE name = $1`, [this.#name])
  }
}
