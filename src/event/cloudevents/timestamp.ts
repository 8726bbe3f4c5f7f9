/** Times as CloudEvents write them: RFC 3339, of which `Date.parse` takes both more and less. */

const pattern = /^(\d{4})-(\d{2})-(\d{2})T(\d{2}):(\d{2}):(\d{2})(?:\.(\d+))?(?:Z|([+-])(\d{2}):(\d{2}))$/i

/** Milliseconds since 1970, what is finer cut off; undefined for what is no RFC 3339. A leap second is the next one's begin. */
export const instantOf = (text: string): number | undefined => {
  const plain = text.length === 24 ? Date.parse(text) : Number.NaN
  // As `Date` itself writes it, which ours all are: what it changes is looked at closer.
  if (!Number.isNaN(plain) && new Date(plain).toISOString() === text) return plain
  const found = pattern.exec(text)
  if (found === null) return undefined
  const [year, month, day, hour, minute, second] = found.slice(1, 7).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ]
  const [, , , , , , , fraction = '', sign, offsetHours = '0', offsetMinutes = '0'] = found
  if (hour > 23 || minute > 59 || second > 60 || Number(offsetHours) > 23 || Number(offsetMinutes) > 59)
    return undefined
  // Not `Date.UTC`, which takes the years 0 to 99 for 1900 to 1999.
  const date = new Date(0)
  date.setUTCFullYear(year, month - 1, day)
  if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) return undefined
  const offset = (Number(offsetHours) * 60 + Number(offsetMinutes)) * (sign === '-' ? -1 : 1)
  const seconds = (hour * 60 + minute - offset) * 60 + second
  return date.getTime() + seconds * 1000 + Number(fraction.slice(0, 3).padEnd(3, '0'))
}
