/** P8 on Postgres: a server that is put back to an older copy of its data folder is noticed, by processes that stay up and by those that start. */

import { spawn } from 'node:child_process'
import { rm } from 'node:fs/promises'
import { type App, systemEnvironment } from 'pabal'
import type { StoredEvent } from '../../../src/event/envelope.ts'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { eventually, gate } from '../../support/eventually.ts'
import { missingPostgres } from '../../support/postgres.ts'
import { type PostgresServer, startPostgres } from '../../support/postgres-server.ts'
import { titled } from '../../support/require-server.ts'
import { finished } from '../../../tools/servers/server-process.ts'
import { sequencesOf } from '../../support/shop.ts'
import { none, realOrders, violations } from '../world.ts'
import { OrderPlaced, ordering } from './shop.ts'
import { parkedKeys, placeAll, testWorld, type World } from './world.ts'

/** A copy of a stopped server's folder, to be put back later: it has the same identity, and all that was in it then. */
const copyOf = async (
  server: PostgresServer,
): Promise<{ putBack(whileAway?: () => Promise<unknown>): Promise<void> }> => {
  const { dataFolder } = server
  const copy = `${dataFolder}.copy`
  const clone = (from: string, to: string) => finished(spawn('cp', ['-a', from, to]), 'cp')
  onTestFinished(() => rm(copy, { recursive: true, force: true }))
  await server.stop()
  await clone(dataFolder, copy)
  await server.start()
  return {
    putBack: async (whileAway) => {
      if (server.pid !== undefined) await server.stop()
      await whileAway?.()
      await rm(dataFolder, { recursive: true })
      await clone(copy, dataFolder)
      await server.start()
    },
  }
}

/** Everything of the current log is applied by `ship`, but for keys that wait for a person. */
const shipped = async (world: World): Promise<boolean> => {
  const dead = new Set(await parkedKeys(world.shipping, 'shipping', 'ship'))
  const applied = new Set((await world.ledger('ship')).map(({ event_id }) => event_id))
  const log = await world.log()
  const paid = log.filter(({ type }) => type !== OrderPlaced.type).length
  return paid * 2 === log.length && log.every(({ id, key }) => dead.has(key) || applied.has(id))
}
const settledWithout = (world: World): Promise<unknown> =>
  eventually('everything is handled', () => shipped(world).catch(() => false), 30_000)

/** Keys of the log as it is now that share a key with what was lost wait for a person; all others were applied once, in order. */
const expectNothingSkipped = async (world: World, kept: number, lost: readonly StoredEvent[]): Promise<void> => {
  const log = await world.log()
  const lostKeys = new Set(lost.map(({ key }) => key))
  const diverged = new Set(log.slice(kept).flatMap(({ key }) => (lostKeys.has(key) ? [key] : [])))
  expect(diverged.size).toBeGreaterThan(0)
  expect(
    await world.shipping.sql(`SELECT DISTINCT status, error::json->>'code' AS code FROM pabal_shipping.parked`),
  ).toEqual([{ status: 'dead', code: 'PABAL_KEY_DIVERGED' }])
  expect(await parkedKeys(world.shipping, 'shipping', 'ship')).toEqual([...diverged].toSorted())
  const applied = await world.ledger('ship')
  const well = log.filter(({ key }) => !lostKeys.has(key))
  expect(
    violations(
      applied.filter(({ key }) => !lostKeys.has(key)),
      well,
    ),
  ).toEqual(none)
  for (const [key, sequences] of Object.entries(sequencesOf(applied)))
    if (lostKeys.has(key)) expect(sequences).toEqual(sequences.map((_, index) => index + 1))
  // What stands in the server's own databases has gone back with the log, and is whole.
  await eventually('the own log is handled', async () => (await world.ledger('ledger')).length >= log.length)
  expect(violations(await world.ledger('ledger'), log)).toEqual(none)
  expect(await world.ordering.sql(`SELECT name, reason FROM pabal_ordering.consumer WHERE state <> 'active'`)).toEqual(
    [],
  )
}

