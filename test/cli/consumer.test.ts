/** Operating consumers from the command line while the app runs in another process on the same files. */

import { expect, test } from 'vitest'
import { counted, operatedFolder } from '../support/cli.ts'
import { realOrders } from '../support/operated-shop.ts'

const orders = realOrders(12)
const appliedBy = (consumer: string) => `select count(*) from applied where consumer = '${consumer}'`
const operatorEvents = "select type, key, data from pabal_ordering_event where type like 'pabal.%' order by position"

test('a paused consumer stops in the running app, and goes on when it is resumed', async () => {
  const shop = await operatedFolder()
  const app = await shop.start()
  app.place(orders.slice(0, 4))
  await counted(shop, 'ordering', appliedBy('order-list'), 4)

  const paused = await shop.pabal(['consumer', 'pause', 'order-list', '--by', 'kim', '--reason', 'stocktaking'])
  expect(paused).toMatchObject({ code: 0, err: '' })
  app.place(orders.slice(4, 8))
  await counted(shop, 'shipping', appliedBy('open-shipment'), 8)
  await counted(shop, 'ordering', appliedBy('order-list'), 4)
  const status = (await shop.pabal(['status', '-o', 'json'])).json<{
    concerns: unknown[]
    contexts: { consumers: unknown[] }[]
  }>()
  expect(status.contexts[0]!.consumers).toContainEqual(
    expect.objectContaining({
      consumer: 'order-list',
      title: '주문 목록',
      state: 'paused',
      reason: 'stocktaking',
      lagEvents: 4,
    }),
  )
  expect(status.concerns).toContainEqual(
    expect.objectContaining({ level: 'problem', title: 'paused', consumer: 'order-list' }),
  )
  expect((await shop.pabal(['status', '--check'])).code).toBe(4)

  expect((await shop.pabal(['consumer', 'resume', 'order-list', '--by', 'lee'])).code).toBe(0)
  await counted(shop, 'ordering', appliedBy('order-list'), 8)
  expect((await shop.pabal(['status', '--check'])).code).toBe(0)
  const recorded = shop.rows<{ type: string; key: string; data: string }>('ordering', operatorEvents)
  expect(recorded.map(({ type, key, data }) => ({ type, key, data: JSON.parse(data) as unknown }))).toEqual([
    {
      type: 'pabal.consumer-paused',
      key: 'pabal:consumer:order-list',
      data: { by: 'kim', reason: 'stocktaking', consumer: 'order-list' },
    },
    { type: 'pabal.consumer-resumed', key: 'pabal:consumer:order-list', data: { by: 'lee', consumer: 'order-list' } },
  ])
})

test('pausing what is paused changes nothing and records nothing', async () => {
  const shop = await operatedFolder()
  await (await shop.start()).stop()
  expect((await shop.pabal(['consumer', 'pause', 'charge', '-o', 'json'])).json()).toMatchObject({ changed: true })
  expect((await shop.pabal(['consumer', 'pause', 'charge', '-o', 'json'])).json()).toMatchObject({ changed: false })
  expect((await shop.pabal(['consumer', 'resume', 'charge', '-o', 'json'])).json()).toMatchObject({ changed: true })
  expect((await shop.pabal(['consumer', 'resume', 'charge', '-o', 'json'])).json()).toMatchObject({ changed: false })
  expect(shop.rows('ordering', operatorEvents)).toHaveLength(2)
})

test('a reset tells how many events will be handled again, and the idle app does it', async () => {
  const shop = await operatedFolder()
  const app = await shop.start()
  app.place(orders)
  await counted(shop, 'ordering', appliedBy('order-list'), 12)
  await app.stop()

  const before = shop.dump()
  const planned = await shop.pabal(['consumer', 'reset', 'order-list', '--to', 'position', '-o', 'json'])
  expect(planned).toMatchObject({ code: 2 })
  const plan = await shop.pabal(['consumer', 'reset', 'order-list', '--to', 'beginning'])
  expect(plan).toMatchObject({ code: 2 })
  expect(plan.out).toContain('12 events would be handled again')
  expect(plan.err).toContain('pabal consumer reset ordering/order-list --to beginning --expect 12 --yes')
  expect(plan.err).toContain('PABAL_CONFIRMATION_NEEDED: nothing was changed')
  expect(shop.dump()).toEqual(before)

  const idle = await shop.start()
  idle.place([{ ...orders[0]!, orderId: 'other' }])
  await counted(shop, 'ordering', appliedBy('order-list'), 13)
  expect(
    await shop.pabal(['consumer', 'reset', 'order-list', '--to', 'beginning', '--expect', '12', '--yes']),
  ).toMatchObject({
    code: 2,
    err: expect.stringContaining('PABAL_PLAN_CHANGED'),
  })
  expect(
    (await shop.pabal(['consumer', 'reset', 'order-list', '--to', 'beginning', '--expect', '13', '--yes'])).code,
  ).toBe(0)
  await counted(shop, 'ordering', appliedBy('order-list'), 26)
})

