/** Draining a backlog through a durable handler, against a loop by hand that reads, parses and moves a cursor. */

import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type App, createApp, type DurableOptions, type Envelope } from '../../src/index.ts'
import { type Contender, type Cost, ratios, spreadOf, takeTurns } from '../measure.ts'
import type { Result } from '../report.ts'
import { newOrder, type Order, ordering } from './orders.ts'
import { Outbox, placed } from './outbox.ts'

const backlog = 200_000
const perTransaction = 1_000

/** A consumer of its own in every slice, from the beginning of the same log. */
const durable = (
  path: string,
  name: string,
  handle: (event: Envelope<string, Order>) => void = () => {},
  options: Pick<DurableOptions<never, never, never>, 'batch' | 'lanes'> = {},
): Contender => {
  const { OrderPlaced, context, at } = ordering('zod')
  let slices = 0
  let handled = 0
  let app: App | undefined
  return {
    prepare: async () => {
      handled = 0
      const handler = context.on(
        OrderPlaced,
        `${name}-${slices++}`,
        (event) => {
          handled++
          handle(event)
        },
        options,
      )
      // Consumers of earlier slices are named as orphans.
      app = createApp({ contexts: [at(path, [handler])], onWarning: () => {} })
      await app.context(context).read(() => undefined)
    },
    run: async () => {
      await app!.settle()
      return handled
    },
    after: async () => {
      await app!.stop()
      if (handled !== backlog) throw new Error(`${handled} of ${backlog} events were handled`)
    },
  }
}

const raw = (outbox: Outbox): Contender => {
  let slices = 0
  let consumer = ''
  return {
    prepare: () => {
      consumer = `drain-${slices++}`
      outbox.startCursor(consumer)
    },
    run: () => outbox.drain(consumer, perTransaction, (row) => void JSON.parse(row.data)),
  }
}

const fill = async (path: string, outbox: Outbox): Promise<void> => {
  const { OrderPlaced, context, at } = ordering('anything')
  await using app = createApp({ contexts: [at(path)] })
  for (let n = 0; n < backlog; n += perTransaction) {
    const orders = Array.from({ length: perTransaction }, (_, i) => newOrder(n + i))
    await app.context(context).transaction(({ raise }) => {
      for (const order of orders) raise(OrderPlaced, order)
    })
    outbox.placeAll(
      orders.map((_, i) => placed(n + i)),
      100,
    )
  }
}

const rate = (costs: readonly Cost[]): string =>
  `${(1_000 / spreadOf(costs.map(({ wallUs }) => wallUs)).median).toFixed(0)},000 events/s`

export const drain = async (folder: string, rounds: number): Promise<Result[]> => {
  const path = join(folder, 'drain-pabal.db')
  const outbox = new Outbox(join(folder, 'drain-raw.db'))
  await fill(path, outbox)
  // Without any connection the -wal file would go, and growing it again makes each fsync dearer than on the other side.
  const keep = new DatabaseSync(path)
  keep.exec('SELECT count(*) FROM orders')
  const costs = await takeTurns(
    {
      noop: durable(path, 'noop'),
      reading: durable(path, 'reading', (event) => void event.data),
      thousand: durable(path, 'thousand', undefined, { batch: 1_000 }),
      lanes: durable(path, 'lanes', undefined, { lanes: 16 }),
      raw: raw(outbox),
    },
    Math.ceil(rounds / 2),
  )
  outbox.db.close()
  keep.close()
  const row = (what: string, ours: readonly Cost[], goal?: Result['goal']): Result => ({
    what,
    ...(goal === undefined ? {} : { goal }),
    measured: ratios(costs.raw, ours, 'wallUs'),
    unit: 'of raw',
    note: `${rate(ours)} against ${rate(costs.raw)}`,
  })
  return [
    row('drain: 200,000 events, a handler that does nothing', costs.noop, { atLeast: 0.5 }),
    row('  the same, and reads the payload', costs.reading),
    row('  the same, 1,000 events a batch in place of 500', costs.thousand),
    row('  the same, 16 lanes in place of 1', costs.lanes),
  ]
}
