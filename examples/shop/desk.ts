/** What the shop's own commands do, beside a running shop or without one: look at lists, cancel an order, change an address. */

import { isPabalError } from 'pabal'
import { openShopAt, type Shop } from './app.ts'
import { CancelOrder, ChangeAddress } from './contracts/ordering.ts'
import { pounds } from './money.ts'
import type { StoreOptions } from './open-databases.ts'
import { openHalves, recallHalves } from './halves.ts'
import { ordering } from './ordering/context.ts'
import { listOrders, listRefused, listRefusedRows, listUnmatched } from './ordering/queries.ts'
import { reporting } from './reporting/context.ts'
import { listSales } from './reporting/queries.ts'
import { settledElsewhere } from './settled.ts'
import { exitCodes, warn } from './shop-error.ts'
import { type Row, tableOf } from './table.ts'

export interface DeskOptions extends Pick<StoreOptions, 'data' | 'store'> {
  /** Rows as JSON lines. */
  readonly json: boolean
}

/** As long as a person waits for what follows from a command; it goes on by itself in a shop that runs. */
const patienceMs = 20_000

export async function showOrders(
  { data, store, json }: DeskOptions,
  filter: { customer?: string; limit: number },
): Promise<number> {
  await using shop = await openShopAt({ data, store, onWarning: warn })
  const orders = await shop.app
    .context(ordering)
    .read(({ tx }) => listOrders(tx, { customerId: filter.customer, limit: filter.limit }))
  return print(json, orders, ({ totalPence, address, ...order }) => ({ ...order, total: pounds(totalPence), address }))
}

export async function showRefused(
  { data, store, json }: DeskOptions,
  filter: { reason?: string; limit: number },
): Promise<number> {
  await using shop = await openShopAt({ data, store, onWarning: warn })
  const { app } = shop
  if (filter.reason === 'bad-row')
    return print(json, await app.context(ordering).read(({ tx }) => listRefusedRows(tx, filter)), (row) => row)
  const invoices = await app.context(ordering).read(({ tx }) => listRefused(tx, filter))
  const parsed = invoices.map(({ lines, ...invoice }) => ({
    ...invoice,
    lines: JSON.parse(lines) as readonly unknown[],
  }))
  return print(json, parsed, ({ lines, ...invoice }) => ({ ...invoice, lines: lines.length }))
}

export async function showUnmatched({ data, store, json }: DeskOptions, filter: { limit: number }): Promise<number> {
  await using shop = await openShopAt({ data, store, onWarning: warn })
  const lines = await shop.app.context(ordering).read(({ tx }) => listUnmatched(tx, filter))
  return print(json, lines, ({ refundedPence, ...line }) => ({ ...line, refunded: pounds(refundedPence) }))
}

export async function showReport({ data, store, json }: DeskOptions, by: 'day' | 'country'): Promise<number> {
  await using shop = await openShopAt({ data, store, onWarning: warn })
  const sales = await shop.app.context(reporting).read(({ tx }) => listSales(tx, by))
  return print(json, sales, ({ revenue_pence, refund_pence, ...row }) => ({
    ...row,
    revenue: pounds(revenue_pence),
    refunds: pounds(refund_pence),
  }))
}

export async function cancel(options: DeskOptions, orderId: string): Promise<number> {
  const { data, store } = options
  await using shop = await openShopAt({ data, store, onWarning: warn })
  const sent = await shop.app.send(CancelOrder, { orderId })
  if (!sent.ok) {
    const { refusal } = sent
    return refuse(
      refusal.code === 'unknown-order'
        ? `There is no order ${orderId}.`
        : `Order ${orderId} is cancelled already: ${refusal.detail.reason}.`,
    )
  }
  process.stdout.write(`Order ${orderId} is cancelled. Its refund, its stock and its shipment follow.\n`)
  return await untilHandled(shop, options)
}

export async function changeAddress(options: DeskOptions, orderId: string, address: string): Promise<number> {
  const { data, store } = options
  await using shop = await openShopAt({ data, store, onWarning: warn })
  const sent = await shop.app.send(ChangeAddress, { orderId, address })
  if (!sent.ok)
    return refuse(
      sent.refusal.code === 'unknown-order' ? `There is no order ${orderId}.` : `Order ${orderId} is cancelled.`,
    )
  process.stdout.write(`Order ${orderId} goes to: ${address}\n`)
  const exitCode = await untilHandled(shop, options)
  const known = await shop.addressService.get(orderId)
  process.stdout.write(`The delivery service ${known?.address === address ? 'knows it' : 'will be told'}.\n`)
  return exitCode
}

export async function showAddress({ data, store }: DeskOptions, orderId: string): Promise<number> {
  await using shop = await openShopAt({ data, store, onWarning: warn })
  const known = await shop.addressService.get(orderId)
  if (known === undefined) return refuse(`The delivery service knows no address of order ${orderId}.`)
  process.stdout.write(`${known.address}\n`)
  return exitCodes.ok
}

/** What follows happens here, or in the shop that runs on the same folder; in the end it does, whether or not one waits for it. */
async function untilHandled({ app }: Shop, options: DeskOptions): Promise<number> {
  const urls = await recallHalves(options.data)
  try {
    if (urls === undefined) await app.settle({ withinMs: patienceMs })
    else {
      await using halves = await openHalves(options, urls)
      await settledElsewhere([halves.front, halves.back], AbortSignal.timeout(patienceMs))
    }
  } catch (error) {
    if (!isTooLate(error)) throw error
    process.stderr.write(`Not everything is handled yet: ${error.message}\n  look: npm run -s pabal -- status\n`)
  }
  return exitCodes.ok
}

const isTooLate = (error: unknown): error is Error =>
  isPabalError(error) ? error.code === 'PABAL_SETTLE_TIMEOUT' : error instanceof Error && error.name === 'AbortError'

function refuse(text: string): number {
  process.stderr.write(`${text}\n`)
  return exitCodes.failed
}

function print<Item>(json: boolean, items: readonly Item[], rowOf: (item: Item) => Row): number {
  process.stdout.write(json ? items.map((item) => `${JSON.stringify(item)}\n`).join('') : tableOf(items.map(rowOf)))
  return exitCodes.ok
}
