/** Two processes of a context that receive the same foreign event at once: on Postgres, where they can. */

import { createApp, defineContext, type Store } from 'pabal'
import { postgres } from 'pabal/postgres'
import { describe, expect, onTestFinished, test } from 'vitest'
import { invoice, InvoicedV1, producer, structured } from '../../test/guarantees/exchange/foreign-world.ts'
import { eventually, gate } from '../../test/support/eventually.ts'
import { changed } from '../../test/support/changed-store.ts'
import { missingPostgres, testDatabase } from '../../test/support/postgres.ts'
import { titled } from '../../test/support/require-server.ts'
import { fromJson } from '../event/cloudevents/structured.ts'
import type { Database, TransactionOptions } from '../store/store.ts'
import { ForeignReceiver } from './foreign-receiver.ts'
import { publicStream } from './exchange.ts'
import type { Incoming } from './transport.ts'

const billing = defineContext('billing', { store: postgres, events: [] })

const incoming = (key: string, n: number, attributes?: Readonly<Record<string, string>>): Incoming => ({
  decode: (limits) => fromJson(structured(invoice(key, n, attributes)), limits),
})

type Plain = ReturnType<typeof postgres>

const missing = missingPostgres()
describe.skipIf(missing)(titled('on Postgres', missing), { timeout: 60_000 }, () => {
  const bench = async (change: (plain: Plain) => Plain = (plain) => plain) => {
    const database = await testDatabase()
    // Of tables this small all might be read.
    await database.sql(`ALTER DATABASE ${database.name} SET enable_seqscan = off`)
    const receiver = async (): Promise<ForeignReceiver> => {
      const app = createApp({
        onWarning: () => {},
        contexts: [billing.with({ store: change(postgres(database.pool({ max: 6 }))) })],
      })
      onTestFinished(() => app.stop())
      const runtime = (await app['~pabal'].open()).runtimes.get('billing')!
      const types = new Set([InvoicedV1.type])
      return new ForeignReceiver({
        runtime,
        source: 'erp',
        stream: publicStream,
        producers: [producer],
        others: new Set(),
        types,
      })
    }
    const entries = () =>
      database.sql<{ key: string; sequence: number }>(
        'SELECT key, sequence::integer FROM pabal_billing.event ORDER BY key, sequence',
      )
    return { database, receivers: [await receiver(), await receiver()] as const, entries }
  }
  const entry = (key: string, sequence: number) => ({ key: `pabal:received:erp:${key}`, sequence })

  test('one enters it, and the other finds it there, also under another key', async () => {
    const { receivers, entries } = await bench()
    const [one, other] = receivers
    for (let n = 1; n <= 30; n++)
      await Promise.all([
        one.take([incoming('a', n), incoming('b', n)]),
        // The key is no part of the identity.
        other.take([incoming('c', n, { id: `b-${n}` }), incoming('a', n)]),
      ])
    const found = await entries()
    expect(found.filter(({ key }) => key.endsWith(':a'))).toEqual(
      Array.from({ length: 30 }, (_, i) => entry('a', i + 1)),
    )
    expect(found).toHaveLength(60)
  })

  test('without their turns both enter it', async () => {
    const both = gate()
    let looking = 0
    const { receivers, entries } = await bench((plain) =>
      withoutTurns(
        changed(plain, ({ log }) => ({
          log: {
            ...log,
            foreign: async (session, ids) => {
              const found = await log.foreign(session, ids)
              if (++looking === 2) both.open()
              await both.opened
              return found
            },
          },
        })),
      ),
    )
    await Promise.all(receivers.map((receiver) => receiver.take([incoming('a', 1)])))
    expect(await entries()).toEqual([entry('a', 1), entry('a', 2)])
  })

  test('a batch that is not committed leaves nothing behind, and comes again', async () => {
    const { database, receivers, entries } = await bench()
    await database.sql("ALTER TABLE pabal_billing.event ADD CONSTRAINT closed CHECK (key <> 'pabal:received:erp:b')")
    await expect(receivers[0].take([incoming('a', 1), incoming('b', 1)])).rejects.toThrow('closed')
    expect(await entries()).toEqual([])
    await database.sql('ALTER TABLE pabal_billing.event DROP CONSTRAINT closed')
    await receivers[1].take([incoming('a', 1), incoming('b', 1)])
    expect(await entries()).toEqual([entry('a', 1), entry('b', 1)])
  })

  test('a repetition is found by an index', async () => {
    const { database, receivers } = await bench()
    await receivers[0].take([incoming('a', 1)])
    const scans = () =>
      database.sql(
        `SELECT 1 FROM pg_stat_user_indexes s JOIN pg_indexes i ON i.schemaname = s.schemaname AND i.indexname = s.indexrelname
         WHERE i.schemaname = 'pabal_billing' AND i.indexdef ~ 'btree \\(event_id\\)' AND s.idx_scan > 0`,
      )
    await eventually('it was used', async () => {
      await receivers[1].take([incoming('a', 1)])
      return (await scans()).length > 0
    })
  })
})

const withoutTurns = <Tx, Own>(store: Store<Tx, Own>): Store<Tx, Own> => ({
  ...store,
  database: {
    ...store.database,
    open: async (...given) => {
      const database = await store.database.open(...given)
      return new Proxy(database, {
        get: (object, name) => {
          if (name === 'transaction')
            return (fn: Parameters<Database['transaction']>[0], { alone: _, ...rest }: TransactionOptions = {}) =>
              object.transaction(fn, rest)
          const value: unknown = Reflect.get(object, name, object)
          return typeof value === 'function' ? (value.bind(object) as unknown) : value
        },
      })
    },
  },
})
