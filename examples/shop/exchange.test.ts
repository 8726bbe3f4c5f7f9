import { isDeepStrictEqual } from 'node:util'
import { over } from 'pabal'
import { NastyBroker } from 'pabal/testing'
import { describe, expect, it, onTestFailed } from 'vitest'
import { seeded } from '../../test/guarantees/postgres-workers/seeded.ts'
import { eventually } from '../../test/support/eventually.ts'
import { createShop } from './app.ts'
import { collectFigures } from './figures.ts'
import { openOrderFile } from './import-orders.ts'
import { halfYearFile } from './retail/testing.ts'
import { firstWeekOfShop, lastDayOfFirstWeek } from './testing/ledger.ts'
import { newFolder } from './testing/test-shop.ts'

/** What runs in each of two processes. */
const front = ['ordering', 'payment', 'warehouse']
const back = ['delivery', 'notification', 'reporting']

describe('the shop in two parts, with a transport between them that does all that brokers do', () => {
  it('comes to the figures of the shop in one piece', { timeout: 120_000 }, async () => {
    const seed = Number(process.env['PABAL_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
    onTestFailed(() => console.error(`the faults were chosen with PABAL_SEED=${seed}`))
    const broker = new NastyBroker({ random: seeded(seed) })
    const data = await newFolder()
    const open = (contexts?: readonly string[]) =>
      createShop({
        data,
        onWarning: () => {},
        ...(contexts && { contexts, exchange: (from) => over(broker.transport, { from }) }),
      })
    await using taking = open(front)
    await using giving = open(back)
    await Promise.all([taking.app.start(), giving.app.start()])
    const file = await openOrderFile(halfYearFile, { lastDay: lastDayOfFirstWeek })
    await file.receive(taking.app)

    // Whoever looks has all contexts, and starts none of them.
    await using whole = open()
    const isWeek = async () => isDeepStrictEqual(await collectFigures(whole), firstWeekOfShop)
    await eventually('the figures are those of the week', isWeek, 90_000).catch(() => {})
    expect(await collectFigures(whole)).toEqual(firstWeekOfShop)
  })
})
