/** P1, P4, P5 and P6 while the network holds, loses, delays and breaks what a process and its server say to each other. */

import { isPabalError } from '../../../src/core/errors.ts'
import { describe, expect, test } from 'vitest'
import { eventually } from '../../support/eventually.ts'
import { missingPostgres } from '../../support/postgres.ts'
import { titled } from '../../support/require-server.ts'
import type { DropOptions } from '../../support/tcp-fault.ts'
import { realOrders } from '../world.ts'
import { type Order, place } from './shop.ts'
import { expectNothingOpen, expectWhole, placeAll, proxyTo, settled, testWorld, type World } from './world.ts'

const skipped = async ({ ordering: { sql }, shipping }: World): Promise<unknown[]> => [
  ...(await sql('SELECT consumer, key, reason FROM pabal_ordering.skipped')),
  ...(await shipping.sql('SELECT consumer, key, reason FROM pabal_shipping.skipped')),
]

/** A proxy in front of each database, and the pools that go by it. */
const between = async (world: World) => {
  const [first, second] = [await proxyTo(world.ordering), await proxyTo(world.shipping)]
  return { proxies: [first.proxy, second.proxy], pools: { ordering: first.pool, shipping: second.pool } } as const
}

const missing = missingPostgres()
describe.skipIf(missing)(titled('a network between processes and Postgres', missing), () => {
  const timeout = { timeout: 180_000 }

  test.each(['is held', 'swallows replies'])(
    'that %s costs a process its lanes, and others go on; it works again when the network does',
    timeout,
    async (fault) => {
      const world = await testWorld()
      const { proxies, pools } = await between(world)
      const options = { leaseMs: 1_000, queryTimeoutMs: 3_000 }
      const warnings: string[] = []
      const far = world.app({
        ...options,
        by: 'far',
        warnings,
        pools,
      })
      await far.start()
      const writer = world.app()
      await placeAll(writer, 0, 10)
      await eventually('it is at work', async () => (await world.ledger('ledger')).length > 0)
      for (const proxy of proxies)
        if (fault === 'is held') proxy.freeze()
        else proxy.cutReplies()
      // Nothing is wrong with its network, so it may take its time.
      const near = world.app({ leaseMs: options.leaseMs, by: 'near' })
      await near.start()
      await placeAll(writer, 10, 20)
      await settled(world)
      await eventually('it has given its connections up', () =>
        warnings.some((warning) => /PABAL_STORE_UNREACHABLE|PABAL_COMMIT_UNKNOWN/.test(warning)),
      )

      for (const proxy of proxies) proxy.heal()
      await near.stop()
      await placeAll(writer, 20, 30)
      await settled(world)
      await expectWhole(world)
      expect((await world.ledger('ledger')).at(-1)!.by).toBe('far')
      await expectNothingOpen(world)
    },
  )

  test('that is slow, and breaks again and again, loses and repeats nothing', timeout, async () => {
    const world = await testWorld()
    const { proxies, pools } = await between(world)
    const app = world.app({ pools })
    await app.start()
    for (const proxy of proxies) proxy.delay(20)
    await placeAll(app, 0, 5)
    await settled(world)
    for (const proxy of proxies) proxy.delay(2)
    for (let broken = 5; broken < 25; broken += 5) {
      await placeAll(app, broken, broken + 5)
      for (const proxy of proxies) proxy.reset()
    }
    await settled(world)
    await expectWhole(world)
    await expectNothingOpen(world)
  })

  test.each<Required<DropOptions>>([
    { lose: 'reply', after: 'reset' },
    { lose: 'reply', after: 'silence' },
    { lose: 'request', after: 'reset' },
    { lose: 'request', after: 'silence' },
  ])('that loses the $lose of a COMMIT ($after) is told, and the same key again is done once', async (how) => {
    const world = await testWorld()
    const { proxy, pool } = await proxyTo(world.ordering)
    const app = world.app({ queryTimeoutMs: 300, pools: { ordering: pool } })
    const [first, second] = (await realOrders(2)) as [Order, Order]
    await place(app, 'before', first)
    const lost = proxy.dropOnce(undefined, how)
    await expect(place(app, 'request', second)).rejects.toMatchObject({ code: 'PABAL_COMMIT_UNKNOWN', retryable: true })
    await lost
    const states = () => world.ordering.sql('SELECT request FROM state')
    // What was sent together with COMMIT is answered before it.
    if (how.lose === 'reply') await eventually('it is committed', async () => (await states()).length === 2)
    else expect(await states()).toHaveLength(1)
    expect(await place(app, 'request', second)).toBe('request')
    expect(await states()).toHaveLength(2)
    expect((await world.log()).map(({ key }) => key)).toEqual([first.orderId, second.orderId])
    await expectNothingOpen(world)
  })

  test('that loses COMMITs of handlers repeats no effect, and counts no attempt', timeout, async () => {
    const world = await testWorld()
    const { proxies, pools } = await between(world)
    const losses: Promise<void>[] = []
    let handled = 0
    const app = world.app({
      pools,
      // One attempt, and what fails is left out: whatever is taken for a failure of the handler shows.
      retry: { attempts: 1 },
      onExhausted: 'skip',
      at: (point, consumer) => {
        if (point === 'written' || handled++ % 2 === 1 || losses.length >= 14) return
        const lose = handled % 4 === 1 ? 'reply' : 'request'
        losses.push(proxies[consumer === 'ship' ? 1 : 0].dropOnce(undefined, { lose, after: 'reset' }))
      },
    })
    await app.start()
    const writer = world.app()
    await placeAll(writer, 0, 30)
    await settled(world)
    expect(await skipped(world)).toEqual([])
    await expectWhole(world)
  })

  test('that loses the answer to a claim does not keep the lane from others', timeout, async () => {
    const world = await testWorld()
    const { proxy, pool } = await proxyTo(world.ordering)
    const options = { leaseMs: 500, lanes: 1 }
    const far = world.app({ ...options, by: 'far', pools: { ordering: pool } })
    await far.start()
    const lost = proxy.dropOnce(/FOR UPDATE SKIP LOCKED/)
    const writer = world.app()
    await placeAll(writer, 0, 1)
    // From here on the server has the cursor's row locked for somebody who hears nothing of it.
    await lost
    await world.app({ ...options, by: 'near' }).start()
    await placeAll(writer, 1, 5)
    await settled(world, undefined, 10_000)
    await expectWhole(world)
    // Of whichever consumer the claim was.
    const entries = [...(await world.ledger('ledger')), ...(await world.ledger('pay'))]
    expect(entries.map(({ by }) => by)).toContain('near')
    proxy.reset()
  })

  test('that is held does not keep a process from stopping', timeout, async () => {
    const world = await testWorld()
    const { proxies, pools } = await between(world)
    const app = world.app({
      queryTimeoutMs: 500,
      pools,
    })
    await app.start()
    await placeAll(app, 0, 5)
    await settled(world)
    for (const proxy of proxies) proxy.freeze()
    let stopped = false
    void app.stop({ graceMs: 100 }).then(
      () => (stopped = true),
      (error: unknown) => (stopped = isPabalError(error)),
    )
    await eventually('it has stopped', () => stopped, 40_000)
  })

  test('that breaks many times leaves one connection of each process to beat with', timeout, async () => {
    const world = await testWorld()
    const { proxies, pools } = await between(world)
    const app = world.app({ pools })
    await app.start()
    const { databases } = await app['~pabal'].open()
    const names = databases.map(({ owner }) => owner)
    const writer = world.app()
    for (let i = 0; i < 10; i++) {
      await placeAll(writer, i, i + 1)
      for (const proxy of proxies) proxy.reset()
    }
    await settled(world)
    const beating = 'SELECT application_name FROM pg_stat_activity WHERE application_name = ANY ($1)'
    const rows = await world.ordering.sql<{ application_name: string }>(beating, [names])
    expect(rows.map(({ application_name }) => application_name).toSorted()).toEqual(names.toSorted())
  })
})
