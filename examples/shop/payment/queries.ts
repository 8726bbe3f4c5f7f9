/** What payment shows. */

import type { Kysely } from 'kysely'
import type { PaymentTables } from './tables.ts'

export async function countDeclined(tx: Kysely<PaymentTables>): Promise<number> {
  const { declined } = await tx
    .selectFrom('payments')
    .select(({ fn }) => fn.countAll<number>().as('declined'))
    .where('status', '=', 'declined')
    .executeTakeFirstOrThrow()
  return declined
}
