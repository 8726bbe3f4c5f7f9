/** `shipping` as a process of its own: it knows the contract, and where on this machine the log of `ordering` is. */

import { createApp, sharedStore } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { enter, OrderPaidV1, OrderPlacedV1, ordering, prepareLedger, shipping } from '../support/shop.ts'
import { paths } from './world.ts'

const { ordering: orderingPath, shipping: shippingPath } = paths(process.argv[2]!)
const app = createApp({
  onWarning: () => {},
  contexts: [
    shipping.with({
      store: sqlite(shippingPath),
      prepare: prepareLedger,
      handlers: [shipping.consume([OrderPlacedV1, OrderPaidV1], 'ship', (event, { tx }) => enter(tx, 'ship', event))],
    }),
  ],
  exchange: sharedStore(ordering.with({ store: sqlite(orderingPath) })),
})
await app.start()
console.log('started')
process.on('SIGTERM', () => void app.stop().then(() => process.exit(0)))
