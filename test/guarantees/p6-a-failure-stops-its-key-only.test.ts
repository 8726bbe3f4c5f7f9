/** P6 A failing event stops its key only, visibly; nothing is skipped without a person or a declared policy. */

import { assert, asyncProperty, constantFrom, nat, uniqueArray } from 'fast-check'
import { expect, test } from 'vitest'
import { testFolder } from '../support/folder.ts'
import {
  enter,
  impatient,
  ledgerOf,
  logOf,
  OrderPlaced,
  order,
  ordering,
  openOrdering,
  parkedIn,
  rowsOf,
  sequencesOf,
} from '../support/shop.ts'
import { realOrders } from './world.ts'

test('a poison event parks its key where it stands; every other key is handled to its end', async () => {
  const orders = await realOrders(300)
  await assert(
    asyncProperty(
      uniqueArray(nat(orders.length - 1), { minLength: 1, maxLength: 6 }),
      constantFrom('database' as const, 'external' as const),
      async (poison, effects) => {
        const bad = new Set(poison.map((index) => `${orders[index]!.orderId}/${index}`))
        const isBad = ({ data }: { data: { orderId: string; n: number } }): boolean =>
          bad.has(`${data.orderId}/${data.n}`)
        const handler =
          effects === 'database'
            ? ordering.on(
                OrderPlaced,
                'list',
                (event, { tx }) => {
                  enter(tx, 'list', event)
                  if (isBad(event)) throw new Error('poison')
                },
                { retry: { attempts: 2, first: 1, max: 2 } },
              )
            : ordering.on(
                OrderPlaced,
                'list',
                (event) => {
                  if (isBad(event)) throw new Error('poison')
                  return Promise.resolve({ id: event.id, key: event.key, sequence: event.sequence })
                },
                {
                  effects: 'external',
                  startAt: 'beginning',
                  retry: { attempts: 2, first: 1, max: 2 },
                  record: (applied, _event, { tx }) => enter(tx, 'list', applied),
                },
              )
        const { path, app, context } = await openOrdering([handler], {
          path: `${await testFolder()}/ordering.db`,
          environment: impatient(),
        })
        await context.transaction(({ raise }) => {
          for (const [index, { orderId }] of orders.entries()) raise(OrderPlaced, order(orderId, index))
        })
        await app.settle({ withinMs: 15_000 })
        const log = logOf(path)
        const applied = sequencesOf(ledgerOf(path, 'list'))
        const firstBad = new Map<string, number>()
        for (const { key, sequence, data } of log) {
          const { n } = JSON.parse(data) as { n: number }
          if (bad.has(`${key}/${n}`) && !firstBad.has(key)) firstBad.set(key, sequence)
        }
        for (const [key, sequences] of Object.entries(sequencesOf(log)))
          expect(applied[key] ?? []).toEqual(sequences.filter((sequence) => sequence < (firstBad.get(key) ?? Infinity)))
        // Visibly: each with its place, its error, and how many wait behind it.
        expect(
          parkedIn(path).map(({ key, status, sequence, attempts, waiting }) => ({
            key,
            status,
            sequence,
            attempts,
            waiting,
          })),
        ).toEqual(
          [...firstBad.keys()].toSorted().map((key) => ({
            key,
            status: 'dead',
            sequence: firstBad.get(key),
            attempts: 2,
            waiting: sequencesOf(log)[key]!.length - firstBad.get(key)!,
          })),
        )
        expect(rowsOf(path, 'SELECT * FROM pabal_ordering_skipped')).toEqual([])
        await app.stop()
      },
    ),
    { numRuns: 20 },
  )
})
