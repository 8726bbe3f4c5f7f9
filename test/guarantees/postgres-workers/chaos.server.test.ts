/** P1 to P6 together on Postgres, while workers die, freeze and lose their connections, and the server itself crashes. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { eventually } from '../../support/eventually.ts'
import { missingPostgres } from '../../support/postgres.ts'
import { type PostgresServer, startPostgres } from '../../support/postgres-server.ts'
import { titled } from '../../support/require-server.ts'
import { realOrders, violations } from '../world.ts'
import {
  expectNothingOpen,
  expectWhole,
  leftAtMost,
  placeSurely,
  settled,
  soakSeconds,
  testRandom,
  testWorld,
  type Worker,
  type World,
} from './world.ts'
import type { WorkerOptions } from './worker.ts'

const leaseMs = 1_000
const workersAtOnce = 4
const writers = 3
/** A call takes up to so long: most freezes come in the middle of some. */
const callMs = 30

type Fault = 'kill' | 'freeze' | 'terminate' | 'crash'

interface Chaos {
  readonly world: World
  readonly server: PostgresServer
  readonly random: () => number
  readonly options: Partial<WorkerOptions>
}

/** Workers that come and go, and what is done to them. */
class Crew {
  readonly #chaos: Chaos
  readonly #workers: Worker[] = []
  #hired = 0

  constructor(chaos: Chaos) {
    this.#chaos = chaos
  }

