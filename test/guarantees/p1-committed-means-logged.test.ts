/** P1 An event is in the log if and only if its transaction committed. */

import { assert, asyncProperty, constantFrom, array as many, record } from 'fast-check'
import { sqlite } from 'pabal/sqlite'
import { createApp } from 'pabal'
import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import { testFolder } from '../support/folder.ts'
import { logOf, OrderPlaced, order, ordering, PlaceOrder, rowsOf } from '../support/shop.ts'
import { realOrders } from './world.ts'

class Undone extends Error {}

const place = ordering.handle(PlaceOrder, async ({ data }, { tx, raise, refuse }) => {
  tx.run('INSERT INTO state (id) VALUES (?)', data.orderId)
  raise(OrderPlaced, data)
  await Promise.resolve()
  if (data.n < 0) throw refuse('over-limit', { limit: 0 })
})

/** What a unit does: how its events come about, and how it ends. */
const unit = record({
  how: constantFrom('transaction', 'nested', 'join', 'command', 'inner command', 'handler'),
  ends: constantFrom('commits', 'throws', 'is refused'),
  keys: many(constantFrom('a', 'b', 'c'), { minLength: 1, maxLength: 4 }),
})

test('whatever units do and however they end, the log holds what the state holds', async () => {
  const orders = await realOrders(200)
  await assert(
    asyncProperty(many(unit, { maxLength: 12 }), async (units) => {
      const path = `${await testFolder()}/ordering.db`
      let next = 0
      const app = createApp({
        onWarning: () => {},
        contexts: [
          ordering.with({
            store: sqlite(path),
            prepare: (tx) => tx.run('CREATE TABLE IF NOT EXISTS state (id TEXT NOT NULL)'),
            handlers: [
              place,
              ordering.on(
                OrderPlaced,
                'echo',
                ({ data }, { tx, raise }) => {
                  if (data.n !== 7) return
                  tx.run('INSERT INTO state (id) VALUES (?)', `echo-${data.orderId}`)
                  raise(OrderPlaced, order(`echo-${data.orderId}`))
                },
                { phase: 'before-commit' },
              ),
            ],
          }),
        ],
      })
      const context = app.context(ordering)
      // Opened before anybody else holds the write lock.
      await context.read(() => undefined)
      for (const { how, ends, keys } of units) {
        const ids = keys.map((key) => `${orders[next++ % orders.length]!.orderId}-${key}`)
        const n = how === 'handler' ? 7 : 0
        const work = ({ tx, raise }: Parameters<Parameters<typeof context.transaction>[0]>[0]): void => {
          for (const id of ids) {
            tx.run('INSERT INTO state (id) VALUES (?)', id)
            raise(OrderPlaced, order(id, n))
          }
        }
        const end = (): void => {
          if (ends === 'throws') throw new Undone()
        }
        const refused = ends === 'is refused' ? -1 : 0
        const run = async (): Promise<unknown> => {
          switch (how) {
            case 'join': {
              const own = new DatabaseSync(path, { timeout: 1_000 })
              own.exec('BEGIN IMMEDIATE')
              try {
                await context.join(own, work)
                own.exec(ends === 'commits' ? 'COMMIT' : 'ROLLBACK')
              } finally {
                own.close()
              }
              return undefined
            }
            case 'command':
              return app.send(PlaceOrder, order(ids[0]!, refused))
            case 'inner command':
              return context.transaction(async (outer) => {
                work(outer)
                await app.send(PlaceOrder, order(`inner-${ids[0]!}`, refused))
                end()
              })
            case 'nested':
              return context.transaction(async (outer) => {
                work(outer)
                await context.transaction((inner) => {
                  work(inner)
                  end()
                })
              })
            default:
              return context.transaction((given) => {
                work(given)
                end()
              })
          }
        }
        await run().catch((error: unknown) => {
          if (!(error instanceof Undone)) throw error
        })
      }
      await app.stop()
      const state = rowsOf<{ id: string }>(path, 'SELECT id FROM state').map(({ id }) => id)
      expect(
        logOf(path)
          .map(({ key }) => key)
          .toSorted(),
      ).toEqual(state.toSorted())
    }),
    { numRuns: 60 },
  )
})
