/** The catalogue of errors and its page agree, both ways and word for word. */

import { describe, expect, test } from 'vitest'
import { catalogue, type ErrorCode } from '../../src/core/errors.ts'
import { pageAt } from './pages.ts'

const { text } = pageAt('docs/reference/errors.md')
const sections = new Map(
  text
    .split(/^### /m)
    .slice(1)
    .map((section): [string, string] => {
      const [code = '', ...rest] = section.split('\n')
      // What follows is the head of the next group.
      return [code, rest.join('\n').split(/^## /m)[0]!.trim()]
    }),
)
const codes = Object.keys(catalogue) as ErrorCode[]

test('every code has its section, once, and every section its code', () => {
  expect([...sections.keys()].toSorted()).toEqual(codes.toSorted())
  expect(text.match(/^### /gm)).toHaveLength(codes.length)
})

describe('the section of', () => {
  test.each(codes)('%s says what the catalogue says', (code) => {
    const { title, remedy, retryable, exit, status } = catalogue[code]
    const retry = retryable ? 'A retry helps' : 'A retry does not help'
    expect(sections.get(code)).toBe(`${title}\n\n- Remedy: ${remedy}\n- ${retry}; exit code ${exit}, HTTP ${status}.`)
  })
})
