/** A shop in this process, in a folder that is gone after the test. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { createShop, type Shop, type ShopOptions } from '../app.ts'
import { AcceptReturn, PlaceOrder } from '../contracts/ordering.ts'
import { openOrderFile, type ImportOptions } from '../import-orders.ts'

export async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'shop-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** Started; stopped when the test ends, if not before. A warning fails the test. */
export async function openShop(options: Partial<ShopOptions> = {}): Promise<Shop> {
  const shop = createShop({
    onWarning: (what, error) => {
      throw new Error(`${what}: ${String(error)}`)
    },
    ...options,
    data: options.data ?? (await newFolder()),
  })
  onTestFinished(() => shop[Symbol.asyncDispose]())
  await shop.app.start()
  return shop
}

/** Where a shop can be opened, closed and opened again. */
export interface Ground {
  open(options?: Partial<ShopOptions>): Promise<Shop>
}

export async function inFiles(): Promise<Ground> {
  const data = await newFolder()
  return { open: (options) => openShop({ ...options, data }) }
}

export async function importFile({ app }: Shop, path: string, options: ImportOptions = {}): Promise<void> {
  const file = await openOrderFile(path, options)
  await file.receive(app)
  await app.settle()
}

interface Line {
  readonly stockCode: string
  readonly quantity: number
  readonly unitPence: number
}

export const line = (stockCode: string, quantity: number, unitPence: number): Line => ({
  stockCode,
  quantity,
  unitPence,
})

const origin = { customerId: '17850', country: 'United Kingdom', day: '2010-12-01' }

export async function place({ app }: Shop, orderId: string, ...lines: Line[]): Promise<void> {
  await app.send(PlaceOrder, { ...origin, orderId, lines })
}

export async function giveBack({ app }: Shop, returnId: string, stockCode: string, quantity: number): Promise<void> {
  await app.send(AcceptReturn, { ...origin, returnId, lines: [{ stockCode, quantity }] })
}
