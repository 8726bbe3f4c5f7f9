/** Messages between contexts: in one process, in two, over a transport, and from one to the other: handled once, in the order of each key. */

import {
  type CarriedOptions,
  defineContext,
  defineMessage,
  type Exchange,
  inProcess,
  over,
  routes,
  sharedStore,
} from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { kind, nasty, NastyBroker } from 'pabal/testing'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { eventually } from '../../test/support/eventually.ts'
import { testFolder } from '../../test/support/folder.ts'
import { enter, ledgerOf, logOf, parkedIn, prepareLedger, testApp } from '../../test/support/shop.ts'
import {
  expectAllHandled,
  fileOf,
  handled,
  notification,
  ordering,
  receiver,
  reporting,
  send,
  sender,
  senders,
  sentInAll,
  SendSms,
  wholesale,
} from '../../test/support/sms.ts'

const broker = (options: Partial<ConstructorParameters<typeof NastyBroker>[0]> = {}) =>
  new NastyBroker({ random: Math.random, faults: nasty, ...options })
const fromAll = { ordering: [SendSms], wholesale: [SendSms] }

/** Once the brokers are kind again, so that the last try of a key is not long in coming. */
const allHandled = async (folder: string, by = senders, brokers: readonly NastyBroker[] = []): Promise<void> => {
  for (const each of brokers) each.faults = kind
  await eventually('all are handled', () => handled(folder) >= sentInAll(folder, by), 50_000).catch(() => {})
  expectAllHandled(folder, by)
}

test('in one process: those of others and those of its own, by one handler', async () => {
  const folder = await testFolder()
  const app = testApp([...senders.map((each) => sender(folder, each)), receiver(folder)])
  for (const each of senders) await send(app, each, 0, 30)
  await app.context(notification).transaction(({ post }) => post(SendSms, { to: 'k1', n: 1 }))
  await app.settle({ withinMs: 10_000 })
  const own = ledgerOf(fileOf(folder, 'notification'), 'notification')
  expect(own.map(({ event_id }) => event_id)).toEqual(
    logOf(fileOf(folder, 'notification'), 'notification').map(({ id }) => id),
  )
  expect(handled(folder)).toBe(sentInAll(folder) + 1)
  for (const each of senders) expect(ledgerOf(fileOf(folder, 'notification'), each.name)).toHaveLength(23)
})

test('one keeps id, key, time and cause, and none of the metadata', async () => {
  const folder = await testFolder()
  const Sending = defineContext('ordering', {
    store: sqlite,
    events: [],
    sends: [SendSms],
    metadata: z.object({ actor: z.string() }),
  })
  const seen: unknown[] = []
  const app = testApp([
    Sending.with({ store: sqlite(fileOf(folder, 'ordering')) }),
    notification.with({
      store: sqlite(fileOf(folder, 'notification')),
      handlers: [notification.on(SendSms, 'see', (event) => void seen.push(event))],
    }),
  ])
  const metadata = { actor: 'mina' }
  await app.context(Sending).transaction(({ post }) => post(SendSms, { to: 'a', n: 1 }), { metadata })
  await app.settle({ withinMs: 10_000 })
  const [row] = logOf(fileOf(folder, 'ordering'))
  expect(seen).toMatchObject([
    { id: row!.id, key: 'a', sequence: 1, source: 'ordering', type: SendSms.type, data: { to: 'a', n: 1 } },
  ])
  expect(seen).toMatchObject([{ correlationId: row!.id, metadata: undefined }])
})

test('in processes of their own on one machine', async () => {
  const folder = await testFolder()
  const apps = senders.map((each) => testApp([sender(folder, each)]))
  const exchange = sharedStore(...senders.map((each) => sender(folder, each)))
  const receiving = testApp([receiver(folder)], { exchange })
  await receiving.start()
  for (const [at, each] of senders.entries()) await send(apps[at]!, each, 0, 30)
  await allHandled(folder)
})

