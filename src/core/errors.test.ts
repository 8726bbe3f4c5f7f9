import { describe, expect, test } from 'vitest'
import type * as original from './errors.ts'
import { catalogue, describeError, type ErrorCode, isPabalError, PabalError } from './errors.ts'

const codes = Object.keys(catalogue) as ErrorCode[]

describe('the catalogue', () => {
  test.each(codes)('%s says in sentences what happened and what to do', (code) => {
    const { title, remedy, status, exit } = catalogue[code]
    expect(code).toMatch(/^PABAL(_[A-Z]+)+$/)
    expect(title).toMatch(/^[A-Z`].*\.$/)
    expect(remedy).toMatch(/^[A-Z`].*\.$/)
    expect(status).toBeGreaterThanOrEqual(400)
    expect([1, 2, 3, 4]).toContain(exit)
  })

  test('tells every code by its own sentence', () => {
    expect(new Set(codes.map((code) => catalogue[code].title)).size).toBe(codes.length)
  })

  test('blames the database for exit code 3 only, and the caller for 2', () => {
    for (const code of codes) {
      const { exit, status } = catalogue[code]
      if (exit === 3) expect([409, 503]).toContain(status)
      if (exit === 2) expect(status).toBeLessThan(500)
    }
  })
})

describe('an error', () => {
  const cause = new TypeError('disk')
  const error = new PabalError('PABAL_STORE_FULL', '/data/shop.db: disk is full', { cause, context: { path: '/data' } })

  test('carries its code, its remedy, its cause, and whether a retry helps', () => {
    expect(error).toBeInstanceOf(Error)
    expect(error).toMatchObject({
      name: 'PabalError',
      code: 'PABAL_STORE_FULL',
      message: 'PABAL_STORE_FULL: /data/shop.db: disk is full',
      remedy: catalogue.PABAL_STORE_FULL.remedy,
      retryable: true,
      cause,
      context: { path: '/data' },
    })
    expect('cause' in new PabalError('PABAL_USAGE', 'x')).toBe(false)
  })

  test('is told to people with what to do', () => {
    expect(describeError(error)).toBe(`${error.message}\n  remedy: ${error.remedy}`)
    expect(describeError(new TypeError('disk'))).toBe('TypeError: disk')
    expect(describeError('disk')).toBe('disk')
  })

  test('is recognised by another copy of the package', async () => {
    const another = './errors.ts?another-copy'
    const copy = (await import(/* @vite-ignore */ another)) as typeof original
    expect(copy.PabalError).not.toBe(PabalError)
    expect(copy.isPabalError(error)).toBe(true)
    expect(isPabalError(new copy.PabalError('PABAL_USAGE', 'x'))).toBe(true)
  })

  test('is nothing else', () => {
    for (const other of [
      undefined,
      null,
      'PABAL_USAGE',
      { code: 'PABAL_USAGE' },
      new Error('PABAL_USAGE'),
      () => error,
    ])
      expect(isPabalError(other)).toBe(false)
  })
})