  async hire(): Promise<void> {
    const { world, options } = this.#chaos
    const number = this.#hired++
    // Every second pool sends statements before the ones in front of them are answered.
    const pool = (url: string) => ({
      connectionString: url,
      max: 4,
      connectionTimeoutMillis: 5_000,
      pipeline: number % 2 === 1,
    })
    this.#workers.push(
      await world.worker(`worker-${number}`, {
        leaseMs,
        seed: number,
        ordering: pool(world.ordering.url),
        shipping: pool(world.shipping.url),
        ...options,
      }),
    )
  }

  #any(): Worker {
    return this.#workers[Math.floor(this.#chaos.random() * this.#workers.length)]!
  }

  readonly faults: Record<Fault, () => Promise<unknown>> = {
    kill: async () => {
      const victim = this.#any()
      this.#workers.splice(this.#workers.indexOf(victim), 1)
      await victim.kill()
      await this.hire()
    },
    freeze: async () => {
      const { pid, owners } = this.#any()
      process.kill(pid, 'SIGSTOP')
      try {
        await eventually('its leases have run out', async () => (await this.#leases(owners)) === 0, 30_000)
        // Whoever wants its lanes has taken them by now, or is about to.
        if (this.#chaos.random() < 0.5)
          await eventually('somebody has its lanes', async () => (await this.#lanes(owners)) === 0, 3_000).catch(
            () => {},
          )
      } finally {
        process.kill(pid, 'SIGCONT')
      }
    },
    terminate: async () => {
      const { world } = this.#chaos
      for (const { sql, name } of [world.ordering, world.shipping])
        await sql(
          `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
           WHERE datname = $1 AND pid <> pg_backend_pid() AND ('x' || left(md5(pid || $2), 8))::bit(32)::bigint % 3 = 0`,
          [name, String(this.#chaos.random())],
        ).catch(() => {})
    },
    crash: () => this.#chaos.server.restart({ immediate: true }),
  }

  /** How many lanes still stand under these names, and for how many the lease has not run out. */
  #lanes(owners: readonly string[]): Promise<number> {
    return this.#count('owner = ANY ($1)', owners)
  }
  #leases(owners: readonly string[]): Promise<number> {
    return this.#count('owner = ANY ($1) AND until_ms > extract(epoch FROM clock_timestamp()) * 1000', owners)
  }
  async #count(which: string, owners: readonly string[]): Promise<number> {
    const { ordering, shipping } = this.#chaos.world
    const count = async (sql: World['ordering']['sql'], context: string) =>
      (
        await sql<{ n: number }>(`SELECT count(*)::integer AS n FROM pabal_${context}.cursor WHERE ${which}`, [owners])
      )[0]!.n
    return (await count(ordering.sql, 'ordering')) + (await count(shipping.sql, 'shipping'))
  }

  /** None of them may have ended by itself. */
  expectAlive(): void {
    for (const { lines } of this.#workers) expect(lines.filter((line) => line.startsWith('crashed '))).toEqual([])
  }

  /** However often it has lost the connection that it ticks and listens on, each process has one, by its name in leases. */
  async expectOneBeatEach(): Promise<void> {
    const owners = this.#workers.flatMap((worker) => worker.owners)
    const twice = await this.#chaos.world.ordering.sql(
      'SELECT application_name FROM pg_stat_activity WHERE application_name = ANY ($1) GROUP BY 1 HAVING count(*) > 1',
      [owners],
    )
    expect(twice).toEqual([])
  }

  async dismiss(): Promise<void> {
    this.expectAlive()
    await Promise.all(this.#workers.map((worker) => worker.stop()))
  }
}

/** Clients that place real orders all the while, and say how many they have placed. */
const traffic = (world: World, more: (placed: number) => boolean) => {
  const app = world.app()
  let next = 0
  let placed = 0
  let failure: { readonly error: unknown } | undefined
  const orders = realOrders(5_000)
  const over = (): boolean => failure !== undefined || !more(placed)
  let paused: Promise<unknown> | undefined
  const write = async (): Promise<void> => {
    const all = await orders
    for (let request = next++; !over(); request = next++) {
      await paused
      await placeSurely(app, `request-${request}`, all[request % all.length]!)
      placed++
    }
  }
  const done = Promise.all(Array.from({ length: writers }, write)).catch((error: unknown) => {
    failure = { error }
  })
  return {
    /** Resolves when so many more orders have been placed, or all. */
    goOn: (count: number) => {
      const goal = placed + count
      return eventually('orders are placed', () => placed >= goal || over(), 60_000)
    },
    get over() {
      return over()
    },
    /** Nothing is placed meanwhile. */
    pausing: async (until: () => Promise<unknown>) => {
      paused = until()
      await paused
    },
    end: async () => {
      await done
      if (failure !== undefined) throw failure.error
    },
  }
}

const missing = missingPostgres()
describe.skipIf(missing)(titled('workers on Postgres', missing), () => {
  let server: PostgresServer
  beforeAll(async () => {
    server = await startPostgres()
  })
  afterAll(() => server[Symbol.asyncDispose]())

  const chaos = async (faults: readonly Fault[], orders: number, options: { readonly crashHalfway?: boolean } = {}) => {
    const random = testRandom()
    const world = await testWorld(server)
    const poison = (await realOrders(1))[0]!.orderId
    const crew = new Crew({ world, server, random, options: { failing: 0.02, poison, callMs } })
    await Promise.all(Array.from({ length: workersAtOnce }, () => crew.hire()))

    const endMs = Date.now() + soakSeconds * 1_000
    const load = traffic(world, (placed) => placed < orders || Date.now() < endMs)
    let halfway = options.crashHalfway !== true
    for (let round = 0; !load.over; round++) {
      await load.goOn(10 + Math.floor(random() * 30))
      if (!halfway && round >= 3) {
        halfway = true
        await crew.faults.crash()
      } else await crew.faults[faults[Math.floor(random() * faults.length)]!]()
      crew.expectAlive()
      await load.pausing(() => leftAtMost(300, world, poison))
    }
    await load.end()
    await settled(world, poison)
    await crew.expectOneBeatEach()
    await crew.dismiss()
    await expectWhole(world, poison)
    await expectNothingOpen(world)
  }

  const timeout = { timeout: 180_000 + soakSeconds * 1_000 }

  test('P1 to P6 hold while workers are killed, and stopped beyond their leases', timeout, () =>
    chaos(['kill', 'freeze'], 120),
  )

  test('P1 to P6 hold while connections are ended, and when the server crashes in the middle', timeout, () =>
    chaos(soakSeconds > 0 ? ['terminate', 'kill', 'freeze', 'crash'] : ['terminate'], 120, { crashHalfway: true }),
  )

  test('without the fence, workers that are stopped beyond their leases do things twice', timeout, async () => {
    const random = testRandom()
    const world = await testWorld(server)
    const crew = new Crew({ world, server, random, options: { callMs, fence: false } })
    await Promise.all(Array.from({ length: 3 }, () => crew.hire()))
    let wrong = 0
    let frozen = 0
    const load = traffic(world, () => wrong === 0 && frozen < 40)
    for (; !load.over; frozen++) {
      await load.goOn(20)
      await crew.faults.freeze()
      const log = await world.log()
      for (const consumer of ['ledger', 'pay'] as const) {
        const { twice, outOfOrder } = violations(await world.ledger(consumer), log)
        wrong += twice + outOfOrder
      }
    }
    await load.end()
    expect(wrong).toBeGreaterThan(0)
  })
})
