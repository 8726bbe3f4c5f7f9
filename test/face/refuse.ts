/** Each statement below must not compile. */

import { defineContext, defineEvent, type Store } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { z } from 'zod'
import {
  charge,
  type createShop,
  OrderPlaced,
  OrderPlacedV1,
  openShipment,
  orderList,
  ordering,
  PlaceOrder,
  shipping,
} from './shop.ts'

const Foreign = defineEvent('x.foreign', { schema: z.object({ x: z.string() }), key: (o) => o.x })
declare const app: ReturnType<typeof createShop>
declare const pgStore: Store<{ query(): void }>

export const refusals = async () => {
  const o = app.context(ordering)
  // @ts-expect-error tx in a handler with external effects
  ordering.on(OrderPlaced, 'e', ({ data }, { tx }) => tx.run('x'), { effects: 'external' })
  // @ts-expect-error another context's private event
  ordering.on(Foreign, 'f', () => 0)
  // @ts-expect-error consuming a private event
  shipping.consume(OrderPlaced, 'g', () => 0)
  // @ts-expect-error a private field read from a public event
  shipping.consume(OrderPlacedV1, 'h', ({ data }) => data.card)
  // @ts-expect-error a filter by what the event does not declare
  shipping.consume(OrderPlacedV1, 'l', () => 0, { filter: { country: ['KR'] } })
  // @ts-expect-error a wrong payload
  await o.transaction(({ raise }) => raise(OrderPlaced, { orderId: 1, total: 1, card: '' }))
  // @ts-expect-error raising another context's event
  await o.transaction(({ raise }) => raise(Foreign, { x: '' }))
  // @ts-expect-error raising a public event
  await o.transaction(({ raise }) => raise(OrderPlacedV1, { orderId: '', total: 1 }))
  // @ts-expect-error tx after commit
  ordering.on(OrderPlaced, 'i', ({ data }, { tx }) => tx, { phase: 'after-commit' })
  // @ts-expect-error a retry on a before-commit handler
  ordering.on(OrderPlaced, 'j', () => 0, { phase: 'before-commit', retry: { attempts: 1, first: 1, max: 1 } })
  // @ts-expect-error the sequence of an event that is not appended yet
  ordering.on(OrderPlaced, 'k', ({ sequence }) => sequence, { phase: 'before-commit' })
  // @ts-expect-error a handler of another context
  shipping.with({ store: sqlite('x'), handlers: [orderList] })
  // @ts-expect-error a store of another kind
  shipping.with({ store: pgStore, handlers: [] })
  // @ts-expect-error a payload that is not JSON
  defineEvent('ordering.d', { schema: z.object({ at: z.date() }), key: () => 'x' })
  // @ts-expect-error another context's event among the events
  defineContext('ordering', { store: sqlite, events: [Foreign] })
  // @ts-expect-error a wrong command payload
  await app.send(PlaceOrder, { orderId: 1, total: 1, card: '' })
  // @ts-expect-error a refusal that is not declared
  ordering.handle(PlaceOrder, (_, { refuse }) => refuse('other', { limit: 1 }))
  // @ts-expect-error an idle connection pool in place of a transaction
  await o.join({ query: () => 0 }, () => 0)
  const placed = await app.send(PlaceOrder, { orderId: '1', total: 9, card: 'x' })
  if (!placed.ok) {
    // @ts-expect-error a detail that the refusal does not have
    console.log(placed.refusal.detail.other)
  }
  return [charge, openShipment]
}
