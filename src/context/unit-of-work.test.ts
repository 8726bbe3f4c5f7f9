/** One unit of work: what is raised in it is in the log if and only if it commits, and nothing outlives it. */

import { defineEvent } from 'pabal'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { quiet } from '../../test/support/eventually.ts'
import {
  logOf,
  openOrdering,
  order,
  OrderCancelled,
  OrderPaid,
  OrderPlaced,
  ordering,
  rowsOf,
  withCode,
} from '../../test/support/shop.ts'

describe('raising', () => {
  test('is synchronous and stores nothing before the end of the unit', async () => {
    const { path, context } = await openOrdering()
    await context.transaction(({ tx, raise }) => {
      expect(raise(OrderPlaced, order('a'))).toBeUndefined()
      raise(OrderPaid, order('a'))
      expect(tx.get<{ n: number }>('SELECT count(*) AS n FROM pabal_ordering_event')?.n).toBe(0)
    })
    expect(logOf(path).map(({ type, key, sequence, position }) => [type, key, sequence, position])).toEqual([
      ['ordering.order-placed', 'a', 1, 1],
      ['ordering.order-paid', 'a', 2, 2],
    ])
  })

  test('a throw rolls back state and events together', async () => {
    const { path, context } = await openOrdering()
    const failing = context.transaction(({ tx, raise }) => {
      tx.run("INSERT INTO state VALUES ('a')")
      raise(OrderPlaced, order('a'))
      throw new Error('changed my mind')
    })
    await expect(failing).rejects.toThrow('changed my mind')
    expect(logOf(path)).toEqual([])
    expect(await context.read(({ tx }) => tx.all('SELECT * FROM state'))).toEqual([])
  })

  test('a transaction that SQLite has rolled back by itself stores nothing more, though the error was swallowed', async () => {
    const { path, context } = await openOrdering([], {
      prepare: (tx) => {
        tx.run('CREATE TABLE IF NOT EXISTS one (id TEXT PRIMARY KEY)')
        return tx.run("INSERT OR IGNORE INTO one VALUES ('x')")
      },
    })
    const failing = context.transaction(({ tx, raise }) => {
      raise(OrderPlaced, order('a'))
      try {
        tx.run("INSERT OR ROLLBACK INTO one VALUES ('x')")
      } catch {
        // What now?
      }
      tx.run("INSERT INTO state VALUES ('alone')")
    })
    await expect(failing).rejects.toEqual(withCode('PABAL_ROLLED_BACK'))
    expect(logOf(path)).toEqual([])
    expect(rowsOf(path, 'SELECT * FROM state')).toEqual([])
  })

  test('a payload that does not fit is refused at once, and the unit may go on without it', async () => {
    const { path, context } = await openOrdering()
    await context.transaction(({ raise }) => {
      // @ts-expect-error n must be a number
      expect(() => raise(OrderPlaced, { orderId: 'a', n: 'x' })).toThrow(withCode('PABAL_PAYLOAD_INVALID'))
      raise(OrderPlaced, order('b'))
    })
    expect(logOf(path).map(({ key }) => key)).toEqual(['b'])
  })

  test("an event that is not among the context's events is refused", async () => {
    const { context } = await openOrdering()
    const Stray = defineEvent('ordering.order-strayed', { schema: z.object({}), key: () => 'x' })
    await expect(context.transaction(({ raise }) => raise(Stray, {}))).rejects.toEqual(
      withCode('PABAL_UNKNOWN_EVENT_TYPE', /order-strayed/),
    )
  })

  test('after the unit it fails loudly, also by a unit that was kept', async () => {
    const { path, context } = await openOrdering()
    const kept = await context.transaction((unit) => unit)
    expect(() => kept.raise(OrderPlaced, order('a'))).toThrow(withCode('PABAL_NO_UNIT_OF_WORK'))
    expect(() => kept.post({ type: 'ordering.x' } as never, {} as never)).toThrow(withCode('PABAL_NO_UNIT_OF_WORK'))
    expect(() => kept.on(OrderPlaced, () => 0)).toThrow(withCode('PABAL_NO_UNIT_OF_WORK'))
    expect(() => kept.tx.run("INSERT INTO state VALUES ('a')")).toThrow(withCode('PABAL_UNIT_CLOSED'))
    expect(logOf(path)).toEqual([])
  })

  test('a tx that was taken inside is dead after the unit, committed or not', async () => {
    const { context } = await openOrdering()
    const committed = await context.transaction(({ tx }) => tx)
    expect(() => committed.get('SELECT 1')).toThrow(withCode('PABAL_UNIT_CLOSED'))
    let kept: typeof committed | undefined
    await expect(
      context.transaction(({ tx }) => {
        kept = tx
        throw new Error('no')
      }),
    ).rejects.toThrow('no')
    expect(() => kept?.run('DELETE FROM state')).toThrow(withCode('PABAL_UNIT_CLOSED'))
  })

  test('work that was not awaited raises into the log or fails, but is never lost in between', async () => {
    const { path, context } = await openOrdering()
    const outcomes: string[] = []
    for (let turns = 0; turns < 40; turns++)
      await context.transaction(({ raise }) => {
        raise(OrderPlaced, order(`awaited-${turns}`))
        void (async () => {
          for (let turn = 0; turn < turns; turn++) await Promise.resolve()
          try {
            raise(OrderPlaced, order(`late-${turns}`))
            outcomes.push(`late-${turns}`)
          } catch {
            // Told.
          }
        })()
      })
    await quiet()
    const logged = logOf(path)
      .map(({ key }) => key)
      .filter((key) => key.startsWith('late'))
    expect(logged).toEqual(outcomes)
    expect(outcomes.length).toBeGreaterThan(0)
    expect(outcomes.length).toBeLessThan(40)
  })

  test('an unawaited raise after the append fails the unit or itself', async () => {
    // The last moment at which a raise is accepted is the append: between it and COMMIT nothing may slip in.
    const { path, context } = await openOrdering()
    const accepted: string[] = []
    for (let turns = 0; turns < 40; turns++) {
      const key = `k${turns}`
      await context
        .transaction(async ({ raise }) => {
          raise(OrderPlaced, order('other'))
          void (async () => {
            for (let turn = 0; turn < turns; turn++) await Promise.resolve()
            raise(OrderPlaced, order(key))
            accepted.push(key)
          })().catch(() => undefined)
          await Promise.resolve()
        })
        .catch(() => accepted.splice(accepted.indexOf(key), 1))
    }
    await quiet()
    const keys = new Set(logOf(path).map((row) => row.key))
    expect(accepted.filter((key) => !keys.has(key))).toEqual([])
  })
})

