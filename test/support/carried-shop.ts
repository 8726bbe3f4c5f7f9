/** Contexts of a shop over SNS and SQS, each in an app of its own or several in one, as a configuration of the command line has them. */

import { join } from 'node:path'
import { type App, createApp, defineContext } from 'pabal'
import { snsSqs } from 'pabal/sns-sqs'
import { sqlite } from 'pabal/sqlite'
import { awsClients } from './aws-clients.ts'
import { type Order, OrderPlacedV1, ordering } from './operated-shop.ts'

export interface CarriedShop {
  /** Of the broker. */
  readonly url: string
  readonly contexts: readonly ('ordering' | 'shipping' | 'delivery')[]
  readonly provision?: boolean
}

const consuming = (name: 'shipping' | 'delivery') => defineContext(name, { store: sqlite, events: [] })
const consumers = { shipping: consuming('shipping'), delivery: consuming('delivery') }

/** `onOrder` is told what its consumers are handed. */
export const createCarriedShop = (
  folder: string,
  { url, contexts, provision = true }: CarriedShop,
  onOrder: (context: string, order: Order) => void = () => {},
): App => {
  const store = (name: string) => sqlite(join(folder, `${name}.db`))
  const producer = ordering.with({ store: store('ordering') })
  const isHere = contexts.includes('ordering')
  return createApp({
    contexts: contexts.map((name) =>
      name === 'ordering'
        ? producer
        : consumers[name].with({
            store: store(name),
            handlers: [consumers[name].consume(OrderPlacedV1, 'note', ({ data }) => onOrder(name, data))],
          }),
    ),
    exchange: snsSqs({
      ...awsClients(url),
      waitMs: 1_000,
      visibilityMs: 3_000,
      provision,
      ...(isHere ? {} : { from: { ordering: [OrderPlacedV1] }, origins: [producer] }),
    }),
  })
}
