import { describe, expect, test } from 'vitest'
import { missingPostgres } from '../../../test/support/postgres.ts'
import { onPostgres } from '../../../test/support/postgres-harness.ts'
import { titled } from '../../../test/support/require-server.ts'
import { type Cannot, plan, storeContract, type StoreHarness } from '../../testing/index.ts'

const concurrent = 'transactions of several connections run side by side; those of one key wait for each other'
const cannot: Cannot = {
  'a transaction that awaits lets no other code of its process slip in': concurrent,
}

const missing = missingPostgres()

const suites: [string, StoreHarness][] = [
  ['Postgres', onPostgres()],
  ['Postgres, pipelined', onPostgres({ pipeline: true })],
]

describe.skipIf(missing).each(suites)(titled('%s', missing), (_name, harness) => {
  const planned = plan(storeContract, cannot)
  test.each(planned.filter((rule) => rule.cannot === undefined))('$name', ({ run }) => run(harness))
  // A declaration that has become untrue fails.
  test.each(planned.filter((rule) => rule.cannot !== undefined))('cannot: $name ($cannot)', async ({ run }) => {
    await expect(run(harness)).rejects.toBeInstanceOf(Error)
  })
})