describe('one append before COMMIT', () => {
  test('the caller’s trace is stored with every event', async () => {
    const { path, context } = await openOrdering()
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    await context.transaction(
      ({ raise }) => {
        raise(OrderPlaced, order('a'))
        raise(OrderPlaced, order('b'))
      },
      { traceparent },
    )
    expect(rowsOf(path, 'SELECT traceparent FROM pabal_ordering_event')).toEqual([{ traceparent }, { traceparent }])
  })

  test('sequences of interleaved keys and units go on without a gap', async () => {
    const { path, context } = await openOrdering()
    await context.transaction(({ raise }) => {
      for (const id of ['a', 'b', 'a', 'a', 'b']) raise(OrderPlaced, order(id))
    })
    await context.transaction(({ raise }) => raise(OrderPaid, order('b')))
    expect(logOf(path).map(({ key, sequence }) => `${key}${sequence}`)).toEqual(['a1', 'b1', 'a2', 'a3', 'b2', 'b3'])
  })

  test('a before-commit handler sees the events that were raised before it, in order, once', async () => {
    const seen: string[] = []
    const { context } = await openOrdering([
      ordering.on([OrderPlaced, OrderPaid], 'watch', ({ type, key }) => seen.push(`${type} ${key}`), {
        phase: 'before-commit',
      }),
    ])
    await context.transaction(({ raise }) => {
      raise(OrderPlaced, order('a'))
      raise(OrderPaid, order('b'))
      raise(OrderPlaced, order('c'))
      expect(seen).toEqual([])
    })
    expect(seen).toEqual(['ordering.order-placed a', 'ordering.order-paid b', 'ordering.order-placed c'])
  })
})

describe('expected sequence', () => {
  test('a key that has moved on refuses the unit, and says where it is', async () => {
    const { path, context } = await openOrdering()
    await context.transaction(({ raise }) => raise(OrderPlaced, order('a'), { expectedSequence: 0 }))
    await context.transaction(({ raise }) => raise(OrderPaid, order('a'), { expectedSequence: 1 }))
    const late = context.transaction(({ tx, raise }) => {
      tx.run("INSERT INTO state VALUES ('a')")
      raise(OrderCancelled, order('a'), { expectedSequence: 1 })
    })
    await expect(late).rejects.toEqual(withCode('PABAL_SEQUENCE_CONFLICT', /is at 2, 1 was expected/))
    await expect(late).rejects.toMatchObject({ retryable: true, context: { key: 'a', expected: 1, actual: 2 } })
    expect(logOf(path)).toHaveLength(2)
    expect(await context.read(({ tx }) => tx.all('SELECT * FROM state'))).toEqual([])
  })

  test('of two deciders on the same state one wins', async () => {
    const { path, context } = await openOrdering()
    await context.transaction(({ raise }) => raise(OrderPlaced, order('a')))
    const decide = (event: typeof OrderPaid | typeof OrderCancelled) =>
      context.transaction(({ raise }) => raise(event, order('a'), { expectedSequence: 1 }))
    const outcomes = await Promise.allSettled([decide(OrderPaid), decide(OrderCancelled)])
    expect(outcomes.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected'])
    expect(logOf(path)).toHaveLength(2)
  })
})
