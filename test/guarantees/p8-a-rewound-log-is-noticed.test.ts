/** P8 A restore that rewinds a log is detected by every cursor (incarnation, and the identity of the event at the cursor), never silently skipped. */

import { copyFile } from 'node:fs/promises'
import { rm } from 'node:fs/promises'
import { createApp, systemEnvironment } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { v7 } from 'uuid'
import { describe, expect, test } from 'vitest'
import { testFolder } from '../support/folder.ts'
import {
  enter,
  ledgerOf,
  logOf,
  OrderPlaced,
  OrderPlacedV1,
  order,
  ordering,
  parkedIn,
  prepareLedger,
  sequencesOf,
  shipping,
} from '../support/shop.ts'
import { realOrders } from './world.ts'

const open = (folder: string, warnings: string[] = []) =>
  createApp({
    onWarning: (what, error) => warnings.push(`${what}: ${error instanceof Error ? error.message : String(error)}`),
    contexts: [
      ordering.with({ store: sqlite(`${folder}/ordering.db`) }),
      shipping.with({
        store: sqlite(`${folder}/shipping.db`),
        prepare: prepareLedger,
        handlers: [shipping.consume(OrderPlacedV1, 'ship', (event, { tx }) => enter(tx, 'ship', event))],
      }),
    ],
  })

const placeAll = async (folder: string, orders: readonly { orderId: string; n: number }[]): Promise<void> => {
  await using app = open(folder)
  await app.context(ordering).transaction(({ raise }) => {
    for (const { orderId, n } of orders) raise(OrderPlaced, order(orderId, n))
  })
}

const settle = async (folder: string): Promise<string[]> => {
  const warnings: string[] = []
  await using app = open(folder, warnings)
  await app.settle({ withinMs: 15_000 })
  return warnings
}

/** The producer's database goes back to an earlier day, in either way. */
const ways = {
  'restored from its backup': async (folder: string) =>
    sqlite(`${folder}/ordering.db`).database.restore(`${folder}/backup.db`),
  'copied back by hand, with the incarnation that it had': async (folder: string) => {
    for (const suffix of ['-wal', '-shm']) await rm(`${folder}/ordering.db${suffix}`, { force: true })
    await copyFile(`${folder}/backup.db`, `${folder}/ordering.db`)
  },
}

describe.each(Object.entries(ways))('a producer that is %s', (_way, goBack) => {
  test('is noticed; keys that have other events now park, new events of all others are applied once', async () => {
    const folder = await testFolder()
    const orders = await realOrders(90)
    await placeAll(folder, orders.slice(0, 30))
    await settle(folder)
    {
      await using app = open(folder)
      const { logs } = await app['~pabal'].open()
      await logs.get('ordering')!.database.backup(`${folder}/backup.db`)
    }

    // Lost at the producer, applied at the consumer.
    await placeAll(folder, orders.slice(30, 60))
    await settle(folder)
    const lost = logOf(`${folder}/ordering.db`).slice(30)
    await goBack(folder)
    // The log grows again over the same positions and sequences, with other events.
    await placeAll(folder, orders.slice(60, 90).toReversed())
    const warnings = await settle(folder)

    expect(warnings.join('\n')).toContain('PABAL_LOG_REWOUND')
    const now = logOf(`${folder}/ordering.db`)
    const lostKeys = new Set(lost.map(({ key }) => key))
    const diverged = new Set(now.map(({ key }) => key).filter((key) => lostKeys.has(key)))
    expect(
      parkedIn(`${folder}/shipping.db`, 'shipping').map(({ key, status, error }) => [
        key,
        status,
        (JSON.parse(error) as { code: string }).code,
      ]),
    ).toEqual([...diverged].toSorted().map((key) => [key, 'dead', 'PABAL_KEY_DIVERGED']))
    const applied = ledgerOf(`${folder}/shipping.db`, 'ship')
    for (const [key, sequences] of Object.entries(sequencesOf(now))) {
      if (diverged.has(key)) continue
      const mine = applied.filter((row) => row.key === key)
      if (lostKeys.has(key)) expect(mine.map(({ sequence }) => sequence)).toEqual(mine.map((_, index) => index + 1))
      else expect(mine.map(({ sequence }) => sequence)).toEqual(sequences)
    }
    expect(diverged.size).toBeGreaterThan(0)
  })
})

test('a log that has only grown is read on without a word', async () => {
  const folder = await testFolder()
  const orders = await realOrders(40)
  await placeAll(folder, orders.slice(0, 20))
  await settle(folder)
  await placeAll(folder, orders.slice(20))
  expect((await settle(folder)).filter((warning) => warning.includes('PABAL_'))).toEqual([])
  expect(ledgerOf(`${folder}/shipping.db`)).toHaveLength(40)
})

test('a producer whose clock went back with its log is noticed too: the key parks, though what is new looks old', async () => {
  const folder = await testFolder()
  const clocked = (offsetMs: number) =>
    createApp({
      onWarning: () => {},
      // Ids of a machine whose clock is that far off.
      environment: { ...systemEnvironment, id: () => v7({ msecs: Date.now() + offsetMs }) },
      contexts: [ordering.with({ store: sqlite(`${folder}/ordering.db`) })],
    })
  const placeWith = async (
    offsetMs: number,
    count: number,
    then?: (app: ReturnType<typeof clocked>) => Promise<unknown>,
  ) => {
    await using app = clocked(offsetMs)
    for (let i = 0; i < count; i++)
      await app.context(ordering).transaction(({ raise }) => raise(OrderPlaced, order('17850', i)))
    await then?.(app)
  }
  await placeWith(0, 2, async (app) =>
    (await app['~pabal'].open()).logs.get('ordering')!.database.backup(`${folder}/backup.db`),
  )
  await placeWith(0, 2)
  await settle(folder)
  await sqlite(`${folder}/ordering.db`).database.restore(`${folder}/backup.db`)
  await placeWith(-3_600_000, 1)

  expect((await settle(folder)).join('\n')).toContain('PABAL_LOG_REWOUND')
  expect(parkedIn(`${folder}/shipping.db`, 'shipping')).toMatchObject([{ key: '17850', status: 'dead' }])
  expect(sequencesOf(ledgerOf(`${folder}/shipping.db`, 'ship'))).toEqual({ 17850: [1, 2, 3, 4] })
})
