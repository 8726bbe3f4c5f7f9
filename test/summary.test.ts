import { expect, test } from 'vitest'
import type { Outcome } from '../tools/reporter.ts'
import { verdict } from '../tools/summary.ts'

const green: Outcome = { passed: 12, failed: [], skipped: [] }
const redis: Outcome['skipped'][number] = {
  file: 'src/exchange/redis-streams/redis.server.test.ts',
  name: 'the Redis transport (skipped: redis-server is not installed)',
  tests: 5,
  reason: 'redis-server is not installed',
}
const lenient = { requireServers: false, unavailable: {} }
const strict = { requireServers: true, unavailable: {} }

test('a green run ends with its counts and names no skips', () => {
  expect(verdict(green, lenient)).toEqual({ ok: true, lines: ['12 passed, 0 failed'] })
})

test('a failure fails the run and is named', () => {
  const { ok, lines } = verdict({ ...green, failed: ['test/a.test.ts > holds'] }, lenient)

  expect(ok).toBe(false)
  expect(lines).toContain('  test/a.test.ts > holds')
  expect(lines.at(-1)).toBe('12 passed, 1 failed')
})

test('a skipped suite is counted by its tests and stands with its reason', () => {
  const { ok, lines } = verdict({ ...green, skipped: [redis] }, lenient)

  expect(ok).toBe(true)
  expect(lines).toContain(`  ${redis.file} > the Redis transport [5]: redis-server is not installed`)
  expect(lines.at(-1)).toBe('12 passed, 0 failed, 5 skipped')
})

test('where servers are required a skipped suite fails the run', () => {
  const { ok, lines } = verdict({ ...green, skipped: [redis] }, strict)

  expect(ok).toBe(false)
  expect(lines.at(-1)).toBe('12 passed, 5 failed')
})

test.each(['the Redis transport', redis.file])(
  'where servers are required %s may be declared unavailable, and the declared reason is printed',
  (key) => {
    const { ok, lines } = verdict(
      { ...green, skipped: [redis] },
      { ...strict, unavailable: { [key]: 'no package for this platform' } },
    )

    expect(ok).toBe(true)
    expect(lines.join('\n')).toContain('no package for this platform')
    expect(lines.at(-1)).toBe('12 passed, 0 failed, 5 skipped')
  },
)

test('a run without a test fails', () => {
  const { ok, lines } = verdict({ passed: 0, failed: [], skipped: [redis] }, lenient)

  expect(ok).toBe(false)
  expect(lines.at(-1)).toBe('0 passed, 1 failed, 5 skipped')
})
