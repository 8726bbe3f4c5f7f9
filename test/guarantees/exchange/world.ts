/** The two producers and three consumers in the test's own process; what the consumers applied, held against the logs. */

import type { App, Exchange } from 'pabal'
import { onTestFinished } from 'vitest'
import { sqlite } from 'pabal/sqlite'
import { type CarriedOptions, over } from '../../../src/exchange/exchange.ts'
import type { Transport } from '../../../src/exchange/transport.ts'
import { eventually } from '../../support/eventually.ts'
import { testFolder } from '../../support/folder.ts'
import { type LedgerRow, ledgerOf, type LogRow, rowsOf } from '../../support/shop.ts'
import { none, realOrders, violations } from '../world.ts'
import {
  type Consumer,
  consumerApp,
  type ConsumerOptions,
  consumers,
  pathOf,
  place,
  type Producer,
  producerApp,
  producers,
} from './apps.ts'

export { ordering, producers, wholesale } from './apps.ts'

export interface World {
  readonly folder: string
  path(context: string): string
  /** The producers' logs, for consumers that may look there. */
  readonly origins: NonNullable<CarriedOptions['origins']>
  producer(producer: Producer, exchange?: Exchange): App
  consumer(name: Consumer, options?: ConsumerOptions): App
  ledger(name: Consumer, producer: Producer): readonly LedgerRow[]
  /** How many the ledger has. */
  applied(name: Consumer, producer: Producer): number
  published(producer: Producer): readonly LogRow[]
  /** Every consumer has applied all there is, or it says what is missing. */
  settled(withinMs?: number): Promise<void>
  /** Whatever happened, nothing was lost, done twice, or out of order; and nothing is left behind in an inbox. */
  faults(): ReadonlyMap<string, unknown>
}

export const wholeWorld: ReadonlyMap<string, unknown> = new Map(
  consumers.flatMap((name): [string, unknown][] => [
    ...producers.map(({ name: of }): [string, unknown] => [`${name} of ${of}`, none]),
    [`${name} early`, []],
  ]),
)

export const exchangeWorld = async (transport: Transport): Promise<World> => {
  const folder = await testFolder()
  const path = (context: string): string => pathOf(folder, context)
  const stopped = (app: App): App => {
    onTestFinished(() => app.stop({ graceMs: 100 }))
    return app
  }
  const ledger: World['ledger'] = (name, { name: of }) => ledgerOf(path(name), of)
  const applied: World['applied'] = (name, { name: of }) =>
    rowsOf<{ n: number }>(path(name), 'SELECT count(*) AS n FROM ledger WHERE consumer = ?', of)[0]!.n
  const published: World['published'] = ({ name }) =>
    rowsOf(path(name), `SELECT * FROM pabal_${name}_event WHERE type = ? ORDER BY position`, `${name}.order-placed`)
  const faults = (): ReadonlyMap<string, unknown> => {
    const found = new Map<string, unknown>()
    for (const name of consumers) {
      for (const producer of producers)
        found.set(`${name} of ${producer.name}`, violations(ledger(name, producer), published(producer)))
      const early = `SELECT source, key, sequence, reason FROM pabal_${name}_early LIMIT 3`
      found.set(`${name} early`, rowsOf(path(name), early))
    }
    return found
  }
  return {
    folder,
    path,
    origins: producers.map(({ context, name }) => context.with({ store: sqlite(path(name)) })),
    producer: (producer, exchange = over(transport)) => stopped(producerApp(folder, producer, exchange)),
    consumer: (name, options) => stopped(consumerApp(folder, name, transport, options)),
    ledger,
    applied,
    published,
    settled: async (withinMs = 30_000) => {
      const counts = new Map(producers.map((producer) => [producer, published(producer).length]))
      await eventually(
        'all is applied',
        () =>
          consumers.every((name) => producers.every((producer) => applied(name, producer) >= counts.get(producer)!)),
        withinMs,
      )
    },
    faults,
  }
}

/** Real orders, so many. */
export const placeAll = async (app: App, producer: Producer, from: number, to: number): Promise<void> =>
  place(app, producer, (await realOrders(to)).slice(from))
