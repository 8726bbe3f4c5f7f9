import { readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { gzipSync } from 'node:zlib'
import { beforeAll, describe, expect, it } from 'vitest'
import type { ShopInputError } from './input-error.ts'
import { type ReadRowsOptions, readRetailRows } from './rows.ts'
import { collect, halfYearFile, header, isBad, row, writeTestFile } from './testing.ts'

const good = '536365,85123A,WHITE HANGING HEART,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom'

const readAll = (path: string, options?: ReadRowsOptions) => collect(readRetailRows(path, options))

describe('reading a good file', () => {
  it('reads it plain or gzipped, whatever its name', async () => {
    const text = `${header}\n${good}\n`
    expect(await readAll(await writeTestFile(text, 'orders.gz'))).toEqual([row()])
    expect(await readAll(await writeTestFile(gzipSync(text), 'orders.csv'))).toEqual([row()])
  })

  it('reads gzip files joined with cat, the second header skipped', async () => {
    const part = gzipSync(`${header}\n${good}\n`)
    expect(await readAll(await writeTestFile(Buffer.concat([part, part])))).toEqual([row(), row({ line: 4 })])
  })

  it('tolerates a byte order mark, CRLF mixed with LF, empty lines, no last line break and quotes everywhere', async () => {
    const quoted = good.replaceAll(/[^,]+/g, '"$&"')
    const path = await writeTestFile(`\uFEFF${header}\r\n\r\n${good}\n${quoted}\r\n${good}`)
    expect(await readAll(path)).toEqual([row({ line: 3 }), row({ line: 4 }), row({ line: 5 })])
  })

  it('takes a comma, a quote and a line break inside quotes as part of the field', async () => {
    const hard = good.replace('WHITE HANGING HEART', '"BOX, ""VINTAGE""\nOF 12"')
    expect(await readAll(await writeTestFile(`${header}\n${hard}\n${good}`))).toEqual([
      row({ line: 3 }),
      row({ line: 4 }),
    ])
  })

  it('reads a file of a header alone as no rows', async () => {
    expect(await readAll(await writeTestFile(`${header}\n`))).toEqual([])
  })

  it('reads no further than it is asked to, and tells how far it is', async () => {
    const seen: { readBytes: number; fileBytes: number }[] = []
    let rows = 0
    for await (const _ of readRetailRows(halfYearFile, { onProgress: (progress) => seen.push(progress) }))
      if (++rows > 2_000) break
    expect(seen).toHaveLength(2)
    expect(seen[1]?.fileBytes).toBe(2_914_939)
    expect(seen[1]?.readBytes).toBeLessThan(1_000_000)
  })

  it('stops at a signal', async () => {
    const controller = new AbortController()
    const reading = readAll(halfYearFile, { signal: controller.signal, onProgress: () => controller.abort() })
    await expect(reading).rejects.toThrow(/abort/i)
  })
})

describe('a line that cannot be read', () => {
  it('is listed with its number while the others go on', async () => {
    const lines = [good, '536365,85123A', good.replace(',6,', ',six,'), good]
    expect(await readAll(await writeTestFile([header, ...lines].join('\n')))).toEqual([
      row(),
      { kind: 'bad-row', line: 3, invoiceNo: '536365', reason: '2 columns where 8 are expected', text: lines[1] },
      { kind: 'bad-row', line: 4, invoiceNo: '536365', reason: 'Quantity is not a whole number', text: lines[2] },
      row({ line: 5 }),
    ])
  })

  it('is bad alone if bytes of it are not text', async () => {
    const binary = Buffer.from([0x00, 0xff, 0xfe, 0x0a])
    const path = await writeTestFile(Buffer.concat([Buffer.from(`${header}\n`), binary, Buffer.from(good)]))
    expect((await readAll(path)).map(isBad)).toEqual([true, false])
  })
})

describe('a file that cannot be read', () => {
  let halfYear: Buffer
  beforeAll(async () => {
    halfYear = await readFile(halfYearFile)
  })

  it('says so if it is not there or is a folder', async () => {
    await expect(readAll('/no/such/file.csv')).rejects.toMatchObject({
      code: 'SHOP_FILE_NOT_FOUND',
      remedy: expect.any(String),
    })
    await expect(readAll(tmpdir())).rejects.toMatchObject({ code: 'SHOP_FILE_UNREADABLE' })
  })

  it.each([
    ['nothing', ''],
    ['another CSV', 'a,b\n1,2\n'],
    ['a header without a price', `${header.replace('UnitPrice', 'Price')}\n${good}\n`],
    ['other separators', header.replaceAll(',', ';')],
    ['JSON', '{"orders":[]}'],
    ['a spreadsheet', Buffer.from('PK\u0003\u0004\u0014\u0000\u0006\u0000')],
    ['zeros without a line break', Buffer.alloc(1_000_000)],
    ['a quote that opens and no line break', `"${'x'.repeat(1_000_000)}`],
    ['gzipped nonsense', gzipSync('not a table')],
  ])('says SHOP_FILE_NOT_CSV for %s', async (_, content) => {
    await expect(readAll(await writeTestFile(content))).rejects.toMatchObject({ code: 'SHOP_FILE_NOT_CSV' })
  })

  it('says SHOP_FILE_NOT_CSV for a good start with a line that never ends', async () => {
    const path = await writeTestFile(`${header}\n${good}\n"${'x\u0000'.repeat(500_000)}`)
    await expect(readAll(path)).rejects.toMatchObject({ code: 'SHOP_FILE_NOT_CSV' })
  })

  /** The error's code, after as many rows. */
  async function breakOf(content: Uint8Array): Promise<{ code: unknown; rows: number }> {
    let rows = 0
    try {
      for await (const _ of readRetailRows(await writeTestFile(content))) rows++
    } catch (error) {
      return { code: (error as ShopInputError).code, rows }
    }
    return { code: undefined, rows }
  }

  it.each([2, 1_000_000, 2_914_938])(
    'yields nothing and says SHOP_FILE_TRUNCATED when only %d bytes of the gzip are there',
    async (bytes) => {
      expect(await breakOf(halfYear.subarray(0, bytes))).toEqual({ code: 'SHOP_FILE_TRUNCATED', rows: 0 })
    },
  )

  it('yields nothing and says SHOP_FILE_TRUNCATED when bytes in the middle of the gzip are wrong', async () => {
    expect(await breakOf(Buffer.from(halfYear).fill(0xff, 1_000_000, 1_000_100))).toEqual({
      code: 'SHOP_FILE_TRUNCATED',
      rows: 0,
    })
  })
})
