/** The shop as the `pabal` command looks at it, which stops the app and knows nothing of what is around it. */

import { type App, PabalError } from 'pabal'
import { openShopAt, type Shop } from './app.ts'
import { back, exchangeOver, front } from './brokers.ts'
import { recallHalves } from './halves.ts'
import type { StoreOptions } from './open-databases.ts'
import { warn } from './shop-error.ts'
import { ShopStoreError } from './store-error.ts'

export interface OperatedOptions extends StoreOptions {
  /** Of a shop in two halves: 'front' (default) or 'back'. */
  readonly half?: string | undefined
}

async function openPart({ half, ...options }: OperatedOptions): Promise<Shop> {
  const urls = await recallHalves(options.data)
  if (urls === undefined) return openShopAt({ ...options, onWarning: warn })
  const contexts = half === 'back' ? back : front
  return openShopAt({ ...options, contexts, exchange: await exchangeOver(urls, options.data), onWarning: warn })
}

/** @throws PABAL_STORE_UNREACHABLE, PABAL_CONFIG_INVALID */
export async function openOperatedApp(options: OperatedOptions): Promise<App> {
  const { app, databases } = await openPart(options).catch((error: unknown) => {
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
