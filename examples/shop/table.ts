/** Rows as a table for people: numbers to the right, everything else to the left. */

export type Row = Readonly<Record<string, string | number | null>>

export function tableOf(rows: readonly Row[]): string {
  const [first] = rows
  if (first === undefined) return '  none\n'
  const columns = Object.keys(first)
  const text = (value: Row[string] | undefined) =>
    typeof value === 'number' ? value.toLocaleString('en-GB') : (value ?? '')
  const widths = columns.map((column) => Math.max(column.length, ...rows.map((row) => text(row[column]).length)))
  const isNumber = columns.map((column) => rows.every((row) => typeof row[column] === 'number'))
  const line = (cells: readonly string[]) =>
    `  ${cells.map((cell, i) => (isNumber[i] === true ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!))).join('   ')}`.trimEnd()
  return `${[line(columns), ...rows.map((row) => line(columns.map((column) => text(row[column]))))].join('\n')}\n`
}
