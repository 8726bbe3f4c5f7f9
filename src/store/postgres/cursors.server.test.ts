/** Wishes for lanes on Postgres, where an owner has the rows of its cursors locked at the end of each batch. */

import { describe, expect, test } from 'vitest'
import { gate } from '../../../test/support/eventually.ts'
import { missingPostgres } from '../../../test/support/postgres.ts'
import { onPostgres } from '../../../test/support/postgres-harness.ts'
import { titled } from '../../../test/support/require-server.ts'

const of = { consumer: 'list', source: 'ordering' }
const at = (position: number) => ({ position, eventId: null, incarnation: 'one' })
const lease = { leaseMs: 60_000, stalls: 0 }

const missing = missingPostgres()
describe.skipIf(missing)(titled('a wish for lanes on Postgres', missing), () => {
  test.each([true, false])('waits for no owner in its transaction (pipelined: %s)', async (pipeline) => {
    await using store = await onPostgres({ pipeline }).create()
    const [owner, other] = [await store.open(), await store.open()]
    const { cursors } = await owner.context('ordering')
    const theirs = (await other.context('ordering')).cursors
    for (const lane of [0, 1]) {
      await owner.transaction((session) => cursors.create(session, { ...of, lane }, at(0)))
      await owner.transaction((session) => cursors.claim(session, { ...of, lane }, lease.leaseMs))
    }
    const [moved, goOn] = [gate(), gate()]
    const batch = owner.transaction(async (session) => {
      const told = await cursors.move(session, of, [{ lane: 0, epoch: 1, from: 0, to: at(1) }], lease)
      moved.open()
      await goOn.opened
      return told
    })
    await moved.opened
    await other.transaction((session) => theirs.wish(session, of, [0, 1], 60_000))
    const wishers = (await other.read((session) => theirs.holders(session, of))).map(({ wisher }) => wisher)
    expect(wishers).toEqual([null, other.owner])
    goOn.open()
    expect(await batch).toEqual([])
  })
})
