import { readFile } from 'node:fs/promises'
import { gunzipSync } from 'node:zlib'
import { beforeAll, describe, expect, it } from 'vitest'
import { collectFigures, type Figures } from './figures.ts'
import { ordering } from './ordering/context.ts'
import { listRefused, listRefusedRows, listUnmatched } from './ordering/queries.ts'
import { halfYearFile, header, writeTestFile } from './retail/testing.ts'
import { firstWeek, lastDayOfFirstWeek as lastDay, Ledger } from './testing/ledger.ts'
import { importFile, openShop } from './testing/test-shop.ts'

const figuresOfLedger = ({
  orders,
  units,
  revenuePence,
  declined,
  returns,
  returnsUnmatched,
  refundedPence,
  refused,
}: Figures) => ({
  orders,
  units,
  revenuePence,
  declined,
  returns,
  returnsUnmatched,
  refundedPence,
  refused,
})

const firstOf = (among: readonly string[], day: string) => among.findIndex((row) => row.includes(`,${day} `))

/** Of the first three trading days. */
let rows: readonly string[]
beforeAll(async () => {
  const [, ...all] = gunzipSync(await readFile(halfYearFile))
    .toString()
    .split('\n')
  rows = all.slice(0, firstOf(all, '2010-12-05'))
})

const fileOf = (part: readonly string[]) => writeTestFile([header, ...part].join('\n'))

describe('the import', { timeout: 120_000 }, () => {
  it('comes to the truth for the first trading week, and to the same again for the same file', async () => {
    const shop = await openShop()
    await importFile(shop, halfYearFile, { lastDay })
    const figures = await collectFigures(shop)
    expect(figuresOfLedger(figures)).toEqual(firstWeek)
    expect(figures).toMatchObject({ shipped: 565, notifications: 635, deadLetters: 0 })

    await importFile(shop, halfYearFile, { lastDay })
    expect(await collectFigures(shop)).toEqual(figures)
  })

  it('adds of an overlapping file only what is new', async () => {
    const shop = await openShop()
    const ledger = new Ledger()
    await ledger.keep(await fileOf(rows))
    await importFile(shop, await fileOf(rows.slice(0, firstOf(rows, '2010-12-03'))))
    await importFile(shop, await fileOf(rows.slice(firstOf(rows, '2010-12-02'))))
    expect(figuresOfLedger(await collectFigures(shop))).toEqual(ledger.figures)
  })

  it('takes an invoice as it came first, where a file ends in the middle of it', async () => {
    const parts = [await fileOf(rows.slice(0, 5_003)), await fileOf(rows.slice(3_001)), await fileOf(rows)]
    const shop = await openShop()
    const ledger = new Ledger()
    for (const part of parts) {
      await importFile(shop, part)
      await ledger.keep(part)
    }
    expect(figuresOfLedger(await collectFigures(shop))).toEqual(ledger.figures)
  })

  it('goes on over lines that it cannot read, keeps them, and counts each once', async () => {
    const dirty = rows.flatMap((row, n) =>
      n % 200 === 0 ? [row, `${n},torn off`, row.replace(/,\d{4}-/, ',some,$&')] : [row],
    )
    const path = await fileOf(dirty)
    const ledger = new Ledger()
    await ledger.keep(path)
    const shop = await openShop()
    for (let times = 0; times < 2; times++) {
      await importFile(shop, path)
      const { refused, ...rest } = figuresOfLedger(await collectFigures(shop))
      expect({ ...rest, refused: undefined }).toEqual({ ...ledger.figures, refused: undefined })
      expect(refused).toEqual({ ...ledger.figures.refused, 'bad-row': ledger.badRows })
    }
    const [first] = await shop.app.context(ordering).read(({ tx }) => listRefusedRows(tx, { limit: 1 }))
    expect(first).toEqual({ line: 3, invoice: '0', reason: '2 columns where 8 are expected', text: '0,torn off' })
  })

  it('keeps an invoice that is too much for an order, and goes on', async () => {
    const row = (invoice: string, price: string) =>
      `${invoice},85123A,HEART,10000000,2010-12-01 08:26:00,${price},17850.0,United Kingdom`
    const path = await fileOf([...Array.from({ length: 10 }, () => row('536365', '1000000.0')), row('536366', '0.01')])
    const shop = await openShop()
    await importFile(shop, path)
    expect(await collectFigures(shop)).toMatchObject({ orders: 1, refused: { 'bad-row': 1 } })
    const [kept] = await shop.app.context(ordering).read(({ tx }) => listRefusedRows(tx, { limit: 1 }))
    expect(kept).toMatchObject({ line: 2, invoice: '536365' })
  })

  it('lists what it refused and what no order covers', async () => {
    const shop = await openShop()
    const day = '2010-12-01 08:26:00'
    await importFile(
      shop,
      await fileOf([
        `536365,85123A,HEART,6,${day},2.55,17850.0,United Kingdom`,
        `536414,22139,,56,${day},0.0,,United Kingdom`,
        `C536379,D,Discount,-1,${day},27.5,,United Kingdom`,
        `536400,22139,,1,${day},0.0,17850.0,United Kingdom`,
        `A563185,B,Adjust bad debt,1,${day},11062.06,,United Kingdom`,
        `C536383,85123A,HEART,-8,${day},2.55,17850.0,United Kingdom`,
      ]),
    )
    const { refused, returnsUnmatched, refundedPence } = await collectFigures(shop)
    expect(refused).toEqual({ 'no-customer': 1, 'return-without-customer': 1, 'no-valid-line': 1, adjustment: 1 })
    expect({ returnsUnmatched, refundedPence }).toEqual({ returnsUnmatched: 1, refundedPence: 6 * 255 })
    const { refusals, unmatched } = await shop.app.context(ordering).read(async ({ tx }) => ({
      refusals: await listRefused(tx, { limit: 9 }),
      unmatched: await listUnmatched(tx, { limit: 9 }),
    }))
    expect(refusals.map(({ invoice, reason }) => `${invoice} ${reason}`)).toEqual([
      'C536379 return-without-customer',
      'A563185 adjustment',
      '536414 no-customer',
      '536400 no-valid-line',
    ])
    expect(JSON.parse(refusals[2]!.lines)).toEqual([{ stockCode: '22139', quantity: 56, unitPence: 0 }])
    expect(unmatched).toMatchObject([{ invoice: 'C536383', stockCode: '85123A', quantity: 2, refundedPence: 1_530 }])
  })
})
