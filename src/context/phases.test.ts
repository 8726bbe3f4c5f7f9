/** When handlers run: before COMMIT in the raising transaction, after it in this process, or for one unit only. */

import type { Envelope } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { describe, expect, test } from 'vitest'
import { eventually, quiet } from '../../test/support/eventually.ts'
import { testFolder } from '../../test/support/folder.ts'
import {
  logOf,
  openOrdering,
  order,
  OrderCancelled,
  OrderPaid,
  OrderPlaced,
  ordering,
  testApp,
  withCode,
} from '../../test/support/shop.ts'

describe('phases', () => {
  test('before-commit handlers run in the order in which they were given, in the raising transaction', async () => {
    const seen: string[] = []
    const { context } = await openOrdering([
      ordering.on(
        OrderPlaced,
        'first',
        async (_, { tx }) => {
          await quiet()
          tx.run("INSERT INTO state VALUES ('by first')")
          seen.push('first')
        },
        { phase: 'before-commit' },
      ),
      ordering.on(
        OrderPlaced,
        'second',
        (_, { tx }) => seen.push(`second saw ${tx.all('SELECT * FROM state').length}`),
        { phase: 'before-commit' },
      ),
    ])
    await context
      .transaction(({ raise, on }) => {
        on(OrderPlaced, () => seen.push('own'))
        raise(OrderPlaced, order('a'))
        raise(OrderPlaced, order('b'))
      })
      .catch(() => undefined)
    expect(seen.slice(0, 3)).toEqual(['first', 'second saw 1', 'own'])
  })

  test('a throw in a before-commit handler aborts the unit', async () => {
    const { path, context } = await openOrdering([
      ordering.on(OrderPlaced, 'abort', () => Promise.reject(new Error('not today')), { phase: 'before-commit' }),
    ])
    await expect(context.transaction(({ raise }) => raise(OrderPlaced, order('a')))).rejects.toThrow('not today')
    expect(logOf(path)).toEqual([])
  })

  test('what a before-commit handler raises is caused by its event and joins the same append', async () => {
    const { path, context } = await openOrdering([
      ordering.on(OrderPlaced, 'pay', ({ data }, { raise }) => raise(OrderPaid, data), { phase: 'before-commit' }),
    ])
    await context.transaction(({ raise }) => {
      raise(OrderPlaced, order('a'))
      raise(OrderCancelled, order('b'))
    })
    const [placed, cancelled, paid] = logOf(path)
    expect([placed?.type, cancelled?.type, paid?.type]).toEqual([
      'ordering.order-placed',
      'ordering.order-cancelled',
      'ordering.order-paid',
    ])
    expect(paid?.causation_id).toBe(placed?.id)
    expect(paid?.correlation_id).toBe(placed?.id)
    expect(paid?.hops).toBe(1)
    expect(cancelled?.correlation_id).toBe(placed?.id)
    expect(cancelled?.causation_id).toBeNull()
  })

  test('a cycle of before-commit handlers ends with an error that shows it, and nothing is stored', async () => {
    const { path, context } = await openOrdering([
      ordering.on(OrderPlaced, 'pay', ({ data }, { raise }) => raise(OrderPaid, data), { phase: 'before-commit' }),
      ordering.on(OrderPaid, 'place', ({ data }, { raise }) => raise(OrderPlaced, data), { phase: 'before-commit' }),
    ])
    await expect(context.transaction(({ raise }) => raise(OrderPlaced, order('a')))).rejects.toEqual(
      withCode('PABAL_RAISE_DEPTH', /16 rounds: .*ordering\.order-placed → ordering\.order-paid/),
    )
    expect(logOf(path)).toEqual([])
  })

  test('a chain as long as the limit is allowed', async () => {
    const path = `${await testFolder()}/ordering.db`
    const chain = ordering.on(
      OrderPlaced,
      'chain',
      ({ data }, { raise }) => {
        if (data.n > 1) raise(OrderPlaced, { ...data, n: data.n - 1 })
      },
      { phase: 'before-commit' },
    )
    const app = testApp([ordering.with({ store: sqlite(path), handlers: [chain] })], { limits: { raiseDepth: 5 } })
    await app.context(ordering).transaction(({ raise }) => raise(OrderPlaced, order('a', 5)))
    expect(logOf(path)).toHaveLength(5)
    await expect(app.context(ordering).transaction(({ raise }) => raise(OrderPlaced, order('a', 6)))).rejects.toEqual(
      withCode('PABAL_RAISE_DEPTH'),
    )
  })

  test('after-commit handlers run once after the commit with the sequence, and never after a rollback', async () => {
    const seen: Envelope[] = []
    const { path, context } = await openOrdering([
      ordering.on(
        OrderPlaced,
        'tell',
        (event) => {
          expect(logOf(path).some(({ id }) => id === event.id)).toBe(true)
          seen.push(event)
        },
        { phase: 'after-commit' },
      ),
    ])
    await context.transaction(({ raise }) => raise(OrderPlaced, order('a')))
    await context
      .transaction(({ raise }) => {
        raise(OrderPlaced, order('b'))
        throw new Error('no')
      })
      .catch(() => undefined)
    await eventually('the after-commit handler to have run', () => seen.length > 0)
    await quiet()
    expect(seen.map(({ key, sequence, source }) => [key, sequence, source])).toEqual([['a', 1, 'ordering']])
  })

  test('an after-commit handler that fails is reported and harms nobody', async () => {
    const seen: string[] = []
    const { app, context } = await openOrdering([
      ordering.on(OrderPlaced, 'broken', () => Promise.reject(new Error('smtp down')), { phase: 'after-commit' }),
      ordering.on(OrderPlaced, 'sound', ({ key }) => seen.push(key), { phase: 'after-commit' }),
    ])
    await context.transaction(({ raise }) => raise(OrderPlaced, order('a')))
    await eventually('both to have run', () => seen.length === 1 && app.warnings.length === 1)
    expect(app.warnings[0]).toMatch(/'broken' of 'ordering'.*smtp down/)
  })
})

describe('listeners of one unit', () => {
  test('handle its events before COMMIT and are gone with it', async () => {
    const seen: string[] = []
    const { context } = await openOrdering()
    await context.transaction(({ raise, on }) => {
      on(OrderPlaced, ({ key }) => seen.push(key))
      raise(OrderPlaced, order('a'))
      raise(OrderPaid, order('x'))
    })
    await context.transaction(({ raise }) => raise(OrderPlaced, order('b')))
    expect(seen).toEqual(['a'])
  })

  test('one that throws aborts the unit', async () => {
    const { path, context } = await openOrdering()
    await expect(
      context.transaction(({ raise, on }) => {
        on(OrderPlaced, async () => {
          await quiet()
          throw new Error('no stock')
        })
        raise(OrderPlaced, order('a'))
      }),
    ).rejects.toThrow('no stock')
    expect(logOf(path)).toEqual([])
  })

  test('a listener of one event of a batch does not hear the next event of the batch', async () => {
    const heard: string[] = []
    const { app, context } = await openOrdering([
      ordering.on(OrderPlaced, 'pay', ({ data, key }, { raise, on }) => {
        on(OrderPaid, (paid) => heard.push(`${key} heard ${paid.key}`))
        raise(OrderPaid, data)
      }),
    ])
    await context.transaction(({ raise }) => {
      for (const id of ['a', 'b', 'c']) raise(OrderPlaced, order(id))
    })
    await app.settle({ withinMs: 10_000 })
    expect(heard).toEqual(['a heard a', 'b heard b', 'c heard c'])
  })
})
