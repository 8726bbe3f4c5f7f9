/** P1 to P3 on Postgres, step by step: whatever transactions and ticks do in whatever order, the log is what has committed. */

import { describe, expect, test } from 'vitest'
import { missingPostgres, testDatabase, testServer } from '../../support/postgres.ts'
import { titled } from '../../support/require-server.ts'
import { deadline, testChance, timeout } from './chance.ts'
import { Rig, type RigOptions } from './rig.ts'
import { Schedules } from './schedule.ts'
import { none, ordersOf } from './workload.ts'

const sizes: [string, RigOptions][] = [
  ['as it is', {}],
  [
    'in small partitions, where a few ids are many',
    {
      sizes: { events: 60, positions: 40, ahead: 3 },
      log: [
        [/st\.mark - 20000\b/, 'st.mark - 3'],
        [/fresh_mark - st\.mark < 1000\b/, 'fresh_mark - st.mark < 2'],
      ],
    },
  ],
]

const missing = missingPostgres()
describe.skipIf(missing)(
  titled('after any schedule of transactions, savepoints, preparations and ticks', missing),
  () => {
    test.each(sizes)('the log is what has committed, %s', timeout, async (_, options) => {
      const chance = testChance()
      const rig = await Rig.create(await testDatabase(await testServer()), options)
      const schedules = await Schedules.create(rig, await ordersOf(6), { twoPhase: true })
      let n = 0
      for (const end = deadline(1_500); !end.passed(); n++) {
        await rig.sql(`SELECT ${rig.schema}.create_partitions()`)
        expect({ schedule: n, ...(await schedules.run(chance)) }).toEqual({ schedule: n, ...none })
      }
      expect(n).toBeGreaterThan(3)
    })
  },
)
