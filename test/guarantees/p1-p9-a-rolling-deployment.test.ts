/**
 * P1 and P9 while old and new processes of an app run side by side: what only the new ones handle, publish or receive is not
 * passed over by the old ones.
 */

import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout } from 'node:timers/promises'
import { type Bound, defineContext, publish } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { kind, NastyBroker } from 'pabal/testing'
import { describe, expect, test } from 'vitest'
import { over } from '../../src/exchange/exchange.ts'
import { changed } from '../support/changed-store.ts'
import { eventually, gate } from '../support/eventually.ts'
import { testFolder } from '../support/folder.ts'
import {
  enter,
  impatient,
  ledgerOf,
  logOf,
  OrderPaid,
  OrderPaidV1,
  OrderPlaced,
  OrderPlacedV1,
  order,
  ordering,
  prepareLedger,
  rowsOf,
  shipping,
  testApp,
} from '../support/shop.ts'

const write = (path: string, sql: string, ...values: (string | number)[]): void => {
  const db = new DatabaseSync(path, { timeout: 5_000 })
  db.prepare(sql).run(...values)
  db.close()
}

/** As the relay of `ordering` sends it. */
const message = (type: string, key: string, sequence: number) => {
  const id = randomUUID()
  const attributes = {
    specversion: '1.0',
    id,
    source: 'urn:pabal:ordering',
    type,
    time: '2026-01-01T00:00:00.000Z',
    subject: key,
    streamversion: String(sequence),
    previousversion: String(sequence - 1),
    stream: 'public',
    incarnation: 'first',
    correlationid: id,
    hopcount: '0',
  }
  const headers = Object.fromEntries(Object.entries(attributes).map(([name, value]) => [`ce_${name}`, value]))
  return {
    headers: { ...headers, 'content-type': 'application/json' },
    contentType: undefined,
    body: JSON.stringify(order(key, sequence)),
  }
}

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

  test('goes on in the old ones where a new one could not start', async () => {
    const path = `${await testFolder()}/ordering.db`
    const older = open(path, [OrderPlaced])
    await older.start()
    await raiseBoth(older)
    await older.settle()
    const mails = ordering.on(OrderPlaced, 'mails', () => undefined, { effects: 'external' })
    const handlers = [list([OrderPlaced, OrderPaid]), mails]
    const newer = testApp([ordering.with({ store: sqlite(path), prepare: prepareLedger, handlers })])
    await expect(newer.start()).rejects.toMatchObject({ code: 'PABAL_START_AT_REQUIRED' })
    await raiseBoth(older)
    await eventually('it is handled', () => sequences(path).length === 2, 5_000)
    expect(sequences(path)).toEqual([1, 3])
  })

  test('is known to be there where nothing but itself can tell', async () => {
    const path = `${await testFolder()}/ordering.db`
    const store = changed(sqlite(path), ({ editions }) => ({ editions: { ...editions, stayMs: 20 } }))
    const newer = testApp(
      [ordering.with({ store, prepare: prepareLedger, handlers: [list([OrderPlaced, OrderPaid])] })],
      { environment: impatient() },
    )
    await newer.start()
    const members = () => rowsOf(path, 'SELECT owner FROM pabal_ordering_member')
    write(path, 'DELETE FROM pabal_ordering_member')
    await eventually('it says so again', () => members().length === 1, 5_000)
  })

  test('runs nowhere beside a call that an old process has under way for a parked key', async () => {
    const path = `${await testFolder()}/ordering.db`
    const ends = gate()
    const said: string[] = []
    const call = (by: string, events: Parameters<typeof list>[0], fails: boolean) =>
      ordering.on(
        events,
        'call',
        async ({ key, sequence }, { attempt }) => {
          said.push(`${by} ${key}${sequence}, attempt ${attempt}`)
          if (!fails || key !== 'a') return
          if (attempt === 1) throw new Error('not yet')
          await ends.opened
        },
        { effects: 'external', startAt: 'beginning', retry: { attempts: 10, first: 100, max: 100 } },
      )
    const openCall = (handler: ReturnType<typeof call>) =>
      testApp([ordering.with({ store: sqlite(path), handlers: [handler] })], { leaseMs: 3_000 })
    const older = openCall(call('old', [OrderPlaced], true))
    await older.start()
    await older.context(ordering).transaction(({ raise }) => {
      raise(OrderPlaced, order('a'))
      raise(OrderPlaced, order('b'))
    })
    await eventually('it is tried again', () => said.includes('old a1, attempt 2'))
    const newer = openCall(call('new', [OrderPlaced, OrderPaid], false))
    await newer.start()
    await newer.context(ordering).transaction(({ raise }) => raise(OrderPlaced, order('c')))
    await setTimeout(1_000)
    expect(said.filter((line) => line.startsWith('new'))).toEqual([])
    ends.open()
    await eventually('the new one has the rest', () => said.includes('new c1, attempt 1'), 30_000)
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
    const broker = new NastyBroker({ random: Math.random, traits: { ordered: true }, faults: kind })
    const { transport } = broker
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
      broker,
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

  test('what waits early for the new one is kept when the old one takes what was missing', async () => {
    const { path, broker, consume } = await worldOver()
    await consume(OrderPlacedV1)
    await consume(OrderPlacedV1, OrderPaidV1)
    const early = () => rowsOf(path, 'SELECT key FROM pabal_shipping_early').length
    const tell = (type: string, key: string, sequence: number) =>
      broker.inject({ context: 'ordering' }, key, message(type, key, sequence))
    for (let n = 0; n < orders; n++) tell(OrderPaidV1.type, `k${n}`, 2)
    await eventually('all wait', () => early() === orders)
    for (let n = 0; n < orders; n++) {
      tell(OrderPlacedV1.type, `k${n}`, 1)
      await setTimeout(5)
    }
    await eventually('all of it is shipped', () => ledgerOf(path).length === 2 * orders, 5_000)
  })

  test('nobody wants what only a process wanted that was killed', async () => {
    const { path, produce, consume } = await worldOver()
    const killed = await consume(OrderPlacedV1, OrderPaidV1)
    const [left] = rowsOf<Record<string, string | number>>(path, 'SELECT * FROM pabal_shipping_member')
    await killed.stop()
    write(
      path,
      'INSERT INTO pabal_shipping_member (consumer, source, owner, edition) VALUES (?, ?, ?, ?)',
      ...['consumer', 'source'].map((column) => left![column]!),
      `${hostname()}:4194399:1:dead`,
      left!['edition']!,
    )
    await consume(OrderPlacedV1)
    const producer = await produce(both)
    await raiseEach(producer)
    await eventually('the orders are shipped', () => ledgerOf(path).length === orders, 5_000)
    expect(logOf(path, 'shipping')).toHaveLength(orders)
  })

  test('what only the new receiver wants is kept by the old one', async () => {
    const { path, produce, consume } = await worldOver()
    await consume(OrderPlacedV1)
    await consume(OrderPlacedV1, OrderPaidV1)
    await raiseEach(await produce(both))
    await eventually('all of it is shipped', () => ledgerOf(path).length === 2 * orders, 5_000)
  })
})
