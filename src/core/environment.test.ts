import { execFileSync } from 'node:child_process'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { backoffMs, systemEnvironment } from './environment.ts'

describe('an id', () => {
  test('is a UUIDv7 of now', () => {
    const before = Date.now()
    const id = systemEnvironment.id()
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    const milliseconds = Number.parseInt(id.replaceAll('-', '').slice(0, 12), 16)
    expect(milliseconds).toBeGreaterThanOrEqual(before)
    expect(milliseconds).toBeLessThanOrEqual(Date.now())
  })

  test('sorts after every earlier one of its process, and is its own', () => {
    const ids = Array.from({ length: 20_000 }, () => systemEnvironment.id())
    expect(ids.filter((id, n) => n > 0 && id <= ids[n - 1]!)).toEqual([])
  })

  test('shares nothing with those of another process', () => {
    const script = `import { systemEnvironment } from './src/core/environment.ts'; console.log(systemEnvironment.id())`
    const tails = [1, 2].map(() =>
      execFileSync(process.execPath, ['--input-type=module', '--eval', script], { encoding: 'utf8' }).slice(14),
    )
    expect(tails[0]).not.toBe(tails[1])
  })
})

describe('sleeping', () => {
  test('ends when its signal aborts, and at once when that has happened before', async () => {
    const controller = new AbortController()
    const asleep = systemEnvironment.sleep(60_000, controller.signal)
    controller.abort()
    await asleep
    await systemEnvironment.sleep(60_000, controller.signal)
  })

  test('leaves nothing behind on the signal', async () => {
    const { signal } = new AbortController()
    let listening = 0
    const counted = Object.create(signal, {
      aborted: { get: () => signal.aborted },
      addEventListener: { value: () => listening++ },
      removeEventListener: { value: () => listening-- },
    }) as AbortSignal
    const asleep = systemEnvironment.sleep(1, counted)
    expect(listening).toBe(1)
    await asleep
    expect(listening).toBe(0)
  })

  test('keeps the process alive, so that nobody who waits for a busy database is cut off', () => {
    const script = `
      import { systemEnvironment } from './src/core/environment.ts'
      await systemEnvironment.sleep(5)
      console.log('awake')`
    expect(execFileSync(process.execPath, ['--input-type=module', '--eval', script], { encoding: 'utf8' })).toBe(
      'awake\n',
    )
  })
})

test('a delay grows from the first to the maximum, and has a jitter of half of it', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 2_000 }),
      fc.integer({ min: 0, max: 10_000 }),
      fc.integer({ min: 0, max: 1_000_000 }),
      fc.double({ min: 0, max: 0.999_999, noNaN: true }),
      (attempt, firstMs, maxMs, random) => {
        const full = Math.min(maxMs, firstMs * 2 ** Math.min(attempt - 1, 1_000))
        const delay = backoffMs(attempt, firstMs, maxMs, () => random)
        expect(Number.isSafeInteger(delay)).toBe(true)
        expect(delay).toBeGreaterThanOrEqual(Math.floor(full / 2))
        expect(delay).toBeLessThanOrEqual(full)
      },
    ),
  )
  expect([1, 2, 3, 4, 5].map((attempt) => backoffMs(attempt, 1_000, 5_000, () => 0))).toEqual([
    500, 1_000, 2_000, 2_500, 2_500,
  ])
})
