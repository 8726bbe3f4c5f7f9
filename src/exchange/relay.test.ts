/** The relay before a broker that is slow. */

import { sqlite } from 'pabal/sqlite'
import { expect, test } from 'vitest'
import { testFolder } from '../../test/support/folder.ts'
import { order, OrderPaid, ordering, testApp } from '../../test/support/shop.ts'
import { VirtualClock } from '../../test/support/virtual-clock.ts'
import { over } from './exchange.ts'
import type { Transport } from './transport.ts'

test('a batch that takes too long is not begun again whole for ever: the next one is smaller', async () => {
  const clock = new VirtualClock()
  const given: number[] = []
  const published: string[] = []
  // A tenth of a second for each, so that a whole batch does not fit in the relay's half minute.
  const slow: Transport = {
    name: 'slow',
    traits: { ordered: true, delivery: 'at-least-once', messageBytes: 1_048_576 },
    open: async () => ({
      publish: async (_channel, messages, signal) => {
        given.push(messages.length)
        await clock.sleep(messages.length * 100, signal)
        signal.throwIfAborted()
        published.push(...messages.map(({ id }) => id))
        return messages.map(() => undefined)
      },
      receive: () => Promise.reject(new Error('nothing comes from there')),
      [Symbol.asyncDispose]: async () => {},
    }),
  }
  const path = `${await testFolder()}/ordering.db`
  const app = testApp([ordering.with({ store: sqlite(path) })], { exchange: over(slow), environment: clock })
  await app.context(ordering).transaction(({ raise }) => {
    for (let n = 0; n < 1_500; n++) raise(OrderPaid, order(`k${n % 7}`, n))
  })
  await clock.drive(app.settle())
  expect(new Set(published).size).toBe(1_500)
  expect(published).toHaveLength(1_500)
  expect(given.slice(0, 3)).toEqual([1_000, 500, 250])
})
