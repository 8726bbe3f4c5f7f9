/**
 * P4 A consumer's handling of one key's events commits in sequence, across retries, parking, dead letters, redrive, pauses,
 * stops and takeovers. P5 Effects in the consumer's own database happen exactly once per consumer and event.
 */

import { array as many, assert, asyncProperty, constantFrom, integer, nat, oneof, record } from 'fast-check'
import { expect, test } from 'vitest'
import { testFolder } from '../support/folder.ts'
import { ledgerOf, logOf, order } from '../support/shop.ts'
import { expectWhole, none, openWorld, paths, place, violations } from './world.ts'

const keys = ['12346', '17850', '13047', '고객-4']

/** What happens to a running shop, one after the other and without waiting for its end. */
const step = oneof(
  {
    weight: 6,
    arbitrary: record({ kind: constantFrom('place' as const), key: nat(3), count: integer({ min: 1, max: 6 }) }),
  },
  {
    weight: 1,
    arbitrary: record({
      kind: constantFrom('pause' as const, 'resume' as const, 'restart' as const, 'retry' as const),
    }),
  },
  { weight: 1, arbitrary: record({ kind: constantFrom('turns' as const), count: integer({ min: 1, max: 30 }) }) },
)

/** A small generator of its own, so that a failing seed fails again. */
const failures = (seed: number, rate: number) => {
  let state = seed
  return (): boolean => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32 < rate
  }
}

test('whatever happens to two processes of a shop, each event is applied once and in order', {
  timeout: 120_000,
}, async () => {
  await assert(
    asyncProperty(many(step, { minLength: 3, maxLength: 20 }), nat(), async (steps, seed) => {
      const folder = await testFolder()
      const failing = failures(seed, 0.15)
      const open = () => openWorld(folder, { leaseMs: 50, failing, lanes: 3 })
      let apps = [open(), open()]
      let requests = 0
      for (const app of apps) await app.start()
      for (const [index, given] of steps.entries()) {
        const app = apps[index % 2]!
        const { runtimes } = await app['~pabal'].open()
        const { database, contextStore } = runtimes.get('shipping')!
        if (given.kind === 'place')
          for (let i = 0; i < given.count; i++) await place(app, `r-${requests++}`, order(keys[given.key]!, i))
        else if (given.kind === 'turns')
          for (let i = 0; i < given.count; i++) await new Promise((resolve) => setImmediate(resolve))
        else if (given.kind === 'restart') {
          await app.stop()
          apps = apps.map((other) => (other === app ? open() : other))
          await apps[index % 2]!.start()
        } else
          await database.transaction(async (session) => {
            if (given.kind === 'retry') await contextStore.parking.retry(session, {}, Date.now())
            else {
              await contextStore.cursors.update(session, 'ship', {
                state: given.kind === 'pause' ? 'paused' : 'active',
              })
              if (given.kind === 'pause') await contextStore.cursors.revoke(session, 'ship')
            }
          })
      }
      const [first, second] = apps
      const { runtimes } = await first!['~pabal'].open()
      const { database, contextStore } = runtimes.get('shipping')!
      await database.transaction(async (session) => contextStore.cursors.update(session, 'ship', { state: 'active' }))
      await second!.stop()
      await first!.stop()
      const last = open()
      await last.settle({ withinMs: 20_000 })
      await last.stop()
      expectWhole(folder)
      const { ordering, shipping } = paths(folder)
      expect(violations(ledgerOf(shipping, 'ship'), logOf(ordering))).toEqual(none)
    }),
    { numRuns: 15, endOnFailure: true },
  )
})
