/** Whether a database of somebody else's can be used by the shop, before anything is asked of it. */

import { Client, type ClientConfig } from 'pg'
import { asStoreError, ShopStoreError } from './store-error.ts'

const answerMs = 10_000

/** `where` names it without credentials. @throws ShopStoreError */
export async function tryConnection(connection: ClientConfig, where: string): Promise<void> {
  let client: Client | undefined
  try {
    client = new Client({ ...connection, connectionTimeoutMillis: answerMs, query_timeout: answerMs })
    client.on('error', () => {})
    await client.connect()
    const { rows } = await client.query<{ user: string; creates: boolean }>(
      "SELECT current_user AS user, has_database_privilege(current_database(), 'CREATE') AS creates",
    )
    const [{ user, creates } = { user: '', creates: false }] = rows
    if (!creates) throw new ShopStoreError('SHOP_STORE_RIGHTS', `${where}: ${user} may not create schemas there.`)
  } catch (error) {
    throw error instanceof ShopStoreError ? error : asStoreError(error, where)
  } finally {
    await client?.end().catch(() => {})
  }
}
