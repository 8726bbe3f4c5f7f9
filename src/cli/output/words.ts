/** Numbers with their nouns, and arguments as a shell takes them. */

export const number = (value: number): string => value.toLocaleString('en')

export const count = (value: number, noun: string, plural = `${noun}s`): string =>
  `${number(value)} ${value === 1 ? noun : plural}`

/** Quoted where a shell would read more into it. */
export const argument = (value: string): string =>
  /^[\w@%+=:,./-]+$/.test(value) ? value : `'${value.replaceAll("'", "'\\''")}'`

export const bytes = (value: number): string => {
  for (const [unit, size] of [
    ['GiB', 2 ** 30],
    ['MiB', 2 ** 20],
    ['KiB', 2 ** 10],
  ] as const)
    if (value >= size) return `${(value / size).toFixed(1)} ${unit}`
  return `${value} B`
}
