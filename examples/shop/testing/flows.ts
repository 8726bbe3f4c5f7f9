/** What the shop promises its customers, on whatever database. */

import { findDead, listDead, listEvents, operate, retryOne } from 'pabal/operate'
import { describe, expect, it } from 'vitest'
import { eventually } from '../../../test/support/eventually.ts'
import type { Shop } from '../app.ts'
import { CancelOrder, ChangeAddress } from '../contracts/ordering.ts'
import { collectFigures } from '../figures.ts'
import { ordering } from '../ordering/context.ts'
import { listOrders } from '../ordering/queries.ts'
import { giveBack, type Ground, line, place } from './test-shop.ts'
import { warehouse } from '../warehouse/context.ts'

/** What happened to a key in one context, in order. */
async function eventsOf({ app }: Shop, context: string, key: string): Promise<string[]> {
  const events = await listEvents(await operate(app), { context, key }, { after: 0, limit: 100 })
  return events.map(({ type }) => type)
}

const stockOf = ({ app }: Shop) =>
  app.context(warehouse).read(({ tx }) => tx.selectFrom('stock').selectAll().orderBy('stock_code').execute())

async function statusOf({ app }: Shop, orderId: string): Promise<string | undefined> {
  const orders = await app.context(ordering).read(({ tx }) => listOrders(tx, { limit: 100 }))
  return orders.find(({ invoice }) => invoice === orderId)?.status
}