const missing = missingPostgres()
describe.skipIf(missing)(titled('a Postgres server that is put back to an older copy', missing), () => {
  /** It goes back in time; the other one does not. */
  let server: PostgresServer
  let elsewhere: PostgresServer
  beforeAll(async () => {
    ;[server, elsewhere] = await Promise.all([startPostgres(), startPostgres()])
  })
  afterAll(() => Promise.all([server, elsewhere].map((each) => each[Symbol.asyncDispose]())))
  const timeout = { timeout: 180_000 }

  test('is noticed by processes that stay up, before anything new is in its log', timeout, async () => {
    const world = await testWorld(server, elsewhere)
    const warnings: string[] = []
    const app = world.app({ warnings })
    await app.start()
    await placeAll(app, 0, 20)
    await settledWithout(world)
    const copy = await copyOf(server)
    const kept = (await world.log()).length
    await placeAll(app, 20, 40)
    await settledWithout(world)
    const lost = (await world.log()).slice(kept)

    const { subscriptions } = await app['~pabal'].open()
    await copy.putBack(async () => {
      // Whoever looks while the server is away has seen nothing, and must look again.
      warnings.length = 0
      for (const subscription of subscriptions) subscription.ring()
      await eventually(
        'all have looked',
        () => warnings.filter((warning) => /'(ledger|pay|ship)'.*UNREACHABLE/.test(warning)).length >= 3,
      )
    })
    await eventually('it is noticed', () => warnings.some((warning) => warning.includes('PABAL_LOG_REWOUND')))
    // Fewer than were lost: nothing of it stands behind the places of the lost ones.
    await placeAll(app, 40, 45)
    await settledWithout(world)
    await placeAll(app, 45, 80)
    await settledWithout(world)
    await expectNothingSkipped(world, kept, lost)
  })

  test(
    'is noticed by processes that start when its log has grown again; who had seen nothing of it goes on',
    timeout,
    async () => {
      const world = await testWorld(server, elsewhere)
      // A second reader of the same log, with a database of its own.
      const reader = await testWorld(server, elsewhere, world)
      const first = world.app()
      await first.start()
      const other = reader.app()
      await other.start()
      await placeAll(first, 0, 20)
      await settledWithout(world)
      await settledWithout(reader)
      await other.stop()
      const copy = await copyOf(server)
      const kept = (await world.log()).length
      await placeAll(first, 20, 40)
      await settledWithout(world)
      const lost = (await world.log()).slice(kept)
      await first.stop()

      await copy.putBack()
      const writer = world.app()
      await placeAll(writer, 40, 80)
      await writer.stop()
      const warnings: string[] = []
      const again = world.app({ warnings })
      await again.start()
      await settledWithout(world)
      expect(warnings.filter((warning) => warning.includes('PABAL_LOG_REWOUND'))).not.toEqual([])
      await expectNothingSkipped(world, kept, lost)

      const unaware: string[] = []
      await reader.app({ warnings: unaware }).start()
      await settledWithout(reader)
      expect(unaware).toEqual([])
      expect(violations(await reader.ledger('ship'), await world.log())).toEqual(none)
    },
  )

  test('leads no key that waits for a retry over what is new in it', timeout, async () => {
    const world = await testWorld(server, elsewhere)
    const { orderId } = (await realOrders(1))[0]!
    let failing = true
    const options: Parameters<World['app']>[0] = {
      retry: { attempts: 1_000, first: 50, max: 50 },
      at: (_point, consumer, { sequence }) => {
        if (failing && consumer === 'ship' && sequence >= 5) throw new Error('not now')
      },
    }
    const app = world.app(options)
    await app.start()
    const shippedUpTo = (count: number) =>
      eventually(`${count} are shipped`, async () => (await world.ledger('ship')).length === count)
    await placeOf(app, orderId, 1)
    await shippedUpTo(2)
    const copy = await copyOf(server)
    await placeOf(app, orderId, 1)
    await shippedUpTo(4)
    await placeOf(app, orderId, 1)
    await eventually(
      'the fifth waits for a retry',
      async () => (await parkedKeys(world.shipping, 'shipping', 'ship')).length === 1,
    )
    const applied = (await world.ledger('ship')).map(({ event_id }) => event_id)
    await app.stop()

    // The log grows again, over the same sequences, and the handler would take whatever is there.
    await copy.putBack()
    failing = false
    const again = world.app(options)
    await placeOf(again, orderId, 4)
    await again.start()
    await eventually('the key waits for a person', async () => {
      const [parked] = await world.shipping.sql(`SELECT status FROM pabal_shipping.parked`)
      return parked?.['status'] === 'dead' || (await world.ledger('ship')).length > 4
    })
    expect((await world.ledger('ship')).map(({ event_id }) => event_id)).toEqual(applied)
  })

  test('is noticed by consumers that live on it: what they had done is done again', timeout, async () => {
    const world = await testWorld(elsewhere, server)
    const app = world.app()
    await app.start()
    await placeAll(app, 0, 20)
    await settledWithout(world)
    const copy = await copyOf(server)
    await placeAll(app, 20, 40)
    await settledWithout(world)

    await copy.putBack()
    await settledWithout(world)
    expect(violations(await world.ledger('ship'), await world.log())).toEqual(none)
  })

  test('is not taken as read by a process that is told to stop just then', timeout, async () => {
    const world = await testWorld(server, elsewhere)
    const rested = gate()
    let resting = false
    const environment = {
      ...systemEnvironment,
      // It comes to nothing any more but to stop.
      sleep: (ms: number, signal?: AbortSignal) =>
        !resting || ms < 10
          ? systemEnvironment.sleep(ms, signal)
          : new Promise<void>((resolve) => {
              signal?.addEventListener('abort', () => resolve(), { once: true })
              if (signal?.aborted) resolve()
              void rested.opened.then(resolve)
            }),
    }
    const app = world.app({ environment })
    await app.start()
    await placeAll(app, 0, 20)
    await settledWithout(world)
    const copy = await copyOf(server)
    const kept = (await world.log()).length
    await placeAll(app, 20, 40)
    await settledWithout(world)
    // One lane moves on; the others have only looked so far.
    await placeOf(app, (await realOrders(1))[0]!.orderId, 2)
    await settledWithout(world)
    const lost = (await world.log()).slice(kept)

    resting = true
    await copy.putBack()
    // Others go on where the log is.
    const writer = (await testWorld(server, elsewhere, world)).app()
    await placeAll(writer, 40, 80)
    await writer.start()
    await eventually(
      'it is handled where it lives',
      async () => (await world.ledger('ledger')).length === 2 * (kept / 2 + 40),
    )
    await writer.stop()
    await app.stop()
    rested.open()
    const again = world.app()
    await again.start()
    await settledWithout(world)
    await expectNothingSkipped(world, kept, lost)
  })
})

/** So many orders of one customer. */
const placeOf = async (app: App, orderId: string, count: number): Promise<void> => {
  for (let n = 0; n < count; n++)
    await app.context(ordering).transaction(({ raise }) => raise(OrderPlaced, { orderId, n }))
}
