/** A shop whose public events have attributes, one of them the same for all of a key; producer and consumers as apps of their own. */

import { createHash } from 'node:crypto'
import { type App, type Bound, defineContext, defineEvent, definePublicEvent, type Exchange, publish } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { z } from 'zod'
import type { Filter } from '../../src/event/filter.ts'
import { enter, type LogRow, logOf, prepareLedger, rowsOf, testApp } from './shop.ts'

const Order = z.object({ orderId: z.string(), country: z.string().optional(), n: z.int() })
type Order = z.infer<typeof Order>
const key = ({ orderId }: { orderId: string }): string => orderId

export const OrderPlaced = defineEvent('ordering.order-placed', { schema: Order, key })
export const OrderPaid = defineEvent('ordering.order-paid', { schema: Order, key })
const attributes = {
  country: ({ country }: Order) => country,
  large: ({ n }: Order) => (n > 100 ? 'yes' : 'no'),
}
const placed = 'shop.order-placed.v1'
const paid = 'shop.order-paid.v1'
const common = { kind: 'domain', schema: Order, key, attributes } as const
export const OrderPlacedV1 = definePublicEvent(placed, { ...common, perKey: ['country'] })
export const OrderPaidV1 = definePublicEvent(paid, { ...common, perKey: ['country'] })

export const ordering = defineContext('ordering', {
  store: sqlite,
  events: [OrderPlaced, OrderPaid],
  publishes: [
    publish(OrderPlaced, OrderPlacedV1, ({ data }) => data),
    publish(OrderPaid, OrderPaidV1, ({ data }) => data),
  ],
})

/** The same without a word about keys, so that its relay lets them change. */
export const carelessOrdering = defineContext('ordering', {
  store: sqlite,
  events: [OrderPlaced, OrderPaid],
  publishes: [
    publish(OrderPlaced, definePublicEvent(placed, common), ({ data }) => data),
    publish(OrderPaid, definePublicEvent(paid, common), ({ data }) => data),
  ],
})

export const countries = ['KR', 'JP', 'US'] as const

/** An order of a country that its id decides. */
export const orderOf = (orderId: string, n: number): Order => {
  const [byte] = createHash('sha256').update(orderId).digest()
  return { orderId, country: countries[byte! % countries.length], n }
}

/** What comes from there over a transport. */
export const fromOrdering = { ordering: [OrderPlacedV1, OrderPaidV1] }

/** Every third is paid; in transactions of twenty. */
export const placeAll = async (app: App, orders: readonly { orderId: string; n: number }[]): Promise<void> => {
  for (let at = 0; at < orders.length; at += 20)
    await app.context(ordering).transaction(({ raise }) => {
      for (const { orderId, n } of orders.slice(at, at + 20))
        raise(n % 3 === 0 ? OrderPaid : OrderPlaced, orderOf(orderId, n))
    })
}

export const pathOf = (folder: string, context: string): string => `${folder}/${context}.db`

export const producing = (folder: string, context: typeof ordering = ordering): Bound =>
  context.with({ store: sqlite(pathOf(folder, 'ordering')) })

export const producerOf = (folder: string, exchange?: Exchange, context?: typeof ordering): App =>
  testApp([producing(folder, context)], {
    leaseMs: 1_000,
    ...(exchange === undefined ? {} : { exchange }),
  })

export const shipping = defineContext('shipping', { store: sqlite, events: [] })
/** Another subscriber of the same. */
export const billing = defineContext('billing', { store: sqlite, events: [] })

export type ShopFilter = { readonly country?: readonly string[]; readonly large?: readonly string[] }
/** Of whole keys, and of what varies within one. */
export const asia = { country: ['KR', 'JP'] }
export const large = { country: ['US'], large: ['yes'] }

/** One handler of both events, which enters what it is handed. */
export const filteringBy = (
  folder: string,
  context: typeof shipping | typeof billing,
  filter: ShopFilter | undefined,
): Bound =>
  (context as typeof shipping).with({
    store: sqlite(pathOf(folder, context.name)),
    prepare: prepareLedger,
    handlers: [
      (context as typeof shipping).consume(
        [OrderPlacedV1, OrderPaidV1],
        'keep',
        (event, { tx }) => enter(tx, 'keep', event),
        filter === undefined ? {} : { filter },
      ),
    ],
  })

export const consumerOf = (exchange: Exchange, ...contexts: readonly Bound[]): ReturnType<typeof testApp> =>
  testApp(contexts, { exchange, leaseMs: 1_000 })

/** Events that a transport has brought to a context, and those of them that wait for what was before. */
export const countReceived = (folder: string, context: string): number =>
  rowsOf<{ n: number }>(pathOf(folder, context), `SELECT count(*) AS n FROM pabal_${context}_event`)[0]!.n
export const earlyIn = (folder: string, context: string): { key: string; sequence: number; reason: string }[] =>
  rowsOf(pathOf(folder, context), `SELECT key, sequence, reason FROM pabal_${context}_early ORDER BY key, sequence`)

export const dataOf = ({ data }: Pick<LogRow, 'data'>): Order => JSON.parse(data) as Order

/** Of the producer's log, by a rule of its own. */
export const wantedOf = (folder: string, filter: Filter | undefined): LogRow[] =>
  logOf(pathOf(folder, 'ordering')).filter((row) => {
    const { country, n } = dataOf(row)
    const has: Record<string, string | undefined> = { country, large: n > 100 ? 'yes' : 'no' }
    return Object.entries(filter ?? {}).every(([name, values]) => values.includes(has[name] ?? ''))
  })
