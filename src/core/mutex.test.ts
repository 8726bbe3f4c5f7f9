import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Mutex } from './mutex.ts'

const forLong = 60_000

describe('a mutex', () => {
  test('is taken at once, without a promise, when nobody holds it', () => {
    const mutex = new Mutex()
    expect(mutex.held).toBe(false)
    expect(mutex.acquire(forLong)).toBe(true)
    expect(mutex.held).toBe(true)
    mutex.release()
    expect(mutex.held).toBe(false)
    expect(mutex.acquire(forLong)).toBe(true)
  })

  test('is given to those who wait in the order of their coming, one at a time', async () => {
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), fc.integer({ min: 1, max: 12 }), async (scheduler, workers) => {
        const mutex = new Mutex()
        const [began, holding]: [number[], Set<number>] = [[], new Set()]
        const work = async (worker: number): Promise<void> => {
          const turn = mutex.acquire(forLong)
          if (turn !== true) expect(await turn).toBe(true)
          began.push(worker)
          holding.add(worker)
          await scheduler.schedule(Promise.resolve(), `worker ${worker}`)
          expect([...holding]).toEqual([worker])
          holding.delete(worker)
          mutex.release()
        }
        const all = Array.from({ length: workers }, (_, worker) => work(worker))
        await scheduler.waitFor(Promise.all(all))
        expect(began).toEqual(all.map((_, worker) => worker))
        expect(mutex.held).toBe(false)
      }),
    )
  })

  test('is refused to one whose time has passed, and stays whole for the others', async () => {
    const mutex = new Mutex()
    expect(mutex.acquire(forLong)).toBe(true)
    const [impatient, patient] = [mutex.acquire(1), mutex.acquire(forLong)]
    expect(await impatient).toBe(false)
    mutex.release()
    expect(await patient).toBe(true)
    expect(mutex.held).toBe(true)
    mutex.release()
    expect(mutex.held).toBe(false)
  })

  test.each([Number.POSITIVE_INFINITY, 2 ** 31])('may be waited for without end (%d ms)', async (timeoutMs) => {
    const mutex = new Mutex()
    expect(mutex.acquire(forLong)).toBe(true)
    const [endless, impatient] = [mutex.acquire(timeoutMs), mutex.acquire(5)]
    expect(await Promise.race([endless, impatient])).toBe(false)
    mutex.release()
    expect(await endless).toBe(true)
  })
})
