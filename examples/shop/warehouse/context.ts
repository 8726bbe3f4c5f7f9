/** Warehouse: what is on the shelf. */

import { defineContext } from 'pabal'
import { kysely } from 'pabal/kysely'
import { GoodsRestocked, StockAllocated, StockReleased } from './events.ts'
import type { WarehouseTables } from './tables.ts'

export const warehouse = defineContext('warehouse', {
  title: '창고',
  store: kysely<WarehouseTables>,
  events: [StockAllocated, StockReleased, GoodsRestocked],
})
