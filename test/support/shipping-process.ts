/** `shipping` as a service of its own: `<ordering.db> <shipping.db>`; says 'started', and 'settled' whenever it is told 'settle'. */

import { createInterface } from 'node:readline'
import { createApp, sharedStore } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { enter, OrderPaidV1, OrderPlacedV1, ordering, prepareLedger, shipping } from './shop.ts'

const [orderingPath, shippingPath] = process.argv.slice(2)
const app = createApp({
  contexts: [
    shipping.with({
      store: sqlite(shippingPath!),
      prepare: prepareLedger,
      handlers: [shipping.consume([OrderPlacedV1, OrderPaidV1], 'ship', (event, { tx }) => enter(tx, 'ship', event))],
    }),
  ],
  exchange: sharedStore(ordering.with({ store: sqlite(orderingPath!) })),
})
await app.start()
console.log('started')
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'settle') {
    await app.settle({ withinMs: 20_000 })
    console.log('settled')
  } else break
}
await app.stop()
console.log('stopped')
