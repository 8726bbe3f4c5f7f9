/** What a shop's folder remembers of where the shop lives: a small file without user and password. */

import { randomInt } from 'node:crypto'
import { existsSync } from 'node:fs'
import { link, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ShopStoreError } from './store-error.ts'

export interface Remembered {
  readonly store: 'sqlite' | 'postgres'
  /** Folder of the shop's own server, from the data folder. */
  readonly server?: string
  /** Host, port and database of somebody else's server. */
  readonly at?: string
}

const memoryOf = (data: string): string => join(data, 'store.json')

export async function recall(data: string): Promise<Remembered | undefined> {
  const text = await readFile(memoryOf(data), 'utf8').catch(() => undefined)
  if (text !== undefined) return JSON.parse(text) as Remembered
  return existsSync(join(data, 'ordering.db')) ? { store: 'sqlite' } : undefined
}

/** Once and for all: what is there already stays, and is the answer. @throws ShopStoreError SHOP_DATA_UNWRITABLE */
export function remember(data: string, what: Remembered): Promise<Remembered> {
  return writable(data, async () => {
    const whole = `${memoryOf(data)}.${randomInt(2 ** 47)}`
    try {
      await writeFile(whole, `${JSON.stringify(what)}\n`)
      await link(whole, memoryOf(data))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    } finally {
      await rm(whole, { force: true })
    }
    return (await recall(data)) ?? what
  })
}

/** @throws ShopStoreError SHOP_DATA_UNWRITABLE */
export const makeFolder = (data: string): Promise<void> =>
  writable(data, async () => void (await mkdir(data, { recursive: true })))

async function writable<R>(data: string, write: () => Promise<R>): Promise<R> {
  try {
    return await write()
  } catch (error) {
    const { message } = error as Error
    throw new ShopStoreError('SHOP_DATA_UNWRITABLE', `${data} cannot be made or written: ${message}.`, error)
  }
}
