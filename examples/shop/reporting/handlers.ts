/** What reporting adds up. Each event counts exactly once, because the sums commit with the cursor. */

import { OrderPlacedV1 } from '../contracts/ordering.ts'
import { PaymentRefundedV1 } from '../contracts/payment.ts'
import { retry } from '../retry.ts'
import { reporting } from './context.ts'

const nothing = { orders: 0, units: 0, revenue_pence: 0, refund_pence: 0 }

/** One lane: all orders of a day and country are one row. */
export const addUpSales = reporting.consume(
  [OrderPlacedV1, PaymentRefundedV1],
  'add-up-sales',
  async ({ type, data }, { tx }) => {
    const { day, country } = data
    const added =
      type === 'shop.order-placed.v1'
        ? { ...nothing, orders: 1, units: data.units, revenue_pence: data.totalPence }
        : { ...nothing, refund_pence: data.amountPence }
    await tx
      .insertInto('sales')
      .values({ day, country, ...added })
      .onConflict((conflict) =>
        conflict.columns(['day', 'country']).doUpdateSet(({ eb }) => ({
          orders: eb('sales.orders', '+', added.orders),
          units: eb('sales.units', '+', added.units),
          revenue_pence: eb('sales.revenue_pence', '+', added.revenue_pence),
          refund_pence: eb('sales.refund_pence', '+', added.refund_pence),
        })),
      )
      .execute()
  },
  { retry, lanes: 1 },
)
