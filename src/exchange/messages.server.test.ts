/** Messages between contexts on Postgres, read by several processes of the receiver at the same time: handled once, in the order of each key. */

import { type Bound, defineContext, type Exchange, inProcess, over, routes } from 'pabal'
import { postgres } from 'pabal/postgres'
import { kind, nasty, NastyBroker } from 'pabal/testing'
import { Pool } from 'pg'
import { describe, expect, onTestFinished, test } from 'vitest'
import { eventually } from '../../test/support/eventually.ts'
import { missingPostgres, testDatabase } from '../../test/support/postgres.ts'
import { titled } from '../../test/support/require-server.ts'
import { sequencesOf, testApp } from '../../test/support/shop.ts'
import { SendSms } from '../../test/support/sms.ts'

const ordering = defineContext('ordering', { store: postgres, events: [], sends: [SendSms] })
const notification = defineContext('notification', { store: postgres, events: [], messages: [SendSms] })
const note = notification.on(SendSms, 'note', ({ source, key, sequence }, { tx }) =>
  tx.query('INSERT INTO ledger (key, sequence) VALUES ($1, $2)', [`${source} ${key}`, sequence]),
)

const missing = missingPostgres()
describe.skipIf(missing)(titled('messages on Postgres', missing), { timeout: 60_000 }, () => {
  const bench = async () => {
    const { url, sql } = await testDatabase()
    await sql('CREATE TABLE ledger (n bigserial PRIMARY KEY, key text, sequence integer)')
    const pool = () => {
      const made = new Pool({ connectionString: url, max: 6 })
      onTestFinished(() => void made.end())
      return made
    }
    const app = async (contexts: readonly Bound[], exchange: Exchange = inProcess()) => {
      const made = testApp(contexts, { leaseMs: 1_000, exchange })
      await made.start()
      return made
    }
    const ledger = () => sql<{ key: string; sequence: number }>('SELECT key, sequence FROM ledger ORDER BY n')
    return {
      sender: (exchange?: Exchange) => app([ordering.with({ store: postgres(pool()) })], exchange),
      receiver: (exchange?: Exchange) =>
        app([notification.with({ store: postgres(pool()), handlers: [note] })], exchange),
      both: () =>
        app([
          ordering.with({ store: postgres(pool()) }),
          notification.with({ store: postgres(pool()), handlers: [note] }),
        ]),
      allHandled: async (expected: Record<string, number>) => {
        const total = Object.values(expected).reduce((sum, n) => sum + n, 0)
        await eventually('all are handled', async () => (await ledger()).length >= total, 30_000).catch(() => {})
        expect(sequencesOf(await ledger())).toEqual(
          Object.fromEntries(
            Object.entries(expected).map(([key, n]) => [key, Array.from({ length: n }, (_, i) => i + 1)]),
          ),
        )
      },
    }
  }
  type App = Awaited<ReturnType<Awaited<ReturnType<typeof bench>>['both']>>
  const send = async (app: App, from: typeof ordering | typeof notification, to: number) => {
    for (let n = 0; n < to; n++)
      await app.context(from as typeof ordering).transaction(({ post }) => post(SendSms, { to: `k${n % 3}`, n }))
  }

  test('in one process, those of its own beside', async () => {
    const { both, allHandled } = await bench()
    const app = await both()
    await send(app, ordering, 30)
    await send(app, notification, 6)
    await allHandled({
      'ordering k0': 10,
      'ordering k1': 10,
      'ordering k2': 10,
      'notification k0': 2,
      'notification k1': 2,
      'notification k2': 2,
    })
  })

  test('over a nasty queue, to two processes of the receiver', async () => {
    const { sender, receiver, allHandled } = await bench()
    const queue = new NastyBroker({ random: Math.random, faults: nasty, traits: { subscribers: 'one' } })
    const alone = (from = {}) =>
      routes(inProcess(), { stream: 'sms', events: [SendSms], over: over(queue.transport, { from }) })
    const sending = await sender(alone())
    const [receiving] = await Promise.all([1, 2].map(() => receiver(alone({ ordering: [SendSms] }))))
    await send(sending, ordering, 90)
    await send(receiving!, notification, 3)
    queue.faults = kind
    await allHandled({
      'ordering k0': 30,
      'ordering k1': 30,
      'ordering k2': 30,
      'notification k0': 1,
      'notification k1': 1,
      'notification k2': 1,
    })
  })
})
