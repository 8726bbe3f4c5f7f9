/** Two contexts that send text messages to a third, and publish events of the same keys; what was sent of what they have committed. */

import {
  type App,
  type Bound,
  defineContext,
  defineEvent,
  defineMessage,
  definePublicEvent,
  type Exchange,
  inProcess,
  over,
  publish,
  routes,
  type Transport,
} from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { expect } from 'vitest'
import { z } from 'zod'
import { none, violations } from '../guarantees/world.ts'
import { enter, ledgerOf, logOf, type LogRow, prepareLedger, rowsOf } from './shop.ts'

const Sms = z.object({ to: z.string(), n: z.int() })
const key = ({ to }: z.infer<typeof Sms>): string => to

export const SendSms = defineMessage('notification.send-sms', { schema: Sms, key })

const senderNamed = (name: string) => {
  const Placed = defineEvent(`${name}.order-placed`, { schema: Sms, key })
  const PlacedV1 = definePublicEvent(`shop.${name}-order-placed.v1`, { kind: 'domain', schema: Sms, key })
  const context = defineContext(name, {
    store: sqlite,
    events: [Placed],
    publishes: [publish(Placed, PlacedV1, ({ data }) => data)],
    sends: [SendSms],
  })
  return { name, Placed, PlacedV1, context }
}
export const ordering = senderNamed('ordering')
export const wholesale = senderNamed('wholesale')
export const senders = [ordering, wholesale]
export type Sender = (typeof senders)[number]

export const notification = defineContext('notification', { store: sqlite, events: [], messages: [SendSms] })
export const reporting = defineContext('reporting', { store: sqlite, events: [] })

export const fileOf = (folder: string, context: string): string => `${folder}/${context}.db`

export const sender = (folder: string, { name, context }: Sender): Bound =>
  context.with({ store: sqlite(fileOf(folder, name)) })

/** Its ledger names who has sent each. */
export const receiver = (folder: string): Bound =>
  notification.with({
    store: sqlite(fileOf(folder, 'notification')),
    prepare: prepareLedger,
    handlers: [notification.on(SendSms, 'send-sms', (event, { tx }) => enter(tx, event.source, event))],
  })

/** Over a transport: in a stream of their own, and events go nowhere; or in that of the public events. */
export const smsOver = (transport: Transport, role: string, apart: boolean): Exchange => {
  const from = Object.fromEntries(senders.map(({ name }) => [name, [SendSms]]))
  const carried = over(transport, role === 'send' ? {} : { from })
  return apart ? routes(inProcess(), { stream: 'sms', events: [SendSms], over: carried }) : carried
}

/** Each in a transaction of its own, with an event of the same key; every fourth is rolled back. */
export const send = async (app: App, { context, Placed }: Sender, from: number, to: number): Promise<void> => {
  for (let n = from; n < to; n++)
    await app
      .context(context)
      .transaction(({ raise, post }) => {
        const sms = { to: `k${n % 7}`, n }
        raise(Placed, sms)
        post(SendSms, sms)
        if (n % 4 === 3) throw new Error('rolled back')
      })
      .catch(() => undefined)
}

export const sentBy = (folder: string, { name }: Sender): readonly LogRow[] =>
  logOf(fileOf(folder, name), name).filter(({ type }) => type === SendSms.type)

/** How many messages have been handled. */
export const handled = (folder: string): number => ledgerOf(fileOf(folder, 'notification')).length

export const sentInAll = (folder: string, by: readonly Sender[] = senders): number =>
  by.reduce((sum, each) => sum + sentBy(folder, each).length, 0)

/** Of each sender: none is missing, none was handled twice or out of order; and nothing is left behind in an inbox. */
export const expectAllHandled = (folder: string, by: readonly Sender[] = senders): void => {
  const path = fileOf(folder, 'notification')
  for (const each of by) {
    expect(sentBy(folder, each).length).toBeGreaterThan(0)
    expect(violations(ledgerOf(path, each.name), sentBy(folder, each))).toEqual(none)
  }
  expect(handled(folder)).toBe(sentInAll(folder, by))
  expect(rowsOf(path, 'SELECT source, key FROM pabal_notification_early')).toEqual([])
}
