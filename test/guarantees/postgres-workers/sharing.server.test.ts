/** Processes share the lanes of a consumer on Postgres: about as many each, in order and once, and faster than one alone. */

import { describe, expect, test } from 'vitest'
import type { Cursors } from '../../../src/store/store.ts'
import { eventually } from '../../support/eventually.ts'
import { missingPostgres } from '../../support/postgres.ts'
import { titled } from '../../support/require-server.ts'
import { withCursors } from '../mutants.ts'
import { expectWhole, placeAll, settled, testWorld, type Worker, type World } from './world.ts'

const lanes = 16
const options = { lanes, ledgerMs: 20, leaseMs: 5_000 }

/** How many lanes of `ledger` each of them has. */
const lanesOf = async ({ ordering: { sql } }: World, workers: readonly Worker[]): Promise<number[]> => {
  const rows = await sql<{ owner: string }>(
    `SELECT owner FROM pabal_ordering.cursor WHERE consumer = 'ledger' AND owner IS NOT NULL`,
  )
  return workers.map(({ owners }) => rows.filter(({ owner }) => owners.includes(owner)).length)
}

const eachHas = (least: number, world: World, workers: readonly Worker[], withinMs: number): Promise<unknown> => {
  let seen: number[] = []
  const look = async () => {
    seen = await lanesOf(world, workers)
    return Math.min(...seen) >= least
  }
  return eventually(`each has ${least} lanes or more`, look, withinMs).catch((error: unknown) => {
    throw new Error(`${String(error)}; they have ${seen.join(', ')}`)
  })
}

/** Orders, and nobody yet who handles them. */
const backlog = async (world: World, from: number, to: number): Promise<void> => {
  const writer = world.app({ lanes })
  const parts = 8
  const each = Math.ceil((to - from) / parts)
  await Promise.all(
    Array.from({ length: parts }, (_, n) => placeAll(writer, from + n * each, Math.min(to, from + (n + 1) * each))),
  )
}

const missing = missingPostgres()
describe.skipIf(missing)(titled('a backlog on Postgres', missing), () => {
  const timeout = { timeout: 120_000 }

  test('is shared by three processes, and by two when one of them is killed', timeout, async () => {
    const world = await testWorld()
    await backlog(world, 0, 800)
    const first = await world.worker('first', options)
    await eventually('the first one has begun', async () => (await world.ledger('ledger')).length > 0)
    const others = await Promise.all([world.worker('second', options), world.worker('third', options)])
    await eachHas(Math.floor(lanes / 3), world, [first, ...others], 15_000)
    const soFar = await world.ledger('ledger')
    await first.kill()
    await eachHas(lanes / 2, world, others, 15_000)
    expect((await world.ledger('ledger')).length).toBeGreaterThan(soFar.length)
    await settled(world)
    await expectWhole(world)
    for (const worker of others) await worker.stop()
  })

  test('is done in clearly less time by two than by one', timeout, async () => {
    const world = await testWorld()
    await backlog(world, 0, 400)
    const first = await world.worker('first', options)
    const done = async (events: number) => (await world.ledger('ledger')).length >= events
    const some = 120
    await eventually('one alone has done some', () => done(some))
    const second = await world.worker('second', options)
    await eachHas(lanes / 2, world, [first, second], 15_000)
    const shared = (await world.ledger('ledger')).length
    await settled(world)
    const at = (await world.ledger('ledger')).map(({ at_ms }) => at_ms)
    const alone = at[some - 1]! - at[0]!
    const together = at[shared + some - 1]! - at[shared]!
    console.info(`${some} events of 20 ms: ${alone} ms by one process, ${together} ms by two`)
    const by = (await world.ledger('ledger')).slice(shared).map(({ by: name }) => name)
    for (const name of ['first', 'second'])
      expect(by.filter((each) => each === name).length).toBeGreaterThan(by.length / 5)
    await expectWhole(world)
  })

  test('whose lanes nobody wants costs its owner no statement for that', timeout, async () => {
    const world = await testWorld()
    const asked: string[] = []
    const noting = (cursors: Cursors): Partial<Cursors> => ({
      move: (...move) => {
        asked.push('move')
        return cursors.move(...move)
      },
      holders: (...of) => {
        asked.push('holders')
        return cursors.holders(...of)
      },
      wish: (...wish) => {
        asked.push('wish')
        return cursors.wish(...wish)
      },
      release: (...lane) => {
        asked.push('release')
        return cursors.release(...lane)
      },
    })
    // Long, so that a slow machine does not end a lease meanwhile.
    const leaseMs = 600_000
    const owner = world.app({ lanes, leaseMs, store: (store) => withCursors(store, noting) })
    await owner.start()
    await backlog(world, 0, 50)
    await settled(world)
    // Here is another one that could have its lanes, and finds nothing to do.
    await world.worker('idle', { ...options, leaseMs })
    await backlog(world, 50, 51)
    await settled(world)
    expect(new Set(asked)).toEqual(new Set(['move']))
    await expectWhole(world)
  })
})
