/** What one look of `pabal doctor` is given, and how it reads and tells. */

import type { Finding } from '../store.ts'
import type { PostgresSession } from './connection.ts'
import type { SchemaName } from './migrate.ts'
import type { Pooler } from './pooler.ts'

export interface Diagnosed {
  readonly label: string
  readonly schemas: readonly { readonly context: string; readonly schema: SchemaName }[]
  readonly pooler: Pooler | 'declared'
  readonly patience?: Patience
}

/** Seconds from which on something is told. */
export interface Patience {
  /** A transaction that has appended, as a warning and as a problem. */
  readonly appending: number
  readonly stuck: number
  /** A session that does nothing in a transaction. */
  readonly idle: number
  /** A view that is kept. */
  readonly snapshot: number
  /** A prepared transaction, and one of another database. */
  readonly prepared: number
  readonly foreign: number
  /** Between two looks at what waits for its position; a tick comes within milliseconds of a commit, and every few seconds anyway. */
  readonly numbering: number
}

export const defaultPatience: Patience = {
  appending: 10,
  stuck: 300,
  idle: 60,
  snapshot: 300,
  prepared: 60,
  foreign: 3_600,
  numbering: 6,
}

/** One thing that is looked at. */
export type Look = (session: PostgresSession, diagnosed: Diagnosed) => Promise<readonly Finding[]>

export type Found = Readonly<Record<string, unknown>>

/** Rows by the names of their columns; a text is prepared for the one time that it runs. */
export const rowsOf = async (
  session: PostgresSession,
  text: string,
  values: readonly string[] = [],
): Promise<readonly Found[]> => {
  const [row] = await session.rows({ name: '', text: `SELECT coalesce(json_agg(r), '[]') FROM (${text}) r` }, values)
  return JSON.parse(String(row![0])) as Found[]
}

/** Of a kind that are told one by one. */
const toldMax = 3

/** The first ones by themselves, the rest by their number. */
export const told = <R>(
  title: string,
  rows: readonly R[],
  tell: (row: R) => Omit<Finding, 'title'>,
): readonly Finding[] => {
  const first = rows.slice(0, toldMax).map((row): Finding => ({ title, ...tell(row) }))
  const last = first.at(-1)
  if (last === undefined || rows.length <= toldMax) return first
  return [...first, { level: last.level, title, detail: `${rows.length - toldMax} more, younger than these` }]
}

export const lasting = (seconds: number): string => {
  if (seconds < 120) return `${seconds} s`
  return seconds < 7_200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3_600)} h`
}

/** A text, or none for null. */
export const textOf = (value: unknown): string => (typeof value === 'string' ? value : '')

/** As SQL names it. */
export const name = (value: unknown): string =>
  /^[a-z_][a-z0-9_]*$/.test(String(value)) ? String(value) : `"${String(value).replaceAll('"', '""')}"`
