/** Points and lengths of time for people. */

export type TimeFormat = 'relative' | 'iso' | 'raw'

const units = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1_000],
] as const

/** '3 min', '1.2 s', '40 ms'. */
export const lengthOf = (ms: number): string => {
  for (const [unit, size] of units)
    if (ms >= size) return `${size === 1_000 && ms < 10_000 ? (ms / size).toFixed(1) : Math.floor(ms / size)} ${unit}`
  return `${Math.round(ms)} ms`
}

export const timeOf = (atMs: number, nowMs: number, format: TimeFormat): string => {
  if (format === 'raw') return String(atMs)
  if (format === 'iso') return new Date(atMs).toISOString()
  return atMs > nowMs ? `in ${lengthOf(atMs - nowMs)}` : `${lengthOf(nowMs - atMs)} ago`
}
