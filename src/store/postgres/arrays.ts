/** Many values as one text: Postgres' array literals (https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO). */

const special = /[\\"]/g

/** A `text[]`; null stays null. */
export const textArray = (values: readonly (string | null)[]): string => {
  let literal = '{'
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!
    if (i > 0) literal += ','
    literal += value === null ? 'NULL' : `"${special.test(value) ? value.replace(special, '\\$&') : value}"`
    special.lastIndex = 0
  }
  return `${literal}}`
}

/** A `bigint[]`, an `integer[]` or a `uuid[]`: nothing in it needs quotes. */
export const plainArray = (values: readonly (number | string)[]): string => `{${values.join(',')}}`
