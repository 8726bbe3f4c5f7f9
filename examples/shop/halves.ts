/** The shop in two halves, each in a process of its own with a broker between them; and what its folder remembers of that. */

import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { App } from 'pabal'
import { openShopAt, type ShopOptions } from './app.ts'
import { back, exchangeOver, front, kindOf, urlOfKind } from './brokers.ts'
import type { StoreOptions } from './open-databases.ts'
import { ordering } from './ordering/context.ts'
import { reporting } from './reporting/context.ts'
import { warn } from './shop-error.ts'
import { makeFolder } from './store-memory.ts'
import { ShopStoreError } from './store-error.ts'

export interface Halves extends AsyncDisposable {
  readonly front: App
  readonly back: App
}

type Options = Omit<ShopOptions & StoreOptions, 'databases' | 'contexts' | 'exchange' | 'onWarning'>

/** Both as apps, not started, with their tables. */
export async function openHalves(options: Options, urls: readonly string[]): Promise<Halves> {
  const exchange = await exchangeOver(urls, options.data)
  const opened = new AsyncDisposableStack()
  try {
    const half = async (contexts: readonly string[]) =>
      opened.use(await openShopAt({ ...options, contexts, exchange, onWarning: warn })).app
    const halves = { front: await half(front), back: await half(back) }
    await halves.front.context(ordering).read(() => undefined)
    await halves.back.context(reporting).read(() => undefined)
    return { ...halves, [Symbol.asyncDispose]: () => opened.disposeAsync() }
  } catch (error) {
    await opened.disposeAsync()
    throw error
  }
}

const memoryOf = (data: string): string => join(data, 'halves.json')

/** URLs that are good for looking at the halves of a folder, with nobody behind them; undefined: it is in one piece. */
export async function recallHalves(data: string): Promise<readonly string[] | undefined> {
  const text = await readFile(memoryOf(data), 'utf8').catch(() => undefined)
  return text === undefined ? undefined : (JSON.parse(text) as string[]).map(urlOfKind)
}

/** @throws ShopStoreError where the folder's shop had more of a broker: what went over the second one alone would be missed */
export async function rememberHalves(data: string, urls: readonly string[]): Promise<void> {
  const before = await recallHalves(data)
  if (before !== undefined && before.length > urls.length) throw otherHalves(data, before)
  await makeFolder(data)
  await writeFile(memoryOf(data), `${JSON.stringify(urls.map(kindOf))}\n`)
}

export const otherHalves = (data: string, urls: readonly string[]): ShopStoreError =>
  new ShopStoreError('SHOP_EXCHANGE_OTHER', `The shop in ${data} is in two halves, over ${nameOf(urls)}.`)

export const nameOf = (urls: readonly string[]): string => urls.map(kindOf).join(' and ')
