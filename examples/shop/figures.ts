/** The shop in one line of figures, each asked of the context that knows it. */

import { delivery } from './delivery/context.ts'
import { countShipped } from './delivery/queries.ts'
import type { Shop } from './app.ts'
import { countNotifications } from './notification-file.ts'
import { ordering } from './ordering/context.ts'
import { countRefused, countReturns } from './ordering/queries.ts'
import { payment } from './payment/context.ts'
import { countDeclined } from './payment/queries.ts'
import { reporting } from './reporting/context.ts'
import { sumSales } from './reporting/queries.ts'

export interface Figures {
  readonly orders: number
  readonly units: number
  readonly revenuePence: number
  readonly declined: number
  readonly shipped: number
  readonly returns: number
  readonly returnsUnmatched: number
  readonly refundedPence: number
  /** By reason; 'bad-row' only if there are any. */
  readonly refused: Readonly<Record<string, number>>
  readonly notifications: number
  /** In the logs of all contexts, without those of operators. */
  readonly events: number
  readonly deadLetters: number
}

/** In the order of the JSON line. */
export async function collectFigures({ app, notificationPath }: Shop): Promise<Figures> {
  const { orders, units, revenuePence, refundedPence } = await app.context(reporting).read(({ tx }) => sumSales(tx))
  const declined = await app.context(payment).read(({ tx }) => countDeclined(tx))
  const shipped = await app.context(delivery).read(({ tx }) => countShipped(tx))
  const { returns, returnsUnmatched } = await app.context(ordering).read(({ tx }) => countReturns(tx))
  const refused = await app.context(ordering).read(({ tx }) => countRefused(tx))
  const { notifications } = await countNotifications(notificationPath)
  const { events, deadLetters } = await countLogs({ app })
  return {
    orders,
    units,
    revenuePence,
    declined,
    shipped,
    returns,
    returnsUnmatched,
    refundedPence,
    refused,
    notifications,
    events,
    deadLetters,
  }
}

async function countLogs({ app }: Pick<Shop, 'app'>): Promise<{ events: number; deadLetters: number }> {
  const { runtimes } = await app['~pabal'].open()
  let events = 0
  let deadLetters = 0
  for (const { database, contextStore, entries } of runtimes.values())
    await database.read(async (session) => {
      events += await contextStore.log.count(session, { after: 0, types: [...entries.keys()] })
      deadLetters += (await contextStore.parking.count(session, { status: 'dead' })).keys
    })
  return { events, deadLetters }
}
