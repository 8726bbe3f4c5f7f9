/**
 * P1 and P9 while old and new processes of an app run side by side: what only the new ones handle, publish or receive is not
 * passed over by the old ones.
 */

import { type Bound, defineContext, publish } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { kind, NastyBroker } from 'pabal/testing'
import { describe, expect, test } from 'vitest'
import { over } from '../../src/exchange/exchange.ts'
import { eventually } from '../support/eventually.ts'
import { testFolder } from '../support/folder.ts'
import {
  enter,
  impatient,
  ledgerOf,
  OrderPaid,
  OrderPaidV1,
  OrderPlaced,
  OrderPlacedV1,
  order,
  ordering,
  prepareLedger,
  shipping,
  testApp,
} from '../support/shop.ts'

const sequences = (path: string) => ledgerOf(path).map(({ sequence }) => sequence)

describe('a handler of more events than before', () => {
  const list = (events: readonly (typeof OrderPlaced | typeof OrderPaid)[]) =>
    ordering.on(events, 'list', (event, { tx }) => enter(tx, 'list', event))
  const open = (path: string, events: Parameters<typeof list>[0]) =>
    testApp([ordering.with({ store: sqlite(path), prepare: prepareLedger, handlers: [list(events)] })], {
      environment: impatient(),
    })
  const raiseBoth = (app: ReturnType<typeof open>) =>
    app.context(ordering).transaction(({ raise }) => {
      raise(OrderPlaced, order('a'))
      raise(OrderPaid, order('a'))
    })

  test('is left to the processes that know them all, also by an old one that comes again', async () => {
    const path = `${await testFolder()}/ordering.db`
    const older = () => open(path, [OrderPlaced])
    const [first, newer, again] = [older(), open(path, [OrderPlaced, OrderPaid]), older()]
    await first.start()
    await first.context(ordering).transaction(({ raise }) => raise(OrderPlaced, order('a')))
    await first.settle()
    await newer.start()
    for (const app of [first, newer]) await raiseBoth(app)
    await newer.settle()
    expect(sequences(path)).toEqual([1, 2, 3, 4, 5])
    await first.stop()
    await again.start()
    await raiseBoth(again)
    await newer.settle()
    expect(sequences(path)).toEqual([1, 2, 3, 4, 5, 6, 7])
  })

  test('is left alone, and it is said why, while the new ones are there and have no time', async () => {
    const path = `${await testFolder()}/ordering.db`
    const [older, newer] = [open(path, [OrderPlaced]), open(path, [OrderPlaced, OrderPaid])]
    await older.start()
    const { database, contextStore } = (await newer['~pabal'].open()).runtimes.get('ordering')!
    const of = { consumer: 'list', source: 'ordering' }
    await database.transaction((session) => contextStore.editions.join(session, of, 'more'))
    await raiseBoth(older)
    await eventually('it says so', () => older.warnings.length > 0)
    expect(older.warnings).toEqual([expect.stringContaining("a newer version of 'list'")])
    expect(sequences(path)).toEqual([])
    await database.transaction((session) => contextStore.editions.leave(session, of))
    await older.settle()
    expect(sequences(path)).toEqual([1])
  })

  test('goes on as it was where the new ones have gone: the deployment was undone', async () => {
    const path = `${await testFolder()}/ordering.db`
    const [older, newer] = [open(path, [OrderPlaced]), open(path, [OrderPlaced, OrderPaid])]
    await older.start()
    await newer.start()
    await raiseBoth(older)
    await newer.settle()
    await newer.stop()
    await raiseBoth(older)
    await older.settle()
    expect(sequences(path)).toEqual([1, 2, 3])
  })

  test('or of fewer is the new one’s at once', async () => {
    const path = `${await testFolder()}/ordering.db`
    const [older, newer] = [open(path, [OrderPlaced, OrderPaid]), open(path, [OrderPlaced])]
    await older.start()
    await newer.start()
    await raiseBoth(older)
    await newer.settle()
    expect(sequences(path)).toEqual([1])
  })
})

describe('between contexts', () => {
  const publishing = (publications: ReturnType<typeof publish>[]) =>
    defineContext('ordering', { store: sqlite, events: [OrderPlaced, OrderPaid], publishes: publications })
  const onlyPlaced = publishing([publish(OrderPlaced, OrderPlacedV1, ({ data }) => data)])
  const both = publishing([
    publish(OrderPlaced, OrderPlacedV1, ({ data }) => data),
    publish(OrderPaid, OrderPaidV1, ({ data }) => data),
  ])
  const ship = (events: readonly (typeof OrderPlacedV1 | typeof OrderPaidV1)[]) =>
    shipping.consume(events, 'ship', (event, { tx }) => enter(tx, 'ship', event))

  const worldOver = async () => {
    const folder = await testFolder()
    const { transport } = new NastyBroker({ random: Math.random, traits: { ordered: true }, faults: kind })
    const path = `${folder}/shipping.db`
    const start = async (bound: Bound, from: readonly (typeof OrderPlacedV1 | typeof OrderPaidV1)[] | undefined) => {
      const app = testApp([bound], {
        exchange: over(transport, from === undefined ? {} : { from: { ordering: from } }),
        environment: impatient(),
      })
      await app.start()
      return app
    }
    return {
      path,
      produce: (context: typeof both) => start(context.with({ store: sqlite(`${folder}/ordering.db`) }), undefined),
      consume: (...events: Parameters<typeof ship>[0]) =>
        start(shipping.with({ store: sqlite(path), prepare: prepareLedger, handlers: [ship(events)] }), events),
    }
  }
  const orders = 20
  const raiseEach = async (app: Awaited<ReturnType<Awaited<ReturnType<typeof worldOver>>['produce']>>) => {
    for (let n = 0; n < orders; n++)
      await app.context(both).transaction(({ raise }) => {
        raise(OrderPlaced, order(`k${n}`))
        raise(OrderPaid, order(`k${n}`))
      })
  }

  test('what only the new relay publishes is not passed over by the old one', async () => {
    const { path, produce, consume } = await worldOver()
    await consume(OrderPlacedV1, OrderPaidV1)
    const older = await produce(onlyPlaced)
    await older.context(onlyPlaced).transaction(({ raise }) => raise(OrderPlaced, order('first')))
    await eventually('the old one publishes', () => ledgerOf(path).length === 1)
    await raiseEach(await produce(both))
    await eventually('all of it is shipped', () => ledgerOf(path).length === 1 + 2 * orders, 5_000)
  })

  test('what only the new receiver wants is kept by the old one', async () => {
    const { path, produce, consume } = await worldOver()
    await consume(OrderPlacedV1)
    await consume(OrderPlacedV1, OrderPaidV1)
    await raiseEach(await produce(both))
    await eventually('all of it is shipped', () => ledgerOf(path).length === 2 * orders, 5_000)
  })
})
