import { expect, test } from 'vitest'
import { durationMs } from './duration.ts'

test.each([
  [0, 0],
  [1_500, 1_500],
  ['500ms', 500],
  ['10 minutes', 600_000],
  ['2 h', 7_200_000],
  ['1.5d', 129_600_000],
  ['250', 250],
])('%j is a duration of %d ms', (duration, milliseconds) => {
  expect(durationMs(duration, 'within')).toBe(milliseconds)
})

test.each([
  '',
  ' ',
  'soon',
  '10 minuts',
  '-5 minutes',
  -1,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  undefined,
  null,
  {},
  [5],
])('%j is refused, with the name of what it was given for', (duration) => {
  expect(() => durationMs(duration as string, 'within')).toThrow(
    expect.objectContaining({ code: 'PABAL_DEFINITION_INVALID', message: expect.stringContaining('within must be') }),
  )
})
