import { describe, expect, it } from 'vitest'
import { halfYearFile } from './retail/testing.ts'
import { halfYearOfShop } from './testing/ledger.ts'
import { startShop } from './testing/shop-process.ts'
import { newFolder } from './testing/test-shop.ts'

/** Resident memory at its highest, told by the process itself. */
const tellMemory = `data:text/javascript,${encodeURIComponent(
  "process.on('exit', () => process.stderr.write(`maxRSS ${process.resourceUsage().maxRSS}\\n`))",
)}`

describe('the whole half year', () => {
  it('comes to the truth in less than 400 MB', { timeout: 180_000 }, async () => {
    const data = await newFolder()
    const { code, figures, err } = await startShop(
      ['--data', data, '--once', '--json', '--orders', halfYearFile],
      ['--import', tellMemory],
    ).ended
    expect(code).toBe(0)
    expect(figures()).toMatchObject(halfYearOfShop)
    const kilobytes = Number(/maxRSS (\d+)/.exec(err)?.[1])
    expect(kilobytes).toBeGreaterThan(0)
    expect(kilobytes).toBeLessThan(400_000)
  })
})
