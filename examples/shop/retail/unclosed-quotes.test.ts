import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { parse } from 'csv-parse/sync'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readRetailRows } from './rows.ts'
import { collect, header, isBad, row, writeTestFile } from './testing.ts'
import { createUnclosedQuotesFilter } from './unclosed-quotes.ts'

const good = '536365,85123A,WHITE HANGING HEART,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom'
const quoted = '536365,85123A,"BOX, ""VINTAGE"" OF 12",6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom'

const refuse = (error: Error): never => {
  throw error
}

async function filter(text: string, chunkBytes = 64 * 1024): Promise<string> {
  const bytes = Buffer.from(text)
  const chunks = Array.from({ length: Math.ceil(bytes.length / chunkBytes) }, (_, i) =>
    bytes.subarray(i * chunkBytes, (i + 1) * chunkBytes),
  )
  return (await buffer(Readable.from(chunks).pipe(createUnclosedQuotesFilter(refuse)))).toString()
}

describe('the filter of unclosed quotes', () => {
  it('reads a line that lost a quote without it, and the lines below as they are', async () => {
    const opened = good.replace('WHITE', '"WHITE')
    const path = await writeTestFile([header, opened, good, quoted, good].join('\n'))
    expect(await collect(readRetailRows(path))).toEqual([2, 3, 4, 5].map((line) => row({ line })))
  })

  it('does not let the quotes of two damaged lines make one field of both', async () => {
    const [first, second] = [good.replace('WHITE', '"WHITE'), good.replace('WHITE HANGING HEART', '12"')]
    expect(await filter([header, first, second, good].join('\n'))).toBe([header, good, second, good].join('\n'))
  })

  it('takes the quotes out of a line that is short as well, if no line completes it', async () => {
    expect(await filter([header, '536365,85123A,"WHITE', good, good].join('\n'))).toBe(
      [header, '536365,85123A,WHITE', good, good].join('\n'),
    )
  })

  it('does not complete a short line with the description of another', async () => {
    const other = good.replace('WHITE HANGING HEART', '"BOX"')
    expect(await filter([header, '536365,85123A,"WHITE', other].join('\n'))).toBe(
      [header, '536365,85123A,WHITE', other].join('\n'),
    )
  })

  it('changes nothing in what a CSV writer wrote, whatever the chunks', async () => {
    const field = fc.stringMatching(/^[a-z,"\n €]{0,12}$/)
    // A line break only in the third of eight columns: the description.
    const record = fc.tuple(fc.array(field, { minLength: 8, maxLength: 8 }), fc.boolean()).map(([fields, isQuoted]) =>
      fields
        .map((value, column) => (column === 2 ? value.replaceAll(',', '') : value.replaceAll('\n', '')))
        .map((value) => (isQuoted || /[,"\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value))
        .join(','),
    )
    // The filter counts the commas within quotes too: a first line of eight of them would count as a whole record.
    const plain = record.filter((text) => !text.includes('\n') || (text.split('\n')[0] ?? '').split(',').length < 8)
    await fc.assert(
      fc.asyncProperty(
        fc.array(plain, { maxLength: 6 }),
        fc.integer({ min: 1, max: 60 }),
        async (records, chunkBytes) => {
          const text = [header, ...records].join('\r\n')
          expect(await filter(text, chunkBytes)).toBe(text)
        },
      ),
    )
  })

  it('lets every good line through unharmed, wherever quotes were put into the others', async () => {
    const damaged = fc
      .tuple(fc.constantFrom(good, quoted), fc.nat(), fc.constantFrom('"', '""', '"""', ',"', '",'))
      .map(([line, at, junk]) => line.slice(0, at % line.length) + junk + line.slice(at % line.length))
    const lines = fc.array(
      fc.oneof(
        fc.constant({ isGood: true, text: good }),
        damaged.map((text) => ({ isGood: false, text })),
      ),
      {
        maxLength: 12,
      },
    )
    await fc.assert(
      fc.asyncProperty(lines, fc.integer({ min: 1, max: 300 }), async (all, chunkBytes) => {
        const text = await filter([header, ...all.map((line) => line.text)].join('\n'), chunkBytes)
        const records = parse(text, { relax_quotes: true, relax_column_count: true })
        expect(records).toHaveLength(all.length + 1)
        for (const [index, line] of all.entries()) if (line.isGood) expect(records[index + 1]).toEqual(good.split(','))
      }),
    )
  })

  it('leaves the bad line to be listed if it cannot be read without its quotes either', async () => {
    const opened = good.replace('WHITE', '"BOX, WHITE')
    const rows = await collect(readRetailRows(await writeTestFile([header, opened, good].join('\n'))))
    expect(rows.filter(isBad)).toMatchObject([
      { line: 2, invoiceNo: '536365', reason: '9 columns where 8 are expected' },
    ])
    expect(rows).toContainEqual(row({ line: 3 }))
  })
})
