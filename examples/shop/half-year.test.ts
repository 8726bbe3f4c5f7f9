import { readFile } from 'node:fs/promises'
import { gunzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import type { GroupInvoicesOptions } from './retail/invoices.ts'
import { halfYearFile, writeTestFile } from './retail/testing.ts'
import { firstWeek, halfYear, lastDayOfFirstWeek as lastDay, Ledger } from './testing/ledger.ts'

async function keepBooks(path: string, options: GroupInvoicesOptions = {}): Promise<Ledger> {
  const ledger = new Ledger()
  await ledger.keep(path, options)
  return ledger
}

describe('the truth about the real file', () => {
  it('comes out for the half year', async () => {
    expect((await keepBooks(halfYearFile)).figures).toEqual(halfYear)
  })

  it('comes out for the first trading week', async () => {
    expect((await keepBooks(halfYearFile, { lastDay })).figures).toEqual(firstWeek)
  })

  it('comes out for the first week although unreadable lines stand between the good ones', async () => {
    const lines = gunzipSync(await readFile(halfYearFile))
      .toString()
      .split('\n')
    const damages = [
      (line: string) => line.slice(0, 20),
      (line: string) => line.replace(/,(-?\d+),(\d{4})-/, ',some,$2-'),
      (line: string) => line.replace(/,[\d.]+,([\d.]*),([^,]*)$/, ',free,$1,$2'),
      (line: string) => line.replace(',', ',"not closed,'),
      (line: string) => `\u0000${line}`,
    ]
    const dirty = lines.flatMap((line, n) => (n > 0 && n % 50 === 0 ? [line, damages[(n / 50) % 5]?.(line)] : [line]))
    const path = await writeTestFile(dirty.slice(0, 18_000).join('\n'))
    const { figures, badRows } = await keepBooks(path, { lastDay })
    expect(figures).toEqual(firstWeek)
    expect(badRows).toBeGreaterThan(300)
  })
})
