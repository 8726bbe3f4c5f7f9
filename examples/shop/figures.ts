/** The shop in one line of figures, each asked of the context that knows it. */

import { countDead, countUserEvents, listEvents, operate } from 'pabal/operate'
import type { Shop } from './app.ts'
import { delivery } from './delivery/context.ts'
import { countShipped } from './delivery/queries.ts'
import { countNotifications } from './notification-file.ts'
import { ordering } from './ordering/context.ts'
import { countRefused, countReturns, listShipped } from './ordering/queries.ts'
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
  const operated = await operate(app)
  const events = await countUserEvents(operated)
  const { keys: deadLetters } = await countDead(operated, { status: 'dead' })
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

/** Things that exist, for the commands that the summary suggests; undefined before the first order has left. */
export interface Examples {
  /** Its first event. */
  readonly eventId: string
  readonly orderIds: readonly [one: string, other: string]
}

export async function findExamples({ app }: Shop): Promise<Examples | undefined> {
  const [one, other] = await app.context(ordering).read(({ tx }) => listShipped(tx, 2))
  if (one === undefined || other === undefined) return undefined
  const [placed] = await listEvents(await operate(app), { context: 'ordering', key: one }, { after: 0, limit: 1 })
  return placed === undefined ? undefined : { eventId: placed.id, orderIds: [one, other] }
}
