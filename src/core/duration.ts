/** Lengths of time as people write them: '10 minutes', '2h', or milliseconds. */

import ms from 'ms'
import { PabalError } from './errors.ts'

/** A number of milliseconds, or a text such as '10 minutes', '2 h', '500ms'. */
export type Duration = number | string

export const durationMs = (duration: Duration, what: string): number => {
  // `ms` throws an error of its own for an empty text.
  const value = typeof duration === 'string' && duration !== '' ? ms(duration as ms.StringValue) : duration
  if (typeof value !== 'number' || !Number.isFinite(value) || value < 0)
    throw new PabalError(
      'PABAL_DEFINITION_INVALID',
      `${what} must be milliseconds or a text like '10 minutes', not ${JSON.stringify(duration)}`,
    )
  return value
}
