/** Pounds as written, rounded half up to integer pence on the digits themselves: as a float, 1.005 would give 100. */

const decimal = /^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d{1,3}))?$/

/** Beyond this many digits a number of pence is no longer exact. */
const penceDigitsMax = 15

/**
 * Integer pence of a decimal text such as `2.55`, `0.001` or `1e-05`; `undefined` if it is not a number, or is too
 * large to be exact. A half goes up, so `0.005` is one penny and `-0.005` none.
 */
export function penceOf(text: string): number | undefined {
  const match = decimal.exec(text)
  if (match === null) return undefined
  const [, sign, whole = '', fraction = '', exponent = '0'] = match
  const digits = whole + fraction
  if (digits === '') return undefined

  const point = whole.length + Number(exponent) + 2
  const pence = (point > 0 ? digits.slice(0, point).padEnd(point, '0') : '').replace(/^0+/, '')
  if (pence.length > penceDigitsMax) return undefined
  const rest = point >= 0 ? digits.slice(point) : '0'
  const up = sign === '-' ? isMoreThanHalf(rest) : rest >= '5'
  const magnitude = Number(pence) + (up ? 1 : 0)
  return sign === '-' && magnitude > 0 ? -magnitude : magnitude
}

const isMoreThanHalf = (rest: string) => rest >= '5' && /[1-9]/.test(rest[0] === '5' ? rest.slice(1) : rest)
