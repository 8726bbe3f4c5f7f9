/** The story of one order that delivery cannot take, told three ways. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import type { App } from 'pabal'
import type { CompletedOrder } from './contract.ts'
import { delivery, hireCourier } from './delivery.ts'
import { completeOrder } from './direct/purchase.ts'
import { openDatabase, takenDirectly } from './direct/shop.ts'
import { CompleteOrder } from './purchase.ts'
import { createShop, type Taken, taken } from './shop.ts'

const seoul: CompletedOrder = { orderId: '1', item: 'lamp', region: 'Seoul' }
const jeju: CompletedOrder = { orderId: '2', item: 'kettle', region: 'Jeju' }

const say = (line: string): void => console.log(line)
const show = (modules: Taken): void => {
  for (const [module, orders] of Object.entries(modules))
    say(`     ${module.padEnd(9)} has ${orders.length === 0 ? 'nothing' : `order ${orders.join(' and ')}`}`)
}
/** What the modules have once a condition holds. */
const until = async (shop: App, condition: (modules: Taken) => boolean): Promise<Taken> => {
  for (;;) {
    const modules = await taken(shop)
    if (condition(modules)) return modules
    await setTimeout(5)
  }
}
const told = (error: unknown): string => (error instanceof Error ? error.message : String(error))

const folder = await mkdtemp(join(tmpdir(), 'pabal-modules-'))
try {
  say('Order 1 goes to Seoul, order 2 to Jeju, where no courier drives yet.\n')

  say('a) Direct calls: purchase calls logistics and delivery, in one transaction.')
  const db = openDatabase(join(folder, 'direct.db'))
  completeOrder(db, seoul)
  try {
    completeOrder(db, jeju)
  } catch (error) {
    say(`   Order 2 fails: ${told(error)}. Nothing of it remains. Purchase had to know both others.`)
  }
  show(takenDirectly(db))
  db.close()

  say('\nb) Events, before commit: nobody knows anybody, still one transaction.')
  {
    await using shop = createShop('before-commit', () => join(folder, 'shop.db'))
    await shop.send(CompleteOrder, seoul)
    try {
      await shop.send(CompleteOrder, jeju)
    } catch (error) {
      say(`   Order 2 fails: ${told(error)}. Nothing of it remains, no event either.`)
    }
    show(await taken(shop))
  }

  say('\nc) Events, durable: each module in its own transaction, here even in its own file.')
  {
    await using shop = createShop('durable', (module) => join(folder, `${module}.db`))
    await shop.start()
    await shop.send(CompleteOrder, seoul)
    await shop.send(CompleteOrder, jeju)
    say('   Both purchases stand. Order 2 waits at delivery, and only there.')
    show(await until(shop, ({ logistics, delivery: booked }) => logistics.length === 2 && booked.length === 1))
    await shop.context(delivery).transaction(({ tx }) => hireCourier(tx, 'Jeju', 'Park'))
    await shop.settle()
    say('   A courier is hired. The next try, within a second, succeeds.')
    show(await taken(shop))
  }
} finally {
  await rm(folder, { recursive: true })
}