test('a consumer of another context is reset too, and its inbox with it', async () => {
  const shop = await operatedFolder()
  const app = await shop.start()
  app.place(orders)
  await counted(shop, 'shipping', appliedBy('open-shipment'), 12)
  const plan = await shop.pabal(['consumer', 'reset', 'shipping/open-shipment', '--to', '6', '-o', 'json'])
  expect(plan.json()).toMatchObject({
    confirmed: false,
    plan: { again: 6, leftOut: 0, sources: [{ source: 'ordering', to: 6 }] },
  })
  expect((await shop.pabal(['consumer', 'reset', 'open-shipment', '--to', '6', '--yes'])).code).toBe(0)
  await counted(shop, 'shipping', appliedBy('open-shipment'), 18)
})

test('a handler with external effects does not go back, and may go on', async () => {
  const shop = await operatedFolder()
  const app = await shop.start()
  app.place(orders)
  await counted(shop, 'ordering', "select count(*) from pabal_ordering_event where type = 'ordering.order-charged'", 12)
  await app.stop()
  const refused = await shop.pabal(['consumer', 'reset', 'charge', '--to', 'beginning', '--yes'])
  expect(refused).toMatchObject({ code: 2, err: expect.stringContaining('PABAL_CONSUMER_NOT_RESETTABLE') })
  const on = await shop.pabal(['consumer', 'reset', 'charge', '--to', 'now', '--yes', '-o', 'json'])
  expect(on.json()).toMatchObject({ again: 0, leftOut: 0 })
})

test('a reset on leaves events out, and says how many', async () => {
  const shop = await operatedFolder()
  const app = await shop.start()
  await shop.pabal(['consumer', 'pause', 'order-list'])
  app.place(orders)
  await counted(shop, 'shipping', appliedBy('open-shipment'), 12)
  const plan = await shop.pabal(['consumer', 'reset', 'order-list', '--to', 'now'])
  expect(plan.out).toContain('12 events would never be handled')
  expect((await shop.pabal(['consumer', 'reset', 'order-list', '--to', 'now', '--yes'])).code).toBe(0)
  await shop.pabal(['consumer', 'resume', 'order-list'])
  app.place([{ ...orders[0]!, orderId: 'after' }])
  await counted(shop, 'ordering', appliedBy('order-list'), 1)
})

test('a renamed handler takes over the cursor of its old name, also where the producer keeps events for it', async () => {
  const shop = await operatedFolder()
  const app = await shop.start()
  app.place(orders)
  await counted(shop, 'shipping', appliedBy('open-shipment'), 12)
  await app.stop()
  shop.configureShop({ renamed: { 'open-shipment': 'ship' } })

  const doctor = await shop.pabal(['doctor', '-o', 'json'])
  expect(doctor.json<{ findings: unknown[] }>().findings).toContainEqual(
    expect.objectContaining({ level: 'warning', title: 'no handler', consumer: 'open-shipment' }),
  )
  expect((await shop.pabal(['consumer', 'rename', 'open-shipment', 'ship'])).code).toBe(2)
  expect((await shop.pabal(['consumer', 'rename', 'open-shipment', 'ship', '--yes'])).code).toBe(0)
  expect(shop.rows('ordering', 'select name from pabal_ordering_reader')).toEqual([{ name: 'shipping/ship' }])
  expect((await shop.pabal(['doctor'])).code).toBe(0)

  const renamed = await shop.start({ renamed: { 'open-shipment': 'ship' } })
  renamed.place([{ ...orders[0]!, orderId: 'after' }])
  await counted(shop, 'shipping', appliedBy('open-shipment'), 13)
  await renamed.stop()
  expect(await shop.pabal(['consumer', 'rename', 'order-list', 'charge', '--yes'])).toMatchObject({
    code: 2,
    err: expect.stringContaining('PABAL_CONSUMER_NAME_TAKEN'),
  })
})

test('only a consumer without a handler is removed, after its plan', async () => {
  const shop = await operatedFolder()
  const app = await shop.start()
  app.place(orders)
  await counted(shop, 'ordering', appliedBy('order-list'), 12)
  await app.stop()
  expect(await shop.pabal(['consumer', 'remove', 'order-list', '--yes'])).toMatchObject({
    code: 2,
    err: expect.stringContaining('has a handler in this app'),
  })
  shop.configureShop({ without: ['order-list'] })
  const before = shop.dump()
  const plan = await shop.pabal(['consumer', 'remove', 'order-list'])
  expect(plan).toMatchObject({ code: 2, out: expect.stringContaining('would forget ordering/order-list for good') })
  expect(shop.dump()).toEqual(before)
  expect((await shop.pabal(['consumer', 'remove', 'order-list', '--yes'])).code).toBe(0)
  const list = (await shop.pabal(['consumer', 'list', '-o', 'jsonl'])).rows<{ consumer: string }>()
  expect(list.map(({ consumer }) => consumer)).toEqual(['charge', 'open-shipment'])
})

test('a consumer is named by its context where two have the name, and those that there are are told', async () => {
  const shop = await operatedFolder()
  await (await shop.start()).stop()
  const unknown = await shop.pabal(['consumer', 'pause', 'chrage'])
  expect(unknown).toMatchObject({ code: 2, out: '' })
  expect(unknown.err).toContain('PABAL_CONSUMER_UNKNOWN')
  expect(unknown.err).toContain('ordering/charge')
  expect((await shop.pabal(['consumer', 'pause', 'ordering/charge'])).code).toBe(0)
  expect((await shop.pabal(['consumer', 'pause', 'nowhere/charge'])).err).toContain('PABAL_USAGE')
})
