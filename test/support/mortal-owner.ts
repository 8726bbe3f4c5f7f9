/**
 * A process that works on `ordering` until it is killed, or until its handler ends it: `<path> hold` waits inside of a handler,
 * `<path> crash` ends at every event of the key 'bad', `<path> crash-on-retry` at every attempt but the first.
 */

import { createApp, systemEnvironment } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { enter, OrderPlaced, order, ordering, prepareLedger } from './shop.ts'

const [path, mode] = process.argv.slice(2)

const handler =
  mode === 'hold'
    ? ordering.on(
        OrderPlaced,
        'list',
        async () => {
          console.log('running')
          await new Promise(() => {})
        },
        { effects: 'external', timeout: '1h' },
      )
    : ordering.on(
        OrderPlaced,
        'list',
        (event, { tx, attempt }) => {
          enter(tx, 'list', event)
          if (event.key !== 'bad') return
          if (mode === 'crash' || attempt > 1) process.exit(9)
          throw new Error('at first only an error')
        },
        { retry: { attempts: 5, first: 1, max: 5 } },
      )

const app = createApp({
  leaseMs: mode === 'hold' ? 3_600_000 : 15_000,
  environment: { ...systemEnvironment, sleep: (ms, signal) => systemEnvironment.sleep(Math.min(ms, 20), signal) },
  contexts: [
    ordering.with({
      store: sqlite(path!),
      handlers: [handler],
      prepare: (tx) => {
        prepareLedger(tx)
        return tx.run('CREATE TABLE IF NOT EXISTS state (id TEXT)')
      },
    }),
  ],
})
await app.start()
const ids = mode === 'hold' ? ['a'] : ['a', 'bad', 'b', 'a']
await app.context(ordering).transaction(
  ({ raise }) => {
    for (const id of ids) raise(OrderPlaced, order(id))
  },
  { idempotencyKey: 'once' },
)
await app.settle()
console.log('settled')
