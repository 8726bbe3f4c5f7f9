/** Results of a run: one table for people, or the same as JSON. */

import type { Spread } from './measure.ts'

export interface Result {
  readonly what: string
  /** Undefined: told for comparison, no goal. */
  readonly goal?: { readonly atLeast: number } | { readonly atMost: number }
  readonly measured: Spread
  /** What the number is: 'of raw', 'times EventEmitter', 'MB'. */
  readonly unit: string
  /** Absolute figures of this machine and this minute; they say nothing by themselves. */
  readonly note: string
}

export const holds = ({ goal, measured }: Result): boolean | undefined => {
  if (goal === undefined) return undefined
  return 'atLeast' in goal ? measured.median >= goal.atLeast : measured.median <= goal.atMost
}

const figure = (value: number): string =>
  value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)
const goalText = ({ goal }: Result): string =>
  goal === undefined ? '' : 'atLeast' in goal ? `≥ ${goal.atLeast}` : `≤ ${goal.atMost}`
const verdict = (result: Result): string =>
  ({ true: 'ok', false: 'MISSED', undefined: '' })[String(holds(result)) as 'true']

export const table = (results: readonly Result[]): string => {
  const rows = [
    ['what', 'median', 'range', 'unit', 'goal', '', 'here and now'],
    ...results.map((result) => [
      result.what,
      figure(result.measured.median),
      `${figure(result.measured.min)}–${figure(result.measured.max)}`,
      result.unit,
      goalText(result),
      verdict(result),
      result.note,
    ]),
  ]
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

export const json = (results: readonly Result[]): string =>
  JSON.stringify(results.map((result) => ({ ...result, holds: holds(result) })))
