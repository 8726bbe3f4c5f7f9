/** What producers are told of a consumer, for their retention: only by a process that runs it. */

import { sqlite } from 'pabal/sqlite'
import { expect, test } from 'vitest'
import { testFolder } from '../../test/support/folder.ts'
import { OrderPlaced, OrderPlacedV1, ordering, rowsOf, shipping, testApp } from '../../test/support/shop.ts'

const openBoth = (folder: string) =>
  testApp([
    ordering.with({ store: sqlite(`${folder}/ordering.db`) }),
    shipping.with({
      store: sqlite(`${folder}/shipping.db`),
      handlers: [shipping.consume(OrderPlacedV1, 'open', () => undefined)],
    }),
  ])
const readers = (folder: string) =>
  rowsOf<{ name: string; position: number }>(
    `${folder}/ordering.db`,
    'SELECT name, position FROM pabal_ordering_reader',
  )

test('an app that is stopped without having run tells its producers nothing', async () => {
  const folder = await testFolder()
  const sender = openBoth(folder)
  await sender.context(ordering).transaction(({ raise }) => raise(OrderPlaced, { orderId: 'a', n: 1 }))
  await sender.stop()
  expect(readers(folder)).toEqual([])

  const runner = openBoth(folder)
  await runner.settle({ withinMs: 10_000 })
  await runner.stop()
  expect(readers(folder)).toEqual([{ name: 'shipping/open', position: 1 }])
})
