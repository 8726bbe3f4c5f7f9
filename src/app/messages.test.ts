/** Composition: messages that nobody would handle, or that would not get to who they are for, are refused by name. */

import {
  createApp,
  defineContext,
  defineEvent,
  defineMessage,
  definePublicEvent,
  type Exchange,
  inProcess,
  over,
  publish,
  routes,
} from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { kind, NastyBroker } from 'pabal/testing'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { withCode } from '../../test/support/shop.ts'
import { needsOf } from './composition.ts'

const schema = z.object({ id: z.string() })
const of = { schema, key: ({ id }: z.infer<typeof schema>): string => id }
const SendSms = defineMessage('notification.send-sms', of)
const SendLetter = defineMessage('notification.send-letter', of)
const Reserve = defineMessage('warehouse.reserve', of)
const Placed = defineEvent('ordering.placed', of)
const PlacedV1 = definePublicEvent('shop.placed.v1', { ...of, kind: 'domain' })

const store = sqlite('/nonexistent/never-opened.db')
const sending = (...sends: (typeof SendSms | typeof SendLetter | typeof Reserve)[]) =>
  defineContext('ordering', { store: sqlite, events: [Placed], sends }).with({ store })
const publishing = defineContext('ordering', {
  store: sqlite,
  events: [Placed],
  publishes: [publish(Placed, PlacedV1, ({ data }) => data)],
  sends: [SendSms],
}).with({ store })
const notification = defineContext('notification', { store: sqlite, events: [], messages: [SendSms, SendLetter] })
const send = notification.on([SendSms, SendLetter], 'send', () => 0)

const carrying = (subscribers: 'many' | 'one' | 'none', name: string = subscribers) => {
  const { transport } = new NastyBroker({ random: Math.random, faults: kind, traits: { subscribers } })
  return (from = {}): Exchange => over(transport, { from, name })
}
const queue = carrying('one', 'queue')
const topic = carrying('none', 'topic')
const refused = (message: RegExp) => withCode('PABAL_COMPOSITION_INVALID', message)
const compose = (contexts: Parameters<typeof createApp>[0]['contexts'], exchange: Exchange = inProcess()) =>
  createApp({ contexts, exchange })

describe('an app is refused', () => {
  test('where a context that is at work does not handle a message of its own', () => {
    const one = notification.on(SendSms, 'send', () => 0)
    expect(() => compose([notification.with({ store, handlers: [one] })])).toThrow(
      refused(/'notification' is sent notification\.send-letter/),
    )
    // A process that only posts them leaves the handlers to another one.
    compose([notification.with({ store })])
    compose([notification.with({ store, handlers: [send] })])
  })

  test('with two handlers of one message', () => {
    const second = notification.on(SendSms, 'again', () => 0)
    expect(() => compose([notification.with({ store, handlers: [send, second] })])).toThrow(
      refused(/notification\.send-sms in 'send' and in 'again'; a message has one handler/),
    )
  })

  test('where a message is sent to a context here that does not know it', () => {
    const deaf = defineContext('warehouse', { store: sqlite, events: [] }).with({ store })
    expect(() => compose([sending(Reserve), deaf])).toThrow(refused(/'ordering' sends warehouse\.reserve/))
    // It may be elsewhere, and read here.
    compose([sending(Reserve)])
  })
})

test('a broker is told who is sent messages, but for who is at work here and reads them in the log', () => {
  const receivers = (...contexts: Parameters<typeof compose>[0]) => {
    const { composition } = compose([sending(SendSms, SendLetter, Reserve), ...contexts], carrying('many')())['~pabal']
    return needsOf(composition, composition.carried[0]!).publishes
  }
  const told = (...names: string[]) => [{ context: 'ordering', receivers: names }]
  expect(receivers()).toEqual(told('notification', 'warehouse'))
  expect(receivers(notification.with({ store }))).toEqual(told('notification', 'warehouse'))
  expect(receivers(notification.with({ store, handlers: [send] }))).toEqual(told('warehouse'))
})

describe('over a transport to a single context', () => {
  test('public events are refused, sent or received', () => {
    expect(() => compose([publishing], queue())).toThrow(
      refused(/shop\.placed\.v1 of 'ordering' cannot go over queue: an event is published, not sent to a queue/),
    )
    expect(() => compose([notification.with({ store })], queue({ ordering: [PlacedV1] }))).toThrow(
      refused(/shop\.placed\.v1.*an event is published, not sent to a queue/),
    )
    const route = routes(carrying('many')(), { stream: 'placed', events: [PlacedV1], over: queue() })
    expect(() => compose([publishing], route)).toThrow(refused(/not sent to a queue/))
  })

  test('messages to two contexts of one stream are refused', () => {
    expect(() => compose([sending(SendSms, Reserve)], queue())).toThrow(
      refused(/the stream 'public' of 'ordering' goes over queue to one context.*'notification' and 'warehouse'/),
    )
    compose(
      [sending(SendSms, Reserve)],
      routes(queue(), { stream: 'reserve', events: [Reserve], over: carrying('one', 'other')() }),
    )
  })

  test('messages go, beside events over another', () => {
    compose([publishing], routes(topic(), { stream: 'sms', events: [SendSms], over: queue() }))
    compose([notification.with({ store, handlers: [send] })], queue({ ordering: [SendSms, SendLetter] }))
  })
})

describe('over a transport to others', () => {
  test('nothing is received', () => {
    expect(() => compose([notification.with({ store })], topic({ ordering: [PlacedV1] }))).toThrow(
      refused(/nothing is received over topic/),
    )
  })

  test('a message is refused, unless it is handled here', () => {
    expect(() => compose([publishing], topic())).toThrow(
      refused(/notification\.send-sms of 'ordering' cannot go over topic.*sent to 'notification'/),
    )
    compose([publishing, notification.with({ store, handlers: [send] })], topic())
  })
})
