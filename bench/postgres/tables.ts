/** Tables of figures: for people as Markdown, for programs as JSON. */

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Spread } from '../measure.ts'

export interface Table {
  readonly title: string
  readonly columns: readonly string[]
  readonly rows: readonly (readonly string[])[]
  /** Below the table, one line each. */
  readonly notes: readonly string[]
  /** What the rows were made from. */
  readonly figures: unknown
}

export const figure = (value: number): string => {
  if (!Number.isFinite(value)) return '–'
  if (value >= 1_000) return Math.round(value).toLocaleString('en')
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)
}
export const median = ({ median: value }: Spread): string => figure(value)
export const range = ({ min, max }: Spread): string => `${figure(min)}–${figure(max)}`

export const markdown = ({ title, columns, rows, notes }: Table): string => {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  return [
    `#### ${title}`,
    '',
    line(columns),
    line(columns.map((_, column) => (column === 0 ? '---' : '--:'))),
    ...rows.map(line),
    ...(notes.length === 0 ? [] : ['', ...notes.map((note) => `- ${note}`)]),
  ].join('\n')
}

export const json = (tables: readonly Table[]): string =>
  JSON.stringify(tables.map(({ title, notes, figures }) => ({ title, notes, figures })))

const readme = join(import.meta.dirname, '../README.md')
const end = '<!-- end of the figures -->'

/** Puts the text in the place of the last run's in `bench/README.md`. */
export const writeReadme = (script: string, text: string): void => {
  const begin = `<!-- figures of ${script} -->`
  const page = readFileSync(readme, 'utf8')
  const [from, to] = [page.indexOf(begin), page.indexOf(end, page.indexOf(begin))]
  if (from === -1 || to === -1) throw new Error(`${readme} has no place for the figures of ${script}`)
  writeFileSync(readme, `${page.slice(0, from)}${begin}\n\n${text}\n\n${page.slice(to)}`)
}
