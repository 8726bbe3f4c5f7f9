/** The shop as the `pabal` command looks at it, which stops the app and knows nothing of what is around it. */

import { type App, PabalError } from 'pabal'
import { openShopAt } from './app.ts'
import type { StoreOptions } from './open-databases.ts'
import { warn } from './shop-error.ts'
import { ShopStoreError } from './store-error.ts'

/** @throws PABAL_STORE_UNREACHABLE, PABAL_CONFIG_INVALID */
export async function openOperatedApp(options: StoreOptions): Promise<App> {
  const { app, databases } = await openShopAt({ ...options, onWarning: warn }).catch((error: unknown) => {
    if (!(error instanceof ShopStoreError)) throw error
    const { code, message, remedy, isUsage } = error
    throw new PabalError(isUsage ? 'PABAL_CONFIG_INVALID' : 'PABAL_STORE_UNREACHABLE', `${code}: ${message} ${remedy}`)
  })
  const stop = app.stop.bind(app)
  app.stop = async (how) => {
    await stop(how)
    await databases[Symbol.asyncDispose]()
  }
  return app
}
