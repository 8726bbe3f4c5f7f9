/** Columns that line up, also where a character is as wide as two (East Asian width). */

import { joined, type Paintable, Painted, plain } from './text.ts'

export interface Column {
  readonly head: string
  readonly align?: 'right'
}

const between = '  '

export const table = (
  columns: readonly Column[],
  rows: readonly (readonly Paintable[])[],
  head: (title: string) => Painted,
): Painted[] => {
  const cells = [columns.map((column) => head(column.head)), ...rows.map((row) => row.map(plain))]
  const widths = columns.map((_, index) => Math.max(...cells.map((row) => row[index]!.width)))
  return cells.map((row) => {
    const padded = row.map((cell, index) => pad(cell, widths[index]!, columns[index]!, index === columns.length - 1))
    return new Painted(joined(padded, between).text.trimEnd())
  })
}

const pad = (cell: Painted, width: number, { align }: Column, last: boolean): Painted => {
  const space = ' '.repeat(width - cell.width)
  if (align === 'right') return new Painted(space + cell.text)
  return last ? cell : new Painted(cell.text + space)
}

export const indented = (lines: readonly Painted[], by = 2): Painted[] =>
  lines.map((each) => (each.text === '' ? each : new Painted(' '.repeat(by) + each.text)))
