/** Appending in a transaction, against an outbox insert by hand: the price of `raise`. */

import { join } from 'node:path'
import { createApp } from '../../src/index.ts'
import { type Contender, type Cost, ratios, spreadOf, takeTurns } from '../measure.ts'
import type { Result } from '../report.ts'
import { insertOrder, newOrder, ordering } from './orders.ts'
import { Outbox, type Placed, placed } from './outbox.ts'

const note = (ours: readonly Cost[], raw: readonly Cost[]): string => {
  const us = (costs: readonly Cost[], unit: keyof Cost) => spreadOf(costs.map((cost) => cost[unit])).median.toFixed(1)
  return `${us(ours, 'wallUs')} µs (CPU ${us(ours, 'cpuUs')}) against ${us(raw, 'wallUs')} µs (CPU ${us(raw, 'cpuUs')}) per event`
}

export const append = async (folder: string, rounds: number): Promise<Result[]> => {
  const { OrderPlaced, context, at } = ordering('zod')
  await using app = createApp({ contexts: [at(join(folder, 'append-pabal.db'))] })
  const outbox = new Outbox(join(folder, 'append-raw.db'))
  const running = app.context(context)
  let next = 0
  // By hand the payload is text already.
  let ready: Placed[] = []

  const transactions = 100
  const one = await takeTurns(
    {
      pabal: {
        run: async () => {
          for (let i = 0; i < transactions; i++) {
            const order = newOrder(next++)
            await running.transaction(({ tx, raise }) => {
              tx.run(insertOrder, order.orderId, order.total)
              raise(OrderPlaced, order)
            })
          }
          return transactions
        },
      },
      raw: {
        prepare: () => {
          ready = Array.from({ length: transactions }, () => placed(next++))
        },
        run: () => {
          for (const order of ready) outbox.place(order)
          return transactions
        },
      },
    },
    // Short and many: the disk's own pace changes from second to second.
    rounds * 9,
  )

  const batches = 10
  const rowsOf = (rowsPerStatement: number): Contender => ({
    prepare: () => {
      ready = Array.from({ length: batches * 100 }, () => placed(next++))
    },
    run: () => {
      for (let batch = 0; batch < batches; batch++)
        outbox.placeAll(ready.slice(batch * 100, batch * 100 + 100), rowsPerStatement)
      return batches * 100
    },
  })
  const hundred = await takeTurns(
    {
      pabal: {
        run: async () => {
          for (let batch = 0; batch < batches; batch++)
            await running.transaction(({ tx, raise }) => {
              const first = newOrder(next)
              tx.run(insertOrder, first.orderId, first.total)
              for (let i = 0; i < 100; i++) raise(OrderPlaced, newOrder(next++))
            })
          return batches * 100
        },
      },
      raw: rowsOf(100),
      rawTens: rowsOf(10),
      rawOnes: rowsOf(1),
    },
    rounds * 6,
  )
  outbox.db.close()
  return [
    {
      what: 'append: a row and an event, one transaction',
      goal: { atLeast: 0.85 },
      measured: ratios(one.raw, one.pabal, 'wallUs'),
      unit: 'of raw',
      note: note(one.pabal, one.raw),
    },
    {
      what: 'append: 100 events of 100 keys, one transaction',
      goal: { atLeast: 0.7 },
      measured: ratios(hundred.raw, hundred.pabal, 'wallUs'),
      unit: 'of raw, 100 rows a statement',
      note: note(hundred.pabal, hundred.raw),
    },
    {
      what: '  the same against raw inserts of ten rows',
      measured: ratios(hundred.rawTens, hundred.pabal, 'wallUs'),
      unit: 'of raw',
      note: note(hundred.pabal, hundred.rawTens),
    },
    {
      what: '  the same against raw inserts of one row',
      measured: ratios(hundred.rawOnes, hundred.pabal, 'wallUs'),
      unit: 'of raw',
      note: note(hundred.pabal, hundred.rawOnes),
    },
  ]
}
