/** P4, P5 and P6 when the owner of lanes dies, freezes or dawdles: others go on, as soon as they may, and nothing is done twice. */

import { describe, expect, test } from 'vitest'
import { eventually } from '../../support/eventually.ts'
import { missingPostgres, testServer } from '../../support/postgres.ts'
import { titled } from '../../support/require-server.ts'
import { realOrders } from '../world.ts'
import { place } from './shop.ts'
import { expectNothingOpen, expectWhole, parkedKeys, placeAll, settled, testWorld, type World } from './world.ts'

/** Who has entered what since. */
const enteredBy = async (world: World, since: number): Promise<string[]> => {
  const entries = await Promise.all((['ledger', 'pay', 'ship'] as const).map((consumer) => world.ledger(consumer)))
  return [...new Set(entries.flat().flatMap(({ by, at_ms }) => (at_ms > since ? [by] : [])))].toSorted()
}

const now = async ({ ordering: { sql } }: World): Promise<number> =>
  (await sql<{ now: number }>('SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS now'))[0]!.now

/** The latest end of a lease in `ordering`, by the server's clock. */
const leasedUntil = async ({ ordering: { sql } }: World): Promise<number> =>
  (await sql<{ until: number }>('SELECT max(until_ms)::float8 AS until FROM pabal_ordering.cursor'))[0]!.until

const missing = missingPostgres()
describe.skipIf(missing)(titled('lanes on Postgres', missing), () => {
  const timeout = { timeout: 180_000 }

  test('those of a killed process are taken over at once, however long its leases are', timeout, async () => {
    const world = await testWorld()
    const leaseMs = 600_000
    const held = (await realOrders(1))[0]!.orderId
    const dying = await world.worker('dying', { leaseMs, holdAt: { point: 'written', consumer: 'ledger', key: held } })
    const writer = world.app()
    await placeAll(writer, 0, 10)
    await dying.said('held ledger')
    await world.worker('heir', { leaseMs })
    await dying.kill()
    await placeAll(writer, 10, 20)
    await settled(world, undefined, 20_000)
    await expectWhole(world)
    expect((await world.ledger('ledger')).every(({ by }) => by === 'heir')).toBe(true)
  })

  test('those of a frozen process are taken over when its leases have run out, and not before', timeout, async () => {
    const world = await testWorld()
    const leaseMs = 1_500
    const frozen = await world.worker('frozen', { leaseMs })
    const writer = world.app()
    await placeAll(writer, 0, 10)
    await settled(world)
    await world.worker('heir', { leaseMs })
    process.kill(frozen.pid, 'SIGSTOP')
    const since = await now(world)
    const until = await leasedUntil(world)
    await placeAll(writer, 10, 20)
    await settled(world, undefined, 20_000)
    expect(await enteredBy(world, since)).toEqual(['heir'])
    const entries = (await world.ledger('ledger')).filter(({ at_ms }) => at_ms > since)
    expect(Math.max(...entries.map(({ at_ms }) => at_ms))).toBeGreaterThan(until)
    process.kill(frozen.pid, 'SIGCONT')
    await placeAll(writer, 20, 30)
    await settled(world)
    await expectWhole(world)
    expect(frozen.lines.filter((line) => line.startsWith('crashed'))).toEqual([])
  })

  test(
    'a process that is frozen in a transaction loses it, its locks and its lanes, and goes on later',
    timeout,
    async () => {
      // Transactions stay open for long here, and others on the same server might wait for them.
      const world = await testWorld(await testServer())
      const leaseMs = 1_000
      const held = (await realOrders(1))[0]!.orderId
      const frozen = await world.worker('frozen', {
        leaseMs,
        counted: true,
        holdAt: { point: 'written', consumer: 'ledger', key: held },
      })
      const writer = world.app()
      await placeAll(writer, 0, 10)
      await frozen.said('held ledger')
      process.kill(frozen.pid, 'SIGSTOP')
      // It has the row that everybody wants.
      const heir = await world.worker('heir', { leaseMs, counted: true })
      await placeAll(writer, 10, 20)
      await settled(world, undefined, 20_000)
      expect((await world.ledger('ledger')).every(({ by }) => by === 'heir')).toBe(true)
      await expectNothingOpen(world)

      process.kill(frozen.pid, 'SIGCONT')
      frozen.tell('go on')
      await heir.stop()
      const since = await now(world)
      await placeAll(writer, 20, 30)
      await settled(world, undefined, 20_000)
      expect(await enteredBy(world, since)).toEqual(['frozen'])
      await expectWhole(world)
      const [total] = await world.ordering.sql<{ events: number }>(`SELECT events FROM total WHERE consumer = 'ledger'`)
      expect(total!.events).toBe((await world.ledger('ledger')).length)
      await frozen.stop()
    },
  )

  test('a call of a frozen process is made again under the same key, and recorded once', timeout, async () => {
    const world = await testWorld()
    const leaseMs = 1_000
    const held = (await realOrders(1))[0]!.orderId
    const frozen = await world.worker('frozen', { leaseMs, holdAt: { point: 'begin', consumer: 'pay', key: held } })
    const writer = world.app()
    await placeAll(writer, 0, 5)
    await frozen.said('held pay')
    process.kill(frozen.pid, 'SIGSTOP')
    await world.worker('heir', { leaseMs })
    await settled(world, undefined, 20_000)
    process.kill(frozen.pid, 'SIGCONT')
    frozen.tell('go on')
    await placeAll(writer, 5, 15)
    await settled(world)
    await expectWhole(world)
    const calls = world.called().filter(({ key }) => key === held)
    expect(new Set(calls.map(({ by }) => by))).toEqual(new Set(['frozen', 'heir']))
    await frozen.stop()
  })

  test('a handler that is silent for longer than a lease holds up its own key only', timeout, async () => {
    const world = await testWorld()
    const leaseMs = 400
    const orders = await realOrders(30)
    const slow = orders[0]!.orderId
    const app = world.app({
      leaseMs,
      retry: { attempts: 2, first: 10, max: 10 },
      at: async (point, consumer, { key }) => {
        if (point === 'written' && consumer === 'ledger' && key === slow)
          await new Promise((resolve) => setTimeout(resolve, 3 * leaseMs))
      },
    })
    await app.start()
    for (const [i, order] of orders.entries()) await place(app, `request-${i}`, order)
    await settled(world, slow, 30_000)
    await eventually('it waits for a person', async () =>
      (await parkedKeys(world.ordering, 'ordering', 'ledger')).includes(slow),
    )
  })
})
