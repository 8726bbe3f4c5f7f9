/** What the warehouse does about orders, cancellations and returns. */

import type { Kysely } from 'kysely'
import { OrderCancelledV1, OrderPlacedV1, ReturnAcceptedV1 } from '../contracts/ordering.ts'
import { inChunks } from '../in-chunks.ts'
import { retry } from '../retry.ts'
import { warehouse } from './context.ts'
import { GoodsRestocked, StockAllocated, StockReleased } from './events.ts'
import type { WarehouseTables } from './tables.ts'

interface Goods {
  readonly stockCode: string
  readonly quantity: number
}

/**
 * One cursor over all three, so that nothing is put back before it was taken. One lane: orders share their goods, and lanes that
 * take the same goods in another order would wait for each other.
 */
export const keepStock = warehouse.consume(
  [OrderPlacedV1, OrderCancelledV1, ReturnAcceptedV1],
  'keep-stock',
  async ({ type, data }, { tx, raise }) => {
    const { byCode, units } = added(data.lines)
    if (units === 0) return
    if (type === 'shop.order-placed.v1') {
      await allocate(tx, byCode)
      raise(StockAllocated, { orderId: data.orderId, units })
    } else if (type === 'shop.order-cancelled.v1') {
      await putBack(tx, byCode, 'released')
      raise(StockReleased, { orderId: data.orderId, units })
    } else {
      await putBack(tx, byCode, 'restocked')
      raise(GoodsRestocked, { returnId: data.returnId, units })
    }
  },
  { retry, lanes: 1 },
)

/** A code may stand on several lines; one statement must not name a row twice. */
function added(lines: readonly Goods[]): { byCode: Goods[]; units: number } {
  const quantities = new Map<string, number>()
  let units = 0
  for (const { stockCode, quantity } of lines) {
    quantities.set(stockCode, (quantities.get(stockCode) ?? 0) + quantity)
    units += quantity
  }
  return { byCode: Array.from(quantities, ([stockCode, quantity]) => ({ stockCode, quantity })), units }
}

const emptyRow = { on_hand: 0, bought_in: 0, allocated: 0, released: 0, restocked: 0 }

/** Takes goods off the shelf; what is not there is bought in first. */
async function allocate(tx: Kysely<WarehouseTables>, goods: readonly Goods[]): Promise<void> {
  for (const chunk of inChunks(goods))
    await tx
      .insertInto('stock')
      .values(
        chunk.map(({ stockCode, quantity }) => ({
          ...emptyRow,
          stock_code: stockCode,
          bought_in: quantity,
          allocated: quantity,
        })),
      )
      .onConflict((conflict) =>
        conflict.column('stock_code').doUpdateSet((eb) => ({
          bought_in: eb
            .case()
            .when('stock.on_hand', '<', eb.ref('excluded.allocated'))
            .then(eb('stock.bought_in', '+', eb('excluded.allocated', '-', eb.ref('stock.on_hand'))))
            .else(eb.ref('stock.bought_in'))
            .end(),
          on_hand: eb
            .case()
            .when('stock.on_hand', '<', eb.ref('excluded.allocated'))
            .then(0)
            .else(eb('stock.on_hand', '-', eb.ref('excluded.allocated')))
            .end(),
          allocated: eb('stock.allocated', '+', eb.ref('excluded.allocated')),
        })),
      )
      .execute()
}

async function putBack(
  tx: Kysely<WarehouseTables>,
  goods: readonly Goods[],
  why: 'released' | 'restocked',
): Promise<void> {
  for (const chunk of inChunks(goods))
    await tx
      .insertInto('stock')
      .values(
        chunk.map(({ stockCode, quantity }) => ({
          ...emptyRow,
          stock_code: stockCode,
          on_hand: quantity,
          [why]: quantity,
        })),
      )
      .onConflict((conflict) =>
        conflict.column('stock_code').doUpdateSet((eb) => ({
          on_hand: eb('stock.on_hand', '+', eb.ref('excluded.on_hand')),
          [why]: eb(`stock.${why}`, '+', eb.ref(`excluded.${why}`)),
        })),
      )
      .execute()
}

export const warehouseHandlers = [keepStock]
