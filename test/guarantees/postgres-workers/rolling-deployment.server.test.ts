/** Old and new workers side by side on Postgres: what only the new ones handle is not passed over by the old ones (P1, P9). */

import { describe, expect, test } from 'vitest'
import { missingPostgres } from '../../support/postgres.ts'
import { titled } from '../../support/require-server.ts'
import { withoutEditions } from '../mutants.ts'
import { testChance } from '../postgres/chance.ts'
import { expectWhole, leftToDo, placeAll, settled, soakSeconds, testWorld, type Worker } from './world.ts'

const missing = missingPostgres()
describe.skipIf(missing)(titled('workers of two versions on Postgres', missing), () => {
  const timeout = { timeout: 120_000 + soakSeconds * 2_000 }

  test('are killed and begun again while orders come, and nothing is passed over', timeout, async () => {
    const chance = testChance()
    const world = await testWorld()
    let names = 0
    const hire = (older: boolean) => world.worker(`${older ? 'older' : 'newer'} ${++names}`, { older })
    const older = [await hire(true), await hire(true)]
    const newer = [await hire(false), await hire(false)]
    const writer = world.app({ older: true })
    const rounds = soakSeconds === 0 ? 6 : soakSeconds
    for (let round = 0; round < rounds; round++) {
      const placing = placeAll(writer, round * 40, (round + 1) * 40)
      const [those, isOlder]: [Worker[], boolean] = chance.percent(50) ? [older, true] : [newer, false]
      const at = chance.below(those.length)
      await (chance.percent(50) ? those[at]!.kill() : those[at]!.stop())
      those[at] = await hire(isOlder)
      await placing
    }
    await settled(world)
    await expectWhole(world)
    for (const worker of [...older, ...newer]) await worker.stop()
  })

  test('without the guard, old ones pass over what they do not know', timeout, async () => {
    const world = await testWorld()
    const [older, newer] = [world.app({ older: true, store: withoutEditions }), world.app()]
    await newer.start()
    await older.start()
    await placeAll(older, 0, 60)
    await older.settle()
    await older.stop()
    await newer.settle()
    expect(await leftToDo(world)).toBeGreaterThan(0)
  })
})
