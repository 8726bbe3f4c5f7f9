/** How much a relay hands over at once. */

import { over, type Transport } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { expect, test } from 'vitest'
import { testFolder } from '../../test/support/folder.ts'
import { impatient, logOf, OrderPlaced, order, ordering, testApp } from '../../test/support/shop.ts'

/** It needs time for each message, and tells nothing of what it was stopped in. */
const slow = (arrived: Map<string, number>): Transport => ({
  name: 'slow',
  traits: { ordered: true, delivery: 'at-least-once', messageBytes: 1_048_576 },
  open: async () => ({
    publish: async (_, messages, signal) => {
      for (const { id } of messages) {
        await new Promise((resolve) => setTimeout(resolve, 1))
        signal.throwIfAborted()
        arrived.set(id, (arrived.get(id) ?? 0) + 1)
      }
      return messages.map(() => undefined)
    },
    receive: () => Promise.reject(new Error('nobody receives')),
    [Symbol.asyncDispose]: async () => {},
  }),
})

test('what a broker is too slow for as a whole goes out in smaller parts, once it has gone out not at all', async () => {
  const path = `${await testFolder()}/ordering.db`
  const arrived = new Map<string, number>()
  // The time that a publish may take is over after 50 ms: too early for all, late enough for a few.
  const app = testApp([ordering.with({ store: sqlite(path) })], {
    exchange: over(slow(arrived)),
    environment: impatient(50),
  })
  await app.context(ordering).transaction(({ raise }) => {
    for (let n = 0; n < 500; n++) raise(OrderPlaced, order(`k${n % 3}`, n))
  })
  await app.start()
  await app.settle()
  expect([...arrived.keys()]).toEqual(logOf(path).map(({ id }) => id))
  expect(app.warnings.join()).toContain('PABAL_HANDLER_TIMEOUT')
})
