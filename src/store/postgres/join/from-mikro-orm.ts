/** Joins a transaction of MikroORM. */

import { fromKysely, type KyselyTransaction } from './from-kysely.ts'
import { notATransaction, type OwnTransaction } from './own-transaction.ts'

/** The `em` of `em.transactional`, or any after `em.begin()`. */
export interface MikroOrmEntityManager {
  getTransactionContext(): object | undefined
}

/** The entity manager of the transaction, of MikroORM 7 or later. @throws PABAL_NOT_A_TRANSACTION for one outside of a transaction */
export const fromMikroOrm = (em: MikroOrmEntityManager): OwnTransaction => {
  const context = em.getTransactionContext()
  if (context === undefined)
    throw notATransaction(
      'fromMikroOrm was given an entity manager outside of a transaction; pass the one of transactional',
    )
  // Not `em.execute`, which writes the values into the text. Since 7 the context is a transaction of Kysely.
  return fromKysely(context as KyselyTransaction)
}