test.each([true, false])(
  'over a nasty transport, in the stream of public events, which lose nothing by it (ordered: %s)',
  { timeout: 60_000 },
  async (ordered) => {
    const folder = await testFolder()
    const nastyOne = broker({ traits: { ordered } })
    const { transport } = nastyOne
    const apps = senders.map((each) => testApp([sender(folder, each)], { exchange: over(transport) }))
    const receiving = testApp([receiver(folder)], { exchange: over(transport, { from: fromAll }) })
    const events = { ordering: [ordering.PlacedV1], wholesale: [wholesale.PlacedV1] }
    const listening = testApp(
      [
        reporting.with({
          store: sqlite(fileOf(folder, 'reporting')),
          prepare: prepareLedger,
          handlers: [
            reporting.consume([ordering.PlacedV1, wholesale.PlacedV1], 'report', (event, { tx }) =>
              enter(tx, 'report', event),
            ),
          ],
        }),
      ],
      { exchange: over(transport, { from: events }) },
    )
    await Promise.all([...apps, receiving, listening].map((app) => app.start()))
    await Promise.all(senders.map((each, at) => send(apps[at]!, each, 0, 120)))
    await allHandled(folder, senders, [nastyOne])
    await eventually('all is reported', () => ledgerOf(fileOf(folder, 'reporting')).length === sentInAll(folder))
  },
)

/** Messages over a queue of their own; events over another transport. */
const apart = (main: NastyBroker, queue: NastyBroker, from: CarriedOptions['from'] = {}): Exchange =>
  routes(over(main.transport, { name: 'main' }), {
    stream: 'sms',
    events: [SendSms],
    over: over(queue.transport, { name: 'queue', from }),
  })

test('over a nasty queue, beside events over another transport', { timeout: 60_000 }, async () => {
  const folder = await testFolder()
  const [main, queue] = [broker(), broker({ traits: { subscribers: 'one' } })]
  const apps = senders.map((each) => testApp([sender(folder, each)], { exchange: apart(main, queue) }))
  const receiving = testApp([receiver(folder)], { exchange: apart(main, queue, fromAll) })
  await Promise.all([...apps, receiving].map((app) => app.start()))
  await Promise.all(senders.map((each, at) => send(apps[at]!, each, 0, 120)))
  await allHandled(folder, senders, [main, queue])
})

test('moved out, from the monolith to a queue, while a backlog waits: each once', { timeout: 60_000 }, async () => {
  const folder = await testFolder()
  const [main, queue] = [broker(), broker({ traits: { subscribers: 'one' } })]
  const monolith = testApp([sender(folder, ordering), receiver(folder)], { exchange: apart(main, queue) })
  await send(monolith, ordering, 0, 40)
  await monolith.settle({ withinMs: 20_000 })
  // Read here, so that nothing goes into a queue that nobody empties.
  const { subscriptions } = await monolith['~pabal'].open()
  expect(subscriptions.map(({ name }) => name).filter((name) => name.startsWith('relay'))).toEqual(['relay-main'])
  await send(monolith, ordering, 40, 60)
  await monolith.stop()
  const [sending, receiving] = [
    testApp([sender(folder, ordering)], { exchange: apart(main, queue) }),
    testApp([receiver(folder)], { exchange: apart(main, queue, { ordering: [SendSms] }) }),
  ]
  await Promise.all([sending.start(), receiving.start()])
  await send(sending, ordering, 60, 100)
  await allHandled(folder, [ordering], [main, queue])
})

test('one sender in this process, another over a transport', { timeout: 60_000 }, async () => {
  const folder = await testFolder()
  const queue = broker({ traits: { subscribers: 'one' } })
  const away = testApp([sender(folder, wholesale)], { exchange: apart(broker(), queue) })
  const here = testApp([sender(folder, ordering), receiver(folder)], {
    exchange: apart(broker(), queue, { wholesale: [SendSms] }),
  })
  await Promise.all([away, here].map((app) => app.start()))
  await Promise.all([send(here, ordering, 0, 40), send(away, wholesale, 0, 40)])
  await allHandled(folder, senders, [queue])
})

