/** What the `pabal` command of this repository looks at: the shop, over `.data/shop` or the folder in SHOP_DATA; of a shop in two halves, the one in SHOP_HALF. */

import { join } from 'node:path'
import { env } from 'node:process'
import { openOperatedApp } from './examples/shop/operated-app.ts'

export default () =>
  openOperatedApp({ data: env['SHOP_DATA'] ?? join(import.meta.dirname, '.data/shop'), half: env['SHOP_HALF'] })
