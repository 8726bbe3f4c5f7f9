/** What delivery shows. */

import type { Kysely } from 'kysely'
import type { DeliveryTables } from './tables.ts'

/** Everything that has left, also what was called back later. */
export async function countShipped(tx: Kysely<DeliveryTables>): Promise<number> {
  const { shipped } = await tx
    .selectFrom('shipments')
    .select(({ fn }) => fn.countAll<number>().as('shipped'))
    .executeTakeFirstOrThrow()
  return shipped
}