export function describeFlows(newGround: () => Promise<Ground>): void {
  const open: Ground['open'] = async (options) => (await newGround()).open(options)

  describe('an order', () => {
    it('is paid, taken from the shelf, shipped, told and reported', async () => {
      const shop = await open()
      await place(shop, '1', line('a', 2, 300), line('b', 1, 50))
      await shop.app.settle()
      expect(await statusOf(shop, '1')).toBe('shipped')
      expect(await collectFigures(shop)).toMatchObject({
        orders: 1,
        units: 3,
        revenuePence: 650,
        shipped: 1,
        notifications: 1,
      })
      expect(await stockOf(shop)).toMatchObject([
        { stock_code: 'a', on_hand: 0, bought_in: 2, allocated: 2 },
        { stock_code: 'b', on_hand: 0, bought_in: 1, allocated: 1 },
      ])
    })

    it('is cancelled and its stock released when it is over 5,000.00, and shipped when it is exactly that', async () => {
      const shop = await open()
      await place(shop, '1', line('a', 1, 500_000))
      await place(shop, '2', line('a', 1, 500_001))
      await shop.app.settle()
      expect([await statusOf(shop, '1'), await statusOf(shop, '2')]).toEqual(['shipped', 'declined'])
      expect(await collectFigures(shop)).toMatchObject({ declined: 1, shipped: 1, refundedPence: 0, notifications: 2 })
      expect(await stockOf(shop)).toMatchObject([{ on_hand: 1, bought_in: 2, allocated: 2, released: 1 }])
    })

    it('is placed once under its number', async () => {
      const shop = await open()
      await place(shop, '1', line('a', 1, 100))
      await place(shop, '1', line('a', 1, 100))
      await shop.app.settle()
      expect(await collectFigures(shop)).toMatchObject({ orders: 1, revenuePence: 100 })
    })
  })

  describe('a cancelled order', () => {
    it('is refunded once, its stock released and its shipment recalled, less what was returned before', async () => {
      const shop = await open()
      await place(shop, '1', line('a', 5, 100))
      await giveBack(shop, 'C1', 'a', 2)
      await shop.app.settle()
      expect(await shop.app.send(CancelOrder, { orderId: '1' })).toEqual({ ok: true })
      await shop.app.settle()
      expect(await shop.app.send(CancelOrder, { orderId: '1' })).toMatchObject({
        refusal: { code: 'already-cancelled' },
      })
      await shop.app.settle()
      expect(await collectFigures(shop)).toMatchObject({ refundedPence: 500, shipped: 1 })
      expect(await stockOf(shop)).toMatchObject([{ on_hand: 5, bought_in: 5, allocated: 5, released: 3, restocked: 2 }])
      expect(await eventsOf(shop, 'payment', '1')).toEqual(['payment.payment-accepted', 'payment.payment-refunded'])
      expect(await eventsOf(shop, 'delivery', '1')).toEqual(['delivery.order-shipped', 'delivery.shipment-recalled'])
    })

    it('has no lines left that a later return could take from', async () => {
      const shop = await open()
      await place(shop, '1', line('a', 5, 100))
      await shop.app.send(CancelOrder, { orderId: '1' })
      await giveBack(shop, 'C1', 'a', 1)
      await shop.app.settle()
      expect(await collectFigures(shop)).toMatchObject({ refundedPence: 500, returnsUnmatched: 1 })
    })

    it('is refunded when the cancellation comes before the payment, and not when it is declined', async () => {
      const shop = await open()
      await shop.app.context(ordering).transaction(async () => {
        for (const [orderId, pence] of [
          ['1', 100],
          ['2', 500_001],
        ] as const) {
          await place(shop, orderId, line('a', 1, pence))
          await shop.app.send(CancelOrder, { orderId })
        }
      })
      await shop.app.settle()
      expect(await collectFigures(shop)).toMatchObject({ refundedPence: 100 })
      expect([await statusOf(shop, '1'), await statusOf(shop, '2')]).toEqual(['cancelled', 'cancelled'])
      expect(await stockOf(shop)).toMatchObject([{ on_hand: 1, bought_in: 1, allocated: 2, released: 2 }])
    })

    it('must exist', async () => {
      const shop = await open()
      expect(await shop.app.send(CancelOrder, { orderId: '1' })).toMatchObject({ refusal: { code: 'unknown-order' } })
    })
  })

  describe('an order that fails in one handler', () => {
    it('parks alone, and goes on in order when it is retried', async () => {
      const ground = await newGround()
      const failing = await ground.open({ failKey: '2' })
      for (const orderId of ['1', '2', '3']) await place(failing, orderId, line('a', 1, 100))
      await failing.app.settle()
      expect(await collectFigures(failing)).toMatchObject({ orders: 3, shipped: 2, notifications: 2, deadLetters: 1 })

      // Its cancellation waits behind it: nothing is recalled that has not been shipped.
      await failing.app.send(CancelOrder, { orderId: '2' })
      await failing.app.settle()
      const [dead] = await listDead(await operate(failing.app), {}, 10)
      expect(dead).toMatchObject({ consumer: 'ship-order', key: '2', waiting: 1 })
      expect(await eventsOf(failing, 'delivery', '2')).toEqual([])
      await failing[Symbol.asyncDispose]()

      const healed = await ground.open()
      await healed.app.settle()
      expect(await collectFigures(healed)).toMatchObject({ shipped: 2, deadLetters: 1 })
      const operated = await operate(healed.app)
      await retryOne(operated, await findDead(operated, dead!.id, {}), { by: 'test' })
      await healed.app.settle()
      expect(await collectFigures(healed)).toMatchObject({ shipped: 3, notifications: 3, deadLetters: 0 })
      expect(await eventsOf(healed, 'delivery', '2')).toEqual(['delivery.order-shipped', 'delivery.shipment-recalled'])
    })
  })

  describe('a changed delivery address', { timeout: 120_000 }, () => {
    it('is the last one at a delivery service that is slow, fails and is killed', async () => {
      const shop = await open({ deliveryLatencyMs: 5, deliveryFailRate: 0.3 })
      const orderIds = ['1', '2', '3', '4', '5', '6']
      for (const orderId of orderIds) await place(shop, orderId, line('a', 1, 100))
      for (let n = 1; n <= 8; n++) {
        for (const orderId of orderIds)
          await shop.app.send(ChangeAddress, { orderId, address: `${n} High Street, flat ${orderId}` })
        if (n % 3 !== 0) continue
        await eventually('the delivery service runs', () => shop.deliveryProcess.pid !== undefined)
        process.kill(shop.deliveryProcess.pid!, 'SIGKILL')
      }
      await shop.app.settle({ withinMs: 90_000 })
      for (const orderId of orderIds) {
        const address = `8 High Street, flat ${orderId}`
        expect(await shop.addressService.get(orderId)).toMatchObject({ address })
        expect(await eventsOf(shop, 'delivery', orderId)).toHaveLength(1 + 8)
      }
      expect(await collectFigures(shop)).toMatchObject({ deadLetters: 0 })
    })

    it('needs an order that is not cancelled', async () => {
      const shop = await open()
      const change = () => shop.app.send(ChangeAddress, { orderId: '1', address: '1 High Street' })
      expect(await change()).toMatchObject({ refusal: { code: 'unknown-order' } })
      await place(shop, '1', line('a', 1, 100))
      await shop.app.send(CancelOrder, { orderId: '1' })
      expect(await change()).toMatchObject({ refusal: { code: 'order-cancelled' } })
    })
  })
}
