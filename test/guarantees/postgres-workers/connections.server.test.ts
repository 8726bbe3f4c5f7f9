/** Connections: those of the pool come back clean, are given up when they are lost, and end no process. P1 whatever a unit does with them. */

import { describe, expect, test } from 'vitest'
import { eventually } from '../../support/eventually.ts'
import { missingPostgres } from '../../support/postgres.ts'
import { titled } from '../../support/require-server.ts'
import { ordering } from './shop.ts'
import { expectNothingOpen, proxyTo, testWorld, type World } from './world.ts'

const backends = ({ ordering: { sql, name } }: World, which = 'true') =>
  sql<{ pid: number }>(
    `SELECT pid FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND ${which}`,
    [name],
  )

const missing = missingPostgres()
describe.skipIf(missing)(titled('connections to Postgres', missing), () => {
  test('one that is ended in the moment in which it is there ends nobody', async () => {
    const world = await testWorld()
    const { proxy, pool } = await proxyTo(world.ordering)
    const app = world.app({ pools: { ordering: { ...pool, application_name: 'pooled', idleTimeoutMillis: 1 } } })
    const context = app.context(ordering)
    await context.read(({ tx }) => tx.query('SELECT 1'))
    await eventually(
      'the pool is empty',
      async () => (await backends(world, `application_name = 'pooled'`)).length === 0,
    )

    // What the server says to the new connection is held, and what it says at its end comes with it.
    proxy.delay(100)
    const reading = context.read(({ tx }) => tx.query('SELECT 1'))
    const refused = expect(reading).rejects.toMatchObject({ code: 'PABAL_STORE_UNREACHABLE' })
    const [{ pid }] = await eventually('the server has it', async () => {
      const found = await backends(world, `application_name = 'pooled' AND state = 'idle'`)
      return found.length === 1 && (found as [{ pid: number }])
    })
    proxy.freeze()
    proxy.delay(0)
    await world.ordering.sql('SELECT pg_terminate_backend($1, 5000)', [pid])
    proxy.thaw()
    await refused
    await context.read(({ tx }) => tx.query('SELECT 1'))
    await expectNothingOpen(world)
  })
})
