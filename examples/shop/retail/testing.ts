/** What the tests of this folder share: the real file, and small files written for one test. */

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import type { BadRow, RetailRow } from './row.ts'

export const halfYearFile: string = join(import.meta.dirname, '../data/online-retail-2010-12_2011-05.csv.gz')

export const header = 'InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country'

/** The path of a file that is gone after the test. */
export async function writeTestFile(content: string | Uint8Array, name = 'orders.csv'): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'shop-retail-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const path = join(folder, name)
  await writeFile(path, content)
  return path
}

export async function collect<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const all: Item[] = []
  for await (const item of items) all.push(item)
  return all
}

/** A good row of the first invoice of the file, changed as given. */
export const row = (changes: Partial<RetailRow> = {}): RetailRow => ({
  kind: 'row',
  line: 2,
  invoiceNo: '536365',
  stockCode: '85123A',
  quantity: 6,
  unitPence: 255,
  day: '2010-12-01',
  at: '2010-12-01T08:26:00',
  customerId: '17850',
  country: 'United Kingdom',
  ...changes,
})

export const isBad = (item: { readonly kind: string }): item is BadRow => item.kind === 'bad-row'