test('a sender that comes later holds up nobody, and what others have sent is not its own', async () => {
  const folder = await testFolder()
  const queue = broker({ traits: { subscribers: 'one' }, faults: kind })
  const texts: string[] = []
  // It does not say where it starts: nothing was there for it.
  const call = notification.on(SendSms, 'send-sms', ({ source, data }) => texts.push(`${source} ${data.n}`), {
    effects: 'external',
  })
  const receiving = async (from: CarriedOptions['from']) => {
    const context = notification.with({ store: sqlite(fileOf(folder, 'notification')), handlers: [call] })
    const app = testApp([context], { exchange: apart(broker(), queue, from) })
    await app.start()
    return app
  }
  const apps = senders.map((each) => testApp([sender(folder, each)], { exchange: apart(broker(), queue) }))
  const before = await receiving({ ordering: [SendSms] })
  await apps[0]!.start()
  await send(apps[0]!, ordering, 0, 3)
  await eventually('the first have come', () => texts.length === 3)
  await before.stop()
  const after = await receiving(fromAll)
  const { subscriptions } = await after['~pabal'].open()
  const handed = await Promise.all(subscriptions.map(async ({ source }) => [source.name, await source.count(0)]))
  expect(handed).toEqual([
    ['notification', 0],
    ['received/ordering__sms', 3],
    ['received/wholesale__sms', 0],
  ])
  await apps[1]!.start()
  await send(apps[1]!, wholesale, 0, 3)
  await eventually('the second have come', () => texts.length === 6)
})

test('what is lost on its way is read in the log of who has sent it', { timeout: 60_000 }, async () => {
  const folder = await testFolder()
  const lossy = broker({
    traits: { subscribers: 'one', delivery: 'at-most-once' },
    faults: { ...kind, lost: 0.5 },
  })
  const queue = (options = {}): Exchange =>
    routes(inProcess(), { stream: 'sms', events: [SendSms], over: over(lossy.transport, options) })
  const sending = testApp([sender(folder, ordering)], { exchange: queue() })
  const receiving = testApp([receiver(folder)], {
    exchange: queue({ from: { ordering: [SendSms] }, origins: [sender(folder, ordering)] }),
  })
  await Promise.all([sending, receiving].map((app) => app.start()))
  await send(sending, ordering, 0, 60)
  await sending.settle({ withinMs: 20_000 })
  await receiving.settle({ withinMs: 20_000 })
  expectAllHandled(folder, [ordering])
})

test('a sender that is older is understood, one that is younger parks the key', { timeout: 60_000 }, async () => {
  const folder = await testFolder()
  const { transport } = broker({ faults: kind })
  const v1 = defineMessage('notification.greet', { schema: z.object({ name: z.string() }), key: ({ name }) => name })
  const schema = z.object({ name: z.string(), polite: z.boolean() })
  const upcast = { 1: (data: never) => ({ ...(data as object), polite: true }) }
  const v2 = defineMessage('notification.greet', { schema, version: 2, upcast, key: ({ name }) => name })
  const greeted: unknown[] = []
  const sending = (message: typeof v1 | typeof v2) => {
    const context = defineContext('ordering', { store: sqlite, events: [], sends: [message] })
    return {
      context,
      app: testApp([context.with({ store: sqlite(fileOf(folder, 'ordering')) })], { exchange: over(transport) }),
    }
  }
  const receiving = (message: typeof v1 | typeof v2) => {
    const context = defineContext('notification', { store: sqlite, events: [], messages: [message] })
    const greet = context.on(message, 'greet', ({ data }) => void greeted.push(data), { retry: 'none' })
    const exchange = over(transport, { from: { ordering: [message] } })
    return testApp([context.with({ store: sqlite(fileOf(folder, 'notification')), handlers: [greet] })], { exchange })
  }
  const [older, receiver2] = [sending(v1), receiving(v2)]
  await Promise.all([older.app, receiver2].map((app) => app.start()))
  await older.app.context(older.context).transaction(({ post }) => post(v1, { name: 'a' }))
  await eventually('it is handled', () => greeted.length === 1)
  expect(greeted).toEqual([{ name: 'a', polite: true }])
  await Promise.all([older.app.stop(), receiver2.stop()])

  const [younger, receiver1] = [sending(v2), receiving(v1)]
  await Promise.all([younger.app, receiver1].map((app) => app.start()))
  await younger.app.context(younger.context).transaction(({ post }) => post(v2, { name: 'b', polite: false }))
  const parked = () => parkedIn(fileOf(folder, 'notification'), 'notification')
  await eventually('it is parked', () => parked().length === 1)
  expect(parked()).toMatchObject([{ key: 'b', error: expect.stringContaining('PABAL_UNKNOWN_EVENT_VERSION') }])
})
