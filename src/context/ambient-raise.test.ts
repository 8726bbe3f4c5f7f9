/** `raise` for domain objects that are given no unit: it finds the unit of work around it, or fails. */

import { raise as raiseAnywhere } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { describe, expect, test } from 'vitest'
import { gate, quiet } from '../../test/support/eventually.ts'
import { testFolder } from '../../test/support/folder.ts'
import {
  logOf,
  openOrdering,
  order,
  OrderCancelled,
  OrderPaid,
  OrderPlaced,
  ordering,
  shipping,
  ShipmentOpened,
  testApp,
  withCode,
} from '../../test/support/shop.ts'

describe('the ambient raise', () => {
  const place = (id: string) => raiseAnywhere(OrderPlaced, order(id))

  test('finds the unit around it, over awaits and nested transactions', async () => {
    const { path, context } = await openOrdering()
    await context.transaction(async () => {
      place('a')
      await quiet()
      place('b')
      await context.transaction(async () => {
        await quiet()
        place('c')
      })
      place('d')
    })
    expect(logOf(path).map(({ key }) => key)).toEqual(['a', 'b', 'c', 'd'])
  })

  test('fails outside of a unit and after its end', async () => {
    const { path, context } = await openOrdering()
    expect(() => place('a')).toThrow(withCode('PABAL_NO_UNIT_OF_WORK', /ordering/))
    const later = gate()
    let late: Promise<unknown> = Promise.resolve()
    await context.transaction(() => {
      late = later.opened.then(() => place('b'))
    })
    later.open()
    await expect(late).rejects.toEqual(withCode('PABAL_NO_UNIT_OF_WORK'))
    expect(logOf(path)).toEqual([])
  })

  test('finds the unit of the event’s own context among several', async () => {
    const folder = await testFolder()
    const app = testApp([
      ordering.with({ store: sqlite(`${folder}/ordering.db`) }),
      shipping.with({ store: sqlite(`${folder}/shipping.db`) }),
    ])
    await app.context(ordering).transaction(async () => {
      await app.context(shipping).transaction(() => {
        place('a')
        raiseAnywhere(ShipmentOpened, order('s'))
      })
      expect(() => raiseAnywhere(ShipmentOpened, order('late'))).toThrow(withCode('PABAL_NO_UNIT_OF_WORK', /shipping/))
    })
    expect(logOf(`${folder}/ordering.db`).map(({ key }) => key)).toEqual(['a'])
    expect(logOf(`${folder}/shipping.db`, 'shipping').map(({ key }) => key)).toEqual(['s'])
  })

  test('does not reach into a unit of another request', async () => {
    const { path, context } = await openOrdering()
    const holding = gate()
    const open = context.transaction(() => holding.opened)
    expect(() => place('stranger')).toThrow(withCode('PABAL_NO_UNIT_OF_WORK'))
    holding.open()
    await open
    expect(logOf(path)).toEqual([])
  })

  test('works in durable, before-commit and command handlers', async () => {
    const { path, app, context } = await openOrdering([
      ordering.on(OrderPlaced, 'before', ({ data }) => raiseAnywhere(OrderPaid, data), { phase: 'before-commit' }),
      ordering.on(OrderPaid, 'durable', async ({ data }) => {
        await quiet()
        raiseAnywhere(OrderCancelled, data)
      }),
    ])
    await context.transaction(() => place('a'))
    await app.settle({ withinMs: 10_000 })
    expect(logOf(path).map(({ type }) => type)).toEqual([
      'ordering.order-placed',
      'ordering.order-paid',
      'ordering.order-cancelled',
    ])
  })

  test('an external handler is in no unit', async () => {
    const { path, app, context } = await openOrdering([
      ordering.on(OrderPlaced, 'call', ({ data }) => raiseAnywhere(OrderPaid, data), {
        effects: 'external',
        retry: 'none',
      }),
    ])
    await app.start()
    await context.transaction(async () => {
      place('a')
      await quiet()
    })
    await app.settle({ withinMs: 10_000 })
    expect(logOf(path)).toHaveLength(1)
  })
})
