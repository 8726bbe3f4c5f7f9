/** Transactions inside transactions, and beside them. */

import { sqlite } from 'pabal/sqlite'
import { describe, expect, test } from 'vitest'
import { gate, quiet } from '../../test/support/eventually.ts'
import { testFolder } from '../../test/support/folder.ts'
import {
  logOf,
  openOrdering,
  order,
  OrderPaid,
  OrderPlaced,
  ordering,
  shipping,
  ShipmentOpened,
  testApp,
  withCode,
} from '../../test/support/shop.ts'

describe('nested transactions', () => {
  test('join the outer one and commit with it', async () => {
    const { path, context } = await openOrdering()
    await expect(
      context.transaction(async ({ raise }) => {
        raise(OrderPlaced, order('a'))
        await context.transaction((inner) => inner.raise(OrderPaid, order('a')))
        throw new Error('outer fails')
      }),
    ).rejects.toThrow('outer fails')
    expect(logOf(path)).toEqual([])
  })

  test('an inner failure that was caught dooms the outer one', async () => {
    const { path, context } = await openOrdering()
    const outer = context.transaction(async ({ tx, raise }) => {
      raise(OrderPlaced, order('a'))
      await context
        .transaction(() => {
          tx.run("INSERT INTO state VALUES ('half done')")
          throw new Error('inner')
        })
        .catch(() => undefined)
    })
    await expect(outer).rejects.toEqual(withCode('PABAL_ROLLED_BACK'))
    await expect(outer).rejects.toMatchObject({ cause: new Error('inner') })
    expect(logOf(path)).toEqual([])
  })

  test('of two contexts on one file commit together, each event in its own log', async () => {
    const path = `${await testFolder()}/shop.db`
    const store = sqlite(path)
    const app = testApp([ordering.with({ store }), shipping.with({ store: sqlite(path) })])
    await app.context(ordering).transaction(async ({ raise }) => {
      raise(OrderPlaced, order('a'))
      await app.context(shipping).transaction((unit) => unit.raise(ShipmentOpened, order('a')))
    })
    await app
      .context(ordering)
      .transaction(async () => {
        await app.context(shipping).transaction((unit) => unit.raise(ShipmentOpened, order('b')))
        throw new Error('no')
      })
      .catch(() => undefined)
    expect(logOf(path).map(({ key }) => key)).toEqual(['a'])
    expect(logOf(path, 'shipping').map(({ key }) => key)).toEqual(['a'])
  })

  test('an inner idempotency key is kept, too', async () => {
    const { path, context } = await openOrdering()
    const once = () =>
      context.transaction(() =>
        context.transaction(
          ({ raise }) => {
            raise(OrderPlaced, order('a'))
            return 'done'
          },
          { idempotencyKey: 'once' },
        ),
      )
    expect(await once()).toBe('done')
    expect(await once()).toBe('done')
    expect(logOf(path)).toHaveLength(1)
  })

  test('an unawaited inner transaction joins or begins its own, and is never half in', async () => {
    const { path, context } = await openOrdering()
    const later = gate()
    let inner: Promise<unknown> = Promise.resolve()
    await context.transaction(() => {
      inner = later.opened.then(() => context.transaction(({ raise }) => raise(OrderPlaced, order('own'))))
    })
    later.open()
    await inner
    expect(logOf(path).map(({ key }) => key)).toEqual(['own'])
  })
})

describe('one writer at a time', () => {
  test('a transaction whose function awaits lets no other code of the process slip in', async () => {
    const { context } = await openOrdering()
    const holding = gate()
    const slow = context.transaction(async ({ tx }) => {
      tx.run("INSERT INTO state VALUES ('slow')")
      await holding.opened
      return tx.all('SELECT * FROM state')
    })
    const quick = context.transaction(({ tx }) => tx.run("INSERT INTO state VALUES ('quick')"))
    await quiet()
    expect(await context.read(({ tx }) => tx.all('SELECT * FROM state'))).toEqual([])
    holding.open()
    expect(await slow).toEqual([{ id: 'slow' }])
    await quick
    expect(await context.read(({ tx }) => tx.all('SELECT * FROM state'))).toHaveLength(2)
  })
})

test('a read inside a unit reads as the unit does, also in memory', async () => {
  const app = testApp([
    ordering.with({ store: sqlite(':memory:'), prepare: (tx) => tx.run('CREATE TABLE t (id TEXT)') }),
  ])
  const context = app.context(ordering)
  await context.transaction(async ({ tx }) => {
    tx.run("INSERT INTO t VALUES ('a')")
    expect(await context.read((view) => view.tx.all('SELECT id FROM t'))).toHaveLength(1)
  })
})
